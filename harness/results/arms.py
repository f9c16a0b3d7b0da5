"""An arm: the item scores of the runs (seeds) that are one side of a comparison, in one style, as arrays.

What intervals are made of. Means over the items of a cell are the cells; the items themselves say how sure those are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.core import OWN_STYLE, UserError
from harness.results.marks import Place, Scores
from harness.results.published import PublishedRun

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Floats = NDArray[numpy.float64]


@dataclass(frozen=True, kw_only=True)
class Column:
    """The items of one task or suite, scored in every seed after every stage.

    ``scores`` is [seed, stage, item], stage 0 the base, fractions; ``malformed`` is the same of 0 and 1, or None where
    nobody noted it. A cell that was not observed is NaN in all its items, and nothing else is NaN. ``items`` and
    ``groups`` are [item]: the ids, and what an item shares with others (a picture). ``odds`` is [item] too: 1 / (k - 1)
    for an item of k options, which chance-adjusted forgetting needs; None where an item has none.
    """

    name: str
    items: tuple[str, ...]
    groups: tuple[str, ...]
    scores: Floats
    malformed: Floats | None = None
    odds: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The runs of one arm: their tasks and suites in one style, all with the same stages and the same items.

    ``seeds`` names the runs, [seed]; ``trained`` holds the tasks of every stage but the base, as in AccuracyMatrix.
    ``joint`` is what joint training reaches by task, where it is known: the reference of intransigence.
    """

    name: str
    style: str
    seeds: tuple[str, ...]
    stages: tuple[str, ...]
    trained: tuple[tuple[str, ...], ...]
    tasks: tuple[Column, ...]
    suites: tuple[Column, ...] = ()
    joint: tuple[float | None, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its tasks and suites."""
        return (*self.tasks, *self.suites)

    def own_stage(self, column: str) -> int:
        """The stage after which a column counts as learned: a task's own, the base for a suite."""
        return next((number for number, tasks in enumerate(self.trained, start=1) if column in tasks), 0)


def arm_of(
    runs: Sequence[PublishedRun], marks: Sequence[Mapping[Place, Scores]], style: str = "", *, name: str = ""
) -> Arm:
    """The arm of runs that are seeds of one another, with their marks, in a style; in their own where none is named.

    Raises:
        UserError: where the runs differ in stages or items, where two share a trained stage (and are no replicates of
            one another), or where a cell holds other items than its task does elsewhere.
    """
    first = runs[0]
    layout = [(stage.name, stage.tasks) for stage in first.record.stages]
    for run in runs[1:]:
        other = [(stage.name, stage.tasks) for stage in run.record.stages]
        if (other, run.tasks, run.suites) != (layout, first.tasks, first.suites):
            raise UserError(f"{run.id} has other stages or tasks than {first.id}: compare seeds of one paradigm")
    _refuse_shared(runs)
    asked = style or first.style
    columns = [column_of(task, asked, marks, len(layout) + 1) for task in (*first.tasks, *first.suites)]
    return Arm(
        name=name or first.paradigm,
        style=asked,
        seeds=tuple(run.id for run in runs),
        stages=first.stages,
        trained=tuple(tuple(tasks) for _, tasks in layout),
        tasks=tuple(columns[: len(first.tasks)]),
        suites=tuple(columns[len(first.tasks) :]),
    )


def _refuse_shared(runs: Sequence[PublishedRun]) -> None:
    """Raise UserError where two runs of an arm share a checkpoint: counted twice, it would pass for two seeds."""
    made: dict[str, PublishedRun] = {}
    for run in runs:
        for stage in run.record.stages:
            before = made.setdefault(stage.key, run) if stage.key else run
            if before is not run:
                raise UserError(
                    f"{before.id} and {run.id} share the stage {stage.name}: they are no replicates, name one of them"
                )


def column_of(name: str, style: str, marks: Sequence[Mapping[Place, Scores]], stages: int) -> Column:
    """A column of the marks of an arm's runs; items in the order of the first cell that was observed.

    Raises:
        UserError: where a cell holds other items than the first, or nothing of the column was observed.
    """
    import numpy

    cells = {
        (seed, stage): found
        for seed, of_run in enumerate(marks)
        for stage in range(stages)
        if (found := of_run.get((stage, name, style)) or of_run.get((stage, name, OWN_STYLE)))
    }
    if not cells:
        raise UserError(f"nothing of {name} was observed in the {style} style: name another style, or finish the run")
    first = next(iter(cells.values()))
    scores = numpy.full((len(marks), stages, len(first.examples)), numpy.nan)
    malformed = scores.copy()
    place = {item: number for number, item in enumerate(first.examples)}
    for (seed, stage), found in cells.items():
        if set(found.examples) != set(place):
            raise UserError(f"the runs were not asked the same items of {name}: compare runs of one group")
        order = [place[item] for item in found.examples]
        scores[seed, stage, order] = found.scores
        if found.malformed:
            malformed[seed, stage, order] = found.malformed
    noted = all(found.malformed for found in cells.values())
    return Column(
        name=name, items=first.examples, groups=first.groups, scores=scores, malformed=malformed if noted else None
    )


def paired(one: Arm, other: Arm, *, intersect: bool = False) -> tuple[Arm, Arm]:
    """Two arms with the same items in the same order in every column that both have.

    Columns that only one has are left out. With ``intersect`` the items that both have are taken, else other items
    are refused.

    Raises:
        UserError: where no column is common, or its items differ (or, with ``intersect``, have nothing in common).
    """
    theirs = {column.name: column for column in other.columns}
    pairs = {column.name: (column, theirs[column.name]) for column in one.columns if column.name in theirs}
    if not pairs:
        raise UserError(f"{one.name} and {other.name} have no task in common: there is nothing to compare")
    for name, (mine, yours) in pairs.items():
        both = set(mine.items) & set(yours.items)
        if not both or (len(both) != max(len(mine.items), len(yours.items)) and not intersect):
            raise UserError(
                f"the arms were not asked the same items of {name} ({len(both)} of {len(mine.items)} and "
                f"{len(yours.items)} are common): compare runs of one group"
            )
        items = tuple(item for item in mine.items if item in both)
        pairs[name] = (_of_items(mine, items), _of_items(yours, items))
        if _clusters(pairs[name][0]) != _clusters(pairs[name][1]):
            raise UserError(f"the items of {name} are grouped differently in the two arms: compare runs of one group")
    return _with(one, {name: pair[0] for name, pair in pairs.items()}), _with(
        other, {name: pair[1] for name, pair in pairs.items()}
    )


def _with(arm: Arm, columns: Mapping[str, Column]) -> Arm:
    """An arm with these columns, in its own order; its tasks are all that its order of stages speaks of."""
    tasks = tuple(columns[column.name] for column in arm.tasks if column.name in columns)
    suites = tuple(columns[column.name] for column in arm.suites if column.name in columns)
    return replace(arm, tasks=tasks, suites=suites, joint=arm.joint if len(tasks) == len(arm.tasks) else ())


def _of_items(column: Column, items: Sequence[str]) -> Column:
    """A column of these of its items, in their order."""
    if tuple(items) == column.items:
        return column
    place = {item: number for number, item in enumerate(column.items)}
    order = [place[item] for item in items]
    return replace(
        column,
        items=tuple(items),
        groups=tuple(column.groups[number] for number in order),
        scores=column.scores[:, :, order],
        malformed=None if column.malformed is None else column.malformed[:, :, order],
        odds=None if column.odds is None else column.odds[order],
    )


def _clusters(column: Column) -> tuple[int, ...]:
    """The groups of the items as numbers by first appearance, so that names do not matter."""
    seen: dict[str, int] = {}
    return tuple(seen.setdefault(group, len(seen)) for group in column.groups)


__all__ = ["Arm", "Column", "arm_of", "column_of", "paired"]
