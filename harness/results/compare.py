"""Two arms side by side: what differs, what is equivalent within a margin, and what these items and seeds cannot tell.

Everything is paired: both arms were asked the same items. Pure functions of two arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any, Literal

from harness.core import UserError
from harness.results.arms import Arm, Column, paired
from harness.results.flips import RIGHT
from harness.results.matrix import AccuracyMatrix
from harness.results.metrics import ALL, learned
from harness.results.resampling import REPLICATES, matrix_of, over_seeds
from harness.results.stats import LEVEL, Estimate, Resampled, resample

HEADLINE = ("average_accuracy", "net_learning", "backward_transfer", "loss_rate", "general_delta")
MARGIN = 0.02
Word = Literal["differs", "equivalent", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A metric of both arms, fractions, and its difference, the first minus the second.

    ``p`` is that of no difference and ``p_equivalent`` that of the two one-sided tests at the margin, both corrected
    by Holm over the metrics asked. ``floor`` is what two seeds of one arm differ by on average, None where no arm has
    two. ``learned`` is the difference over the tasks that both arms learned, ``by_column`` that of each task or suite.
    """

    metric: str
    one: float
    other: float
    difference: Estimate
    p: float
    p_equivalent: float
    floor: float | None
    learned: Estimate | None
    by_column: dict[str, Estimate | None]

    @property
    def word(self) -> Word:
        """Equivalent: surely within the margin; differs: surely not zero, and perhaps beyond the margin."""
        tail = 1 - self.difference.level
        if self.p_equivalent < tail:
            return "equivalent"
        return "differs" if self.p < tail else "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Items:
    """The items of a task or suite by which the arms differ, counts; means over the pairs of seeds.

    Right at the end in the first arm only, in the second only; and lost (right after the task's own stage, or in the
    base for a suite, and wrong at the end) in the first only, in the second only. ``p_right`` and ``p_lost`` are
    McNemar's, exact; None where an arm has several seeds, whose pairs are not independent.
    """

    column: str
    n: int
    right_one: float
    right_other: float
    lost_one: float
    lost_other: float
    p_right: float | None
    p_lost: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both arms as they were compared: a row for each metric that both define, the names of the others, the items."""

    one: Arm
    other: Arm
    margin: float
    rows: tuple[Row, ...]
    undefined: tuple[str, ...]
    learned: tuple[str, ...]
    items: tuple[Items, ...]


def compare(
    one: Arm,
    other: Arm,
    names: Sequence[str] = HEADLINE,
    *,
    margin: float = MARGIN,
    level: float = LEVEL,
    intersect: bool = False,
    kin: Sequence[Arm] = (),
    replicates: int = REPLICATES,
) -> Comparison:
    """The first arm against the second; ``margin`` is a fraction, and so is every number of the result.

    ``kin`` are further arms whose seeds tell the noise floor: the published seeds of a single run, say.

    Raises:
        UserError: where the arms have no task in common, or other items of one (``intersect`` takes the common ones),
            or where a task has a single item or picture.
    """
    one, other = paired(one, other, intersect=intersect)
    if single := [column.name for column in one.columns if len(set(column.groups)) == 1]:
        raise UserError(f"{', '.join(single)} has a single item or picture: nothing can be said of its noise")
    both = resample(one, other, replicates=replicates)
    tasks = _learned(both)
    found = {name: both.estimate(name, level=level) for name in names}
    known = {name: difference for name, difference in found.items() if difference is not None}
    unequal = holm([difference.p_value() for difference in known.values()])
    equal = holm([difference.p_equivalent(margin) for difference in known.values()])
    of_seeds = [*both.whole, *(matrix_of(arm) for arm in kin)]
    rows = [
        _row(both, name, difference, (p, p_equivalent), tasks, seed_floor([_by_seed(name, a) for a in of_seeds]))
        for (name, difference), p, p_equivalent in zip(known.items(), unequal, equal, strict=True)
    ]
    return Comparison(
        one=one,
        other=other,
        margin=margin,
        rows=tuple(rows),
        undefined=tuple(name for name in names if name not in known),
        learned=tasks,
        items=tuple(_items(mine, yours, one, other) for mine, yours in _columns(one, other)),
    )


def _learned(both: Resampled) -> tuple[str, ...]:
    """The tasks that both arms learned."""
    mine, yours = (learned(over_seeds(a)) for a in both.whole)
    return tuple(task for task in mine if task in yours)


def _by_seed(name: str, a: AccuracyMatrix) -> list[float]:
    """A metric of each seed; none where it is undefined."""
    value: Any = ALL[name].compute(a)
    return [] if value is None else [float(one) for one in value[0]]


def _row(
    both: Resampled,
    name: str,
    difference: Estimate,
    p: tuple[float, float],
    tasks: tuple[str, ...],
    floor: float | None,
) -> Row:
    metric, level = ALL[name], difference.level
    one, other = (_by_seed(name, a) for a in both.whole)
    columns = both.whole[0].suites if metric.of_suites else both.whole[0].tasks
    return Row(
        metric=name,
        one=fmean(one),
        other=fmean(other),
        difference=difference,
        p=p[0],
        p_equivalent=p[1],
        floor=floor,
        learned=None if metric.of_suites or not tasks else both.estimate(name, tasks, level),
        by_column={column: both.estimate(name, [column], level) for column in columns},
    )


def seed_floor(values: Sequence[Sequence[float]]) -> float | None:
    """What two seeds of one arm differ by, the mean over all such pairs; None where no arm has two.

    >>> seed_floor([[0.5, 0.25], [0.75]]), seed_floor([[0.5], [0.25]])
    (0.25, None)
    """
    pairs = [abs(left - right) for of_arm in values for left, right in combinations(of_arm, 2)]
    return float(sum(pairs) / len(pairs)) if pairs else None


def holm(tails: Sequence[float]) -> list[float]:
    """The p values corrected by Holm for all tests that were asked together.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(tails), method="holm")[1]] if tails else []


