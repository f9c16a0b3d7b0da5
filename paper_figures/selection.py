"""Which published runs a figure shows: the ones named, or the largest group of comparable runs, of a scale if given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from harness.core import UserError, slug
from harness.results.arms import Arm, arm_of
from harness.results.marks import read_marks
from harness.results.matrix import AccuracyMatrix
from harness.results.published import RUNS, PublishedRun, published
from paper_figures.page import label

ORDER = ("sft", "sft-cot", "mtl", "rft", "rft-rloo", "rft-remax", "rft-nokl", "rft-nocot", "rif-rft")


def select(results: Path, runs: Sequence[str] = (), scale: str | None = None) -> list[PublishedRun]:
    """The runs named, or all of the group (equal stream, scale, base, tasks) that has most published runs.

    With ``scale`` only the runs of that scale are looked at.

    Raises:
        UserError: where nothing is published, the runs named do not belong to one group, or a run's record has a name
            that could be anything but a name.
    """
    found = [run for run in published(results, runs) if scale in (None, run.scale)]
    if not found:
        what = f"published runs of scale {slug(scale)}" if scale else "published runs"
        raise UserError(f"{results} has no {what}: publish a finished run first (harness publish RUN)")
    groups = Counter(run.group for run in found)
    if runs and len(groups) > 1:
        raise UserError("the runs named differ in stream, scale, base or task versions: name runs of one group")
    group = min(groups, key=lambda name: (-groups[name], name))
    chosen = [run for run in found if run.group == group]
    for run in chosen:
        _refuse_names(run)
    return chosen


def _refuse_names(run: PublishedRun) -> None:
    """Names from files are looked at as names of flags are, before they come into a figure or a file's name."""
    try:
        for name in (run.paradigm, run.stream, run.scale, *run.styles, *run.stages, *run.tasks, *run.suites):
            slug(name)
    except UserError as error:
        raise UserError(f"the record of run {run.id} is not drawn: {error}") from error


def by_paradigm(runs: Sequence[PublishedRun]) -> dict[str, list[PublishedRun]]:
    """The runs of each paradigm, by its name, in the order of the names.

    Raises:
        UserError: where two different paradigms have one name, so that their mean would mean nothing.
    """
    found: dict[str, list[PublishedRun]] = {}
    for run in sorted(runs, key=lambda run: (run.paradigm, run.seed, run.id)):
        found.setdefault(run.paradigm, []).append(run)
    for name, same in found.items():
        if len({run.recipe for run in same}) > 1:
            raise UserError(f"the runs of {name} differ in their settings: name the run ids that the figure is to show")
    return found


def arms(runs: Sequence[PublishedRun], names: Sequence[str]) -> dict[str, list[PublishedRun]]:
    """The runs of the paradigms named, in the order of the names.

    Raises:
        UserError: where one of them has none.
    """
    found = by_paradigm(runs)
    for name in names:
        if name not in found:
            raise UserError(f"no run of {name} among the runs to draw: publish one, or name runs that include one")
    return {name: found[name] for name in names}


Read = Callable[[AccuracyMatrix], Sequence[Sequence[float | None]]]
Table = list[list[Fraction | None]]


def over_seeds(
    runs: Sequence[PublishedRun], read: Read, fold: Callable[[list[Fraction]], Fraction], style: str | None = None
) -> Table:
    """A table of the runs' matrices folded cell by cell over the runs; None where one run lacks the cell."""
    tables = [read(run.matrix(style)) for run in runs]
    folded: Table = []
    for rows in zip(*tables, strict=True):
        cells = [[value for value in values if value is not None] for values in zip(*rows, strict=True)]
        folded.append(
            [fold([exact(value) for value in values]) if len(values) == len(runs) else None for values in cells]
        )
    return folded


def exact(score: float) -> Fraction:
    """The fraction of items that a score was before it became a float, so that no half is rounded by chance.

    Scores of up to a million items' parts are told apart by a float.

    >>> exact(0.1) + exact(0.2) == exact(0.3), exact(85 / 200)
    (True, Fraction(17, 40))
    """
    return Fraction(score).limit_denominator(10**6)


def mean(values: Sequence[Fraction]) -> Fraction:
    """The arithmetic mean, exact."""
    return sum(values, Fraction(0)) / len(values)


def percent(value: Fraction) -> str:
    """Whole percent; a half goes to the even neighbour, whatever the value was the mean of.

    >>> percent(Fraction(17, 40)), percent(Fraction(87, 200))
    ('42', '44')
    """
    return str(round(100 * value))


def place(runs: Sequence[PublishedRun]) -> str:
    """Stream and scale in words, for titles, so that no number is taken for another scale's."""
    return f"{label(runs[0].stream, 13)} stream, {label(runs[0].scale, 13)} scale"


def scored(results: Path, runs: Sequence[PublishedRun], style: str = "") -> Arm:
    """The runs of one paradigm with the scores of their items, which intervals are made of; in their own style or one.

    Raises:
        UserError: where a run lacks its marks.
    """
    return arm_of(runs, [read_marks(results / RUNS / run.id) for run in runs], style)


def in_order(found: dict[str, list[PublishedRun]]) -> dict[str, list[PublishedRun]]:
    """Paradigms in the order in which every figure shows them."""
    names = sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return {name: found[name] for name in names}


def seeds(runs: Sequence[PublishedRun]) -> str:
    """How many seeds, in words."""
    return f"seed {runs[0].seed}" if len(runs) == 1 else f"mean of {len(runs)} seeds"


__all__ = [
    "arms", "by_paradigm", "exact", "in_order", "mean", "over_seeds", "percent", "place", "scored", "seeds", "select",
]  # fmt: skip
