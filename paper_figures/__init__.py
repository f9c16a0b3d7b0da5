"""The paper's figures and tables: one script is one of them, and reads the published cells of results/ only.

``FIGURES`` and ``TABLES`` name the script of each; importing this package loads nothing else. A script has
``draw(results, out, runs=(), scale=None) -> list[Path]`` and runs as ``python -m paper_figures.<name>``.
"""

FIGURES = {
    "matrix": "paper_figures.matrix",
    "stages": "paper_figures.stages",
    "suites": "paper_figures.suites",
}
TABLES = {"table": "paper_figures.table"}

__all__ = ["FIGURES", "TABLES"]