def _columns(one: Arm, other: Arm) -> list[tuple[Column, Column]]:
    theirs = {column.name: column for column in other.columns}
    return [(column, theirs[column.name]) for column in one.columns]


def _items(mine: Column, yours: Column, one: Arm, other: Arm) -> Items:
    """How the items of a column part the arms; McNemar where each arm is one run."""
    right = [_right(column, -1) for column in (mine, yours)]
    lost = [
        _right(column, arm.own_stage(column.name)) * (1 - end)
        for column, arm, end in zip((mine, yours), (one, other), right, strict=True)
    ]
    same, single = one.seeds == other.seeds, len(one.seeds) == len(other.seeds) == 1
    right_only, lost_only = _apart(right[0], right[1], same), _apart(lost[0], lost[1], same)
    return Items(
        column=mine.name,
        n=len(mine.items),
        right_one=right_only[0],
        right_other=right_only[1],
        lost_one=lost_only[0],
        lost_other=lost_only[1],
        p_right=_mcnemar(right_only) if single else None,
        p_lost=_mcnemar(lost_only) if single else None,
    )


def _right(column: Column, stage: int) -> Any:
    """Which items are right after a stage, [seed, item] of 0 and 1; NaN where the cell was not observed."""
    import numpy

    scores = column.scores[:, stage]
    return numpy.where(numpy.isnan(scores), numpy.nan, scores >= RIGHT)


def _apart(mine: Any, yours: Any, same: bool) -> tuple[float, float]:
    """How many items only the first has, and only the second: means over the pairs of seeds, NaN where unknown."""
    if not same:
        mine, yours = mine.mean(axis=0), yours.mean(axis=0)
    share = 1 if mine.ndim == 1 else len(mine)
    return float((mine * (1 - yours)).sum() / share), float((yours * (1 - mine)).sum() / share)


def _mcnemar(counts: tuple[float, float]) -> float | None:
    """The p of counts of single runs; None where a cell was not observed."""
    return mcnemar(round(counts[0]), round(counts[1])) if counts[0] == counts[0] else None


def mcnemar(first: int, second: int) -> float:
    """McNemar's exact p of so many items in the first arm only and in the second only (statsmodels).

    >>> round(mcnemar(8, 2), 4), mcnemar(0, 0)
    (0.1094, 1.0)
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    return float(test([[0, first], [second, 0]], exact=True).pvalue)


__all__ = ["HEADLINE", "MARGIN", "Comparison", "Items", "Row", "Word", "compare", "holm", "mcnemar", "seed_floor"]
