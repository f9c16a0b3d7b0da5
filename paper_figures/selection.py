"""Which published runs a figure shows: the ones named, or the largest group of comparable runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.core import UserError
from harness.results.matrix import AccuracyMatrix
from harness.results.published import PublishedRun, published


def select(results: Path, runs: Sequence[str] = ()) -> list[PublishedRun]:
    """The runs named, or all of the group (equal stream, scale, base, tasks) that has most published runs.

    Raises:
        UserError: where nothing is published, or the runs named do not belong to one group.
    """
    found = published(results, runs)
    if not found:
        raise UserError(f"{results} has no published runs: publish a finished run first (harness publish RUN)")
    groups = Counter(run.group for run in found)
    if runs and len(groups) > 1:
        raise UserError("the runs named differ in stream, scale, base or task versions: name runs of one group")
    group = min(groups, key=lambda name: (-groups[name], name))
    return [run for run in found if run.group == group]


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


def over_seeds(
    runs: Sequence[PublishedRun], read: Read, fold: Callable[[list[float]], float], style: str | None = None
) -> list[list[float | None]]:
    """A table of the runs' matrices folded cell by cell over the runs; None where one run lacks the cell."""
    tables = [read(run.matrix(style)) for run in runs]
    folded: list[list[float | None]] = []
    for rows in zip(*tables, strict=True):
        cells = [list(values) for values in zip(*rows, strict=True)]
        folded.append([None if None in values else fold([v for v in values if v is not None]) for values in cells])
    return folded


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def place(runs: Sequence[PublishedRun]) -> str:
    """Stream and scale in words, for titles, so that no number is taken for another scale's."""
    return f"{runs[0].stream} stream, {runs[0].scale} scale"


def seeds(runs: Sequence[PublishedRun]) -> str:
    """How many seeds, in words."""
    return f"seed {runs[0].seed}" if len(runs) == 1 else f"mean of {len(runs)} seeds"


__all__ = ["arms", "by_paradigm", "mean", "over_seeds", "place", "seeds", "select"]
