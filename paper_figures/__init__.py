"""The paper's figures and tables: one script is one of them, and reads the published cells of results/ only.

``FIGURES`` and ``TABLES`` name the script of each; importing this package loads nothing else. A script has
``draw(results, out, runs=(), scale=None, width="column") -> list[Path]``, runs as ``python -m paper_figures.<name>``,
and writes PDF, PNG and the figure's numbers as CSV.
"""

FIGURES = {
    "matrix": "paper_figures.matrix",
    "stages": "paper_figures.stages",
    "suites": "paper_figures.suites",
    "tradeoff": "paper_figures.tradeoff",
    "changes": "paper_figures.changes",
    "items": "paper_figures.items",
    "ablation": "paper_figures.ablation",
}
TABLES = {"table": "paper_figures.table"}

__all__ = ["FIGURES", "TABLES"]
