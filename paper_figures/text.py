"""The numbers of the documents: each is computed from results/ where the text has a placeholder for it.

``results/RESULTS.md`` and the table in README.md are rendered from ``paper_figures/*.md.in``; nobody types a number.

    {{mean twin/rft backward_transfer cot}}      mean ± standard error over seeds, percent or points
    {{difference twin/rft twin/sft backward_transfer cot direct}}     with its 95% interval, points
    {{word twin/rft twin/sft backward_transfer cot direct}}           differs, equivalent or cannot tell
    {{table headline twin}}                      a whole table
    {{table claims twin twin-long}}              the ledger of claims, decided by the runs of these scales
    {{reference metrics}}                        a table that is made from the code

    python -m paper_figures.text        # write both documents again
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.core import UserError, slug
from harness.results.arms import Arm, arm_of, paired
from harness.results.compare import compare
from harness.results.leaderboard import mean_and_error
from harness.results.marks import read_marks
from harness.results.metrics import ALL
from harness.results.published import RUNS, PublishedRun, published
from harness.results.resampling import matrix_of
from harness.results.standings import Seen
from harness.results.stats import differences
from harness.store.disk import write
from paper_figures import text_metrics, text_tables

ROOT = Path(__file__).resolve().parents[1]
ROOM = Path(__file__).parent
DOCUMENTS = {
    "RESULTS.md.in": Path("results/RESULTS.md"),
    "README.md.in": Path("README.md"),
    "metrics.md.in": Path("docs/metrics.md"),
}
BLOCK = re.compile(r"(<!-- results: begin -->\n).*(<!-- results: end -->)", re.DOTALL)
_PLACE = re.compile(r"\{\{([^{}]+)\}\}")


class Numbers:
    """The published runs by scale and paradigm, and the words that a placeholder may begin with."""

    def __init__(self, results: Path) -> None:
        """Read all published runs; the ledger of claims lies beside their folder."""
        self.results = results
        self.arms: dict[str, list[PublishedRun]] = {}
        for run in published(results):
            self.arms.setdefault(f"{slug(run.scale)}/{slug(run.paradigm)}", []).append(run)
        self.marks = lru_cache(maxsize=None)(lambda run_id: read_marks(results / RUNS / run_id))
        self.claims = results.parent / "claims"

    def seen(self) -> list[Seen]:
        """All published runs with their marks."""
        runs = sorted((run for arm in self.arms.values() for run in arm), key=lambda run: run.id)
        return [Seen(run=run, marks=self.marks(run.id)) for run in runs]

    def arm(self, name: str) -> list[PublishedRun]:
        """The runs of an arm, such as twin/rft."""
        if name not in self.arms:
            raise UserError(f"no run of {name} is published in {self.results}: publish it, or mend the text")
        return self.arms[name]

    def values(self, name: str, metric: str, style: str) -> list[float | None]:
        """A metric of each run of an arm, in a style; from the marks where cells alone do not give it."""
        found = [ALL[metric].compute(run.matrix(style)) for run in self.arm(name)]
        if None not in found:
            return found
        by_seed: Any = ALL[metric].compute(matrix_of(self.scored(name, style)))
        return found if by_seed is None else [float(value) for value in by_seed[0]]

    def mean(self, name: str, metric: str, style: str) -> str:
        """Mean and standard error over an arm's seeds, in percent or points."""
        return text_tables.shown(metric, *mean_and_error(self.values(name, metric, style)))

    def difference(self, one: str, other: str, metric: str, style: str, other_style: str) -> str:
        """The difference between two arms in points, with its interval over items crossed with seeds."""
        sides = paired(self.scored(one, style), self.scored(other, other_style))
        found = differences(*sides, [metric])[metric]
        if found is None:
            raise UserError(f"{metric} of {one} or of {other} is undefined: name another metric, or mend the text")
        return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"

    def scored(self, name: str, style: str) -> Arm:
        """An arm with the scores of its items, in a style."""
        return arm_of(self.arm(name), [self.marks(run.id) for run in self.arm(name)], style, name=name)

    def seeds(self, name: str) -> str:
        """How many seeds an arm has."""
        return str(len(self.arm(name)))

    def cell(self, name: str, stage: str, task: str, style: str) -> str:
        """The mean score of a cell over an arm's seeds, percent."""
        scores = [
            cell.score
            for run in self.arm(name)
            for cell in run.cells
            if (cell.stage_name, cell.task, cell.style) == (stage, task, style)
        ]
        mean, _ = mean_and_error(scores)
        return text_tables.percent(mean)

    def table(self, kind: str, *words: str) -> str:
        """A whole table."""
        return text_tables.TABLES[kind](self, *words)

    def reference(self, kind: str) -> str:
        """A table of the documentation, made from the code."""
        return text_metrics.REFERENCE[kind]()

    def word(self, one: str, other: str, metric: str, style: str, other_style: str) -> str:
        """What ``harness compare`` says of a metric of two arms: differs, equivalent or cannot tell."""
        (row,) = compare(self.scored(one, style), self.scored(other, other_style), [metric]).rows
        return row.word


def render(template: str, numbers: Numbers) -> str:
    """A text with every placeholder replaced by its number.

    Raises:
        UserError: where a placeholder asks for what is not there.
    """
    words: dict[str, Callable[..., str]] = {
        name: getattr(numbers, name) for name in ("mean", "difference", "word", "seeds", "cell", "table", "reference")
    }

    def filled(match: re.Match[str]) -> str:
        kind, *rest = match[1].split()
        if kind not in words:
            raise UserError(f"the placeholder {match[0]} is unknown: begin it with one of {', '.join(words)}")
        return words[kind](*rest)

    return _PLACE.sub(filled, template)


def documents(root: Path = ROOT) -> dict[Path, str]:
    """Each document's path and the text that it should have."""
    numbers = Numbers(root / "results")
    found = {}
    for template, target in DOCUMENTS.items():
        made = render((ROOM / template).read_text(), numbers)
        whole = root / target
        if target.name == "README.md":
            made = BLOCK.sub(lambda block, made=made: block[1] + made + block[2], whole.read_text())
        found[whole] = made
    return found


def main(arguments: Sequence[str] = ()) -> int:
    """Write the documents; exit code 2 for what can be mended."""
    try:
        for path, made in documents().items():
            write(path, made.encode())
            print(path.relative_to(ROOT))
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    return 0


__all__ = ["ALL", "Numbers", "documents", "main", "render"]

if __name__ == "__main__":
    sys.exit(main())
