"""Differences between two arms with an interval that holds the noise of items and of training seeds.

An item is the same in every stage, seed and arm, so items and seeds are crossed: each replicate draws the groups of
items once for everything (items that share a picture stay together), and the seeds of each arm anew. A standard error
over seeds alone understates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core import OWN_STYLE, UserError
from harness.results.marks import Place, Scores
from harness.results.published import PublishedRun

REPLICATES = 4000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The runs of one arm (its seeds), each with its marks, and the style that it is asked in."""

    runs: Sequence[PublishedRun]
    marks: Sequence[Mapping[Place, Scores]]
    style: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first arm minus the second, a fraction, with its percentile interval at ``level``."""

    value: float
    low: float
    high: float
    level: float = LEVEL


Rows = tuple[int, int | None]  # after, before; None where the metric is no difference but a score


def _rows(metric: str, run: PublishedRun) -> dict[str, Rows]:
    """By column, the rows that a metric subtracts: (after, before)."""
    last, tasks = len(run.stages) - 1, run.tasks
    if metric == "average_accuracy":
        return dict.fromkeys(tasks, (last, None))
    if metric == "general_delta":
        return dict.fromkeys(run.suites, (last, 0))
    if not run.matrix().ordered:
        raise UserError(f"{metric} is undefined for {run.id}, whose stages are not its tasks one by one")
    if metric == "backward_transfer":
        return {task: (last, number) for number, task in enumerate(tasks[:-1], start=1)}
    if metric == "net_learning":
        return {task: (number, 0) for number, task in enumerate(tasks, start=1)}
    raise UserError(f"{metric} is no mean of differences of cells: use one of {', '.join(METRICS)}")


METRICS = ("average_accuracy", "net_learning", "backward_transfer", "general_delta")


def difference(metric: str, one: Arm, other: Arm, replicates: int = REPLICATES) -> Difference:
    """The difference of a metric between two arms, with a bootstrap over groups of items crossed with seeds.

    Raises:
        UserError: where the metric is undefined for a run, or the arms were not asked the same items.
    """
    import numpy

    rng = numpy.random.default_rng(0)
    columns = list(_rows(metric, one.runs[0]))
    mine, theirs = _table(metric, one), _table(metric, other)
    for column in columns:
        if theirs.get(column, (None,))[0] != mine[column][0]:
            raise UserError(f"the arms were not asked the same items of {column}: compare runs of one group")

    def draw(n: int) -> Any:
        return rng.multinomial(n, numpy.full(n, 1 / n), replicates)

    groups = {column: draw(len(mine[column][0])) for column in columns}
    drawn = _means(mine, groups, draw(len(one.runs))) - _means(theirs, groups, draw(len(other.runs)))
    low, high = numpy.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    whole = {column: numpy.ones((1, len(mine[column][0]))) for column in columns}
    seeds = (numpy.ones((1, len(arm.runs))) for arm in (one, other))
    value = (_means(mine, whole, next(seeds)) - _means(theirs, whole, next(seeds)))[0]
    return Difference(value=float(value), low=float(low), high=float(high))


def _means(table: Mapping[str, tuple[Any, Any, Any]], groups: Mapping[str, Any], seeds: Any) -> Any:
    """The metric of each replicate, [replicates]: how often each group [.., groups] and seed [.., seeds] was drawn."""
    import numpy

    found = []
    for column, (_, sizes, sums) in table.items():
        total = (groups[column] * (seeds @ sums)).sum(1)
        found.append(total / ((groups[column] @ sizes) * seeds.sum(1)))
    return numpy.mean(found, 0)


def _table(metric: str, arm: Arm) -> dict[str, tuple[Any, Any, Any]]:
    """By column: the names of its groups, their sizes [groups], and their sums of differences [seeds, groups]."""
    import numpy

    found: dict[str, tuple[Any, Any, Any]] = {}
    for column, (after, before) in _rows(metric, arm.runs[0]).items():
        names: list[str] = []
        sums = []
        for marks in arm.marks:
            asked = arm.style if (after, column, arm.style) in marks else OWN_STYLE
            last = marks[after, column, asked]
            first = None if before is None else marks[before, column, asked]
            names = list(dict.fromkeys(last.groups))
            place = {name: number for number, name in enumerate(names)}
            total = numpy.zeros(len(names))
            for number, group in enumerate(last.groups):
                total[place[group]] += last.scores[number] - (0.0 if first is None else first.scores[number])
            sums.append(total)
        sizes = numpy.zeros(len(names))
        for group in last.groups:
            sizes[place[group]] += 1
        found[column] = (names, sizes, numpy.stack(sums))
    return found


__all__ = ["METRICS", "Arm", "Difference", "difference"]
