"""The paired bootstrap over items: the same draw of an item's group for every stage, seed and arm.

A replicate is how often each group of items was drawn; its accuracy matrix holds the weighted means of the cells. All
replicates are one product of matrices, and a metric is computed on all of them at once: every cell of the matrix is an
array [replicate, seed].
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.results.arms import Arm, Column
from harness.results.flips import RIGHT, Flips
from harness.results.matrix import AccuracyMatrix

if TYPE_CHECKING:
    from harness.results.arms import Floats

REPLICATES = 1000


def numbered(groups: Sequence[str]) -> tuple[Any, int]:
    """The number of each item's group, by first appearance, [item], and how many groups there are."""
    import numpy

    seen: dict[str, int] = {}
    return numpy.array([seen.setdefault(group, len(seen)) for group in groups]), len(seen)


def draws(columns: Sequence[Column], replicates: int = REPLICATES) -> dict[str, Any]:
    """How often each group of each column was drawn, [replicate, group]; equal names and sizes give equal draws.

    Of n groups n - 1 are drawn, with replacement: then the variance over replicates is the unbiased one (Rao and Wu
    1988, doi:10.1080/01621459.1988.10478591), which counts where a suite has few pictures.
    """
    import numpy

    found = {}
    for column in columns:
        count = len(set(column.groups))
        rng = numpy.random.default_rng(zlib.crc32(column.name.encode()))
        drawn = rng.integers(0, count, (replicates, max(count - 1, 1)), dtype=numpy.int32)
        drawn += numpy.arange(replicates, dtype=numpy.int32)[:, None] * count
        found[column.name] = (
            numpy.bincount(drawn.ravel(), minlength=replicates * count).reshape(replicates, count) * 1.0
        )
    return found


def matrix_of(arm: Arm, drawn: Mapping[str, Floats] | None = None) -> AccuracyMatrix:
    """The accuracy matrices of an arm's seeds as one, each cell an array [replicate, seed]; [1, seed] without draws.

    A cell that one seed lacks is None: what needs it is undefined for the arm.
    """
    found = [_means(column, None if drawn is None else drawn[column.name]) for column in arm.columns]
    flips = [
        _flips(column, number, None if drawn is None else drawn[column.name])
        for number, column in enumerate(arm.tasks, start=1)
    ]
    width = len(arm.tasks)
    rows = range(len(arm.stages))
    ordered = arm.trained == tuple((column.name,) for column in arm.tasks)
    return AccuracyMatrix(
        style=arm.style,
        stages=arm.stages,
        trained=arm.trained,
        tasks=tuple(column.name for column in arm.tasks),
        suites=tuple(column.name for column in arm.suites),
        scores=tuple(tuple(scores[i] for scores, _ in found[:width]) for i in rows),
        general=tuple(tuple(scores[i] for scores, _ in found[width:]) for i in rows),
        malformed=tuple(tuple(unread[i] for _, unread in found[:width]) for i in rows),
        flips=tuple(flips) if ordered else (),
        joint=arm.joint,
    )


def over_seeds(a: AccuracyMatrix) -> AccuracyMatrix:
    """The matrix of means over seeds, plain numbers, of one whose cells are [replicate, seed]."""

    def plain(rows: Sequence[Sequence[Any]]) -> tuple[tuple[float | None, ...], ...]:
        return tuple(tuple(None if cell is None else float(cell.mean()) for cell in row) for row in rows)

    return replace(a, scores=plain(a.scores), general=plain(a.general), malformed=plain(a.malformed), flips=())


def _means(column: Column, drawn: Floats | None) -> tuple[list[Any], list[Any]]:
    """The means of scores and of unreadable replies of a column, by stage, each [replicate, seed] or None."""
    seeds, stages, items = column.scores.shape
    tables = [column.scores] + ([] if column.malformed is None else [column.malformed])
    means = weighted([table.reshape(seeds * stages, items) for table in tables], column.groups, drawn)
    by_stage = [[_whole(mean.reshape(-1, seeds, stages)[:, :, i]) for i in range(stages)] for mean in means]
    return by_stage[0], by_stage[1] if len(by_stage) > 1 else [None] * stages


def _whole(cell: Any) -> Any:
    """A cell of all seeds; None where one of them lacks it."""
    import numpy

    return None if numpy.isnan(cell).any() else cell


def _flips(column: Column, own: int, drawn: Floats | None) -> Flips | None:
    """The items of a task that flip between its own stage and the end, as shares of the items, [replicate, seed]."""
    import numpy

    if own >= column.scores.shape[1]:
        return None
    before, after = column.scores[:, own], column.scores[:, -1]
    if numpy.isnan(before).any() or numpy.isnan(after).any():
        return None
    was, is_now = before >= RIGHT, after >= RIGHT
    lost, won, right = weighted([was & ~is_now, ~was & is_now, was], column.groups, drawn)
    odds = None if column.odds is None else float(column.odds.mean())
    return Flips(lost=lost, won=won, right=right, n=1.0, odds=odds)


def weighted(tables: Sequence[Any], groups: Sequence[str], drawn: Floats | None) -> list[Any]:
    """The means over items of tables [row, item] in every replicate, each [replicate, row]; [1, row] without draws."""
    import numpy

    place, count = numbered(groups)
    rows = numpy.concatenate([numpy.asarray(table, dtype=numpy.float64) for table in tables])
    if drawn is None:
        means = rows.mean(axis=1)[None, :]
    else:
        sums = rows if count == len(groups) else _by_group(rows, place, count)
        sizes = numpy.bincount(place, minlength=count)
        means = (drawn @ sums.T) / (drawn @ sizes)[:, None]
    return numpy.split(means, numpy.cumsum([len(table) for table in tables])[:-1], axis=1)


def _by_group(rows: Any, place: Any, count: int) -> Any:
    """The sums of rows [row, item] over the items of each group, [row, group]."""
    import numpy

    sums = numpy.zeros((len(rows), count))
    for number, row in enumerate(rows):
        sums[number] = numpy.bincount(place, weights=row, minlength=count)
    return sums


__all__ = ["REPLICATES", "draws", "matrix_of", "numbered", "over_seeds", "weighted"]
