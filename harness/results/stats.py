"""Intervals: what a number of an arm, or a difference between two, is known to within.

Items and training seeds are crossed: an item is the same in every stage, seed and arm. The variance of a metric is the
part of the items (by a bootstrap of their groups, which also holds what is of an item in one seed alone) plus what the
seeds vary beyond that. The interval adds the squares of both parts' own half widths, normal for the items and t for
the few seeds (MOVER: Zou and Donner 2008, doi:10.1002/sim.3095): a percentile bootstrap over three seeds covers about
75%, not 95%. What it covers is measured by ``benchmarks/coverage.py``. numpy and scipy do the statistics.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.results.arms import Arm
from harness.results.matrix import AccuracyMatrix
from harness.results.metrics import ALL
from harness.results.resampling import REPLICATES, draws, matrix_of

LEVEL = 0.95
POWER = 0.8
LEAST_DEFINED = 0.9  # of the replicates; a ratio that is undefined in more of them has no interval
NEGLIGIBLE = 1e-12  # a probability that nobody would print
Seeds = Literal["own", "borrowed", "none"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its uncertainty, fractions: ``items`` and ``seeds`` are the variances of the two parts.

    ``df`` are the degrees of freedom of the seeds' part. ``noise_of`` says whose seeds gave it: the arm's ``own``;
    ``borrowed`` from the other arm, where one arm has a single seed; or ``none``, where nobody can know it and the
    interval is about these very runs.
    """

    value: float
    items: float
    seeds: float
    df: float
    noise_of: Seeds
    level: float = LEVEL

    @property
    def error(self) -> float:
        """The standard error."""
        return float((self.items + self.seeds) ** 0.5)

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.value - self.half(self.level)

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.value + self.half(self.level)

    def half(self, level: float) -> float:
        """Half the width of the two-sided interval: sqrt(z^2 items + t^2 seeds)."""
        return self._exceeded((1 - level) / 2)

    def _exceeded(self, tail: float) -> float:
        """What noise exceeds to one side with the probability ``tail``, below a half."""
        from scipy import stats

        normal, few = float(stats.norm.isf(tail)), float(stats.t.isf(tail, self.df)) if self.seeds else 0.0
        return float((normal**2 * self.items + few**2 * self.seeds) ** 0.5)

    def beyond(self, distance: float) -> float:
        """The probability that noise alone takes the estimate by more than ``distance`` to one side."""
        from scipy import optimize, stats

        if distance <= 0 or not self.error:
            return 0.5 if distance <= 0 else 0.0
        least = float(stats.norm.sf(distance / self.error))
        if not self.seeds or not self.items:
            return float(stats.t.sf(distance / self.error, self.df)) if self.seeds else least
        # The tail at which the noise exceeds just this distance lies between those of a normal and of Student's t.
        most = float(stats.t.sf(distance / self.error, self.df))
        if most - least < NEGLIGIBLE:
            return most
        least = max(least, NEGLIGIBLE)
        if self._exceeded(least) <= distance or self._exceeded(most) >= distance:  # equal, but for rounding
            return most
        return float(optimize.brentq(lambda tail: self._exceeded(tail) - distance, least, most))

    def p_value(self) -> float:
        """Two-sided, of no difference from zero."""
        return min(1.0, 2 * self.beyond(abs(self.value)))

    def p_equivalent(self, margin: float) -> float:
        """Of the two one-sided tests (TOST) that the true value is within +- ``margin``; small = equivalent."""
        inside = margin - abs(self.value)
        return self.beyond(inside) if inside > 0 else 1.0 - self.beyond(-inside)

    def smallest(self, power: float = POWER) -> float:
        """The smallest true difference that a test at 1 - ``level`` finds with ``power``."""
        return self.half(self.level) + self._exceeded(1 - power)


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """One arm, or two that are compared: their matrices and the replicates of both, from which any metric is read.

    ``paired`` says that both are the same runs, asked in two styles: then seed is taken from seed.
    """

    whole: tuple[AccuracyMatrix, ...]
    drawn: tuple[AccuracyMatrix, ...]
    paired: bool = False

    def sides(self, name: str, only: Collection[str] | None = None) -> list[Side]:
        """A metric of each arm, or of the pairs of seeds; empty where it is undefined in one of them.

        ``only`` are the tasks (for a metric of suites: the suites) that are averaged over.
        """
        metric = ALL[name]
        values = [metric.compute(a, only) for a in self.whole]
        if any(value is None for value in values):
            return []
        sides = [Side.of(value, metric.compute(a, only)) for value, a in zip(values, self.drawn, strict=True)]
        return [sides[0].minus(sides[1])] if self.paired else sides

    def estimate(self, name: str, only: Collection[str] | None = None, level: float = LEVEL) -> Estimate | None:
        """A metric with its interval: of the one arm, or of the first minus the second; None where it is undefined."""
        sides = self.sides(name, only)
        return _estimate(sides, level) if sides else None

    def cell(self, stage: int, column: str, level: float = LEVEL) -> Estimate | None:
        """The score of a task or suite after a stage with its interval, or the difference of two arms' scores."""
        sides = []
        for whole, drawn in zip(self.whole, self.drawn, strict=True):
            place = [*whole.tasks, *whole.suites].index(column)
            values: list[Any] = [(*a.scores[stage], *a.general[stage])[place] for a in (whole, drawn)]
            if values[0] is None:
                return None
            sides.append(Side.of(*values))
        return _estimate([sides[0].minus(sides[1])] if self.paired else sides, level)


def resample(arm: Arm, other: Arm | None = None, *, replicates: int = REPLICATES) -> Resampled:
    """The replicates of an arm, or of two with the same items in the same order (``arms.paired``)."""
    drawn = draws(arm.columns, replicates)
    sides = [arm] if other is None else [arm, other]
    return Resampled(
        whole=tuple(matrix_of(side) for side in sides),
        drawn=tuple(matrix_of(side, drawn) for side in sides),
        paired=other is not None and arm.seeds == other.seeds,
    )


def estimates(arm: Arm, names: Sequence[str] = (), *, level: float = LEVEL) -> dict[str, Estimate | None]:
    """Metrics of an arm (all of ``metrics.ALL`` where none is named), mean over its seeds, each with its interval."""
    resampled = resample(arm)
    return {name: resampled.estimate(name, level=level) for name in names or ALL}


def differences(one: Arm, other: Arm, names: Sequence[str] = (), *, level: float = LEVEL) -> dict[str, Estimate | None]:
    """The first arm's metrics minus the second's, each with its interval: items paired, the seeds of each arm apart.

    The arms hold the same items in the same order (``arms.paired``). An arm with one seed is taken to vary over seeds
    as the other does; arms of the same runs, asked in two styles, are paired seed by seed.
    """
    resampled = resample(one, other)
    return {name: resampled.estimate(name, level=level) for name in names or ALL}


def cell_estimates(arm: Arm, *, level: float = LEVEL) -> tuple[tuple[Estimate | None, ...], ...]:
    """The arm's mean over seeds of every cell of its tasks, [stage incl. base, task], each with its interval."""
    resampled = resample(arm)
    tasks = [column.name for column in arm.tasks]
    return tuple(tuple(resampled.cell(stage, task, level) for task in tasks) for stage in range(len(arm.stages)))


@dataclass(frozen=True, kw_only=True)
class Side:
    """A metric of one arm: its ``values`` by seed, [seed], and their replicates, [replicate, seed]."""

    values: Any
    replicates: Any

    @classmethod
    def of(cls, values: Any, replicates: Any) -> Side:
        """From what a metric gives for the whole, [1, seed], and for the replicates."""
        return cls(values=values[0], replicates=replicates)

    def minus(self, other: Side) -> Side:
        """The differences seed by seed."""
        return Side(values=self.values - other.values, replicates=self.replicates - other.replicates)

    def spread(self, whole: Any) -> tuple[float, float]:
        """The variance between seeds, and how much of it is of items in one seed alone; ``whole`` are usable rows."""
        import numpy

        count = len(self.values)
        covariance = numpy.cov(self.replicates[whole], rowvar=False)
        shared = (covariance.sum() - covariance.trace()) / (count * (count - 1))
        return float(self.values.var(ddof=1)), max(float(covariance.trace() / count - shared), 0.0)


def _estimate(sides: Sequence[Side], level: float) -> Estimate | None:
    """The first side's mean over seeds, minus the second's; None where it is undefined."""
    import numpy

    defined = [numpy.isfinite(side.replicates).all(axis=1) for side in sides]
    whole = numpy.logical_and.reduce(defined)
    if not all(numpy.isfinite(side.values).all() for side in sides) or whole.mean() < LEAST_DEFINED:
        return None
    means = [side.replicates[whole].mean(axis=1) for side in sides]
    value = sides[0].values.mean() - (sides[1].values.mean() if len(sides) == 2 else 0.0)
    items = numpy.var(means[0] - (means[1] if len(sides) == 2 else 0.0), ddof=1)
    seeds, df, noise_of = _seeds_part(sides, whole)
    return Estimate(value=float(value), items=float(items), seeds=seeds, df=df, noise_of=noise_of, level=level)


def _seeds_part(sides: Sequence[Side], whole: Any) -> tuple[float, float, Seeds]:
    """What seeds vary beyond the items' part of the variance of the estimate; its df; and whose seeds gave it.

    Of what items have in one seed alone, 1 - 1/seeds is taken off: with all of it, intervals of two or three seeds
    cover too little (their variance is often far below the true one); with nothing, too much.
    """
    known = {number: side.spread(whole) for number, side in enumerate(sides) if len(side.values) > 1}
    if not known:
        return 0.0, float("inf"), "none"
    count = {number: len(sides[number].values) for number in known}
    share = dict.fromkeys(known, 0.0)
    for number, side in enumerate(sides):
        share[number if number in known else 1 - number] += 1 / len(side.values)
    total = sum(variance * share[number] for number, (variance, _) in known.items())
    off = sum(alone * (1 - 1 / count[number]) * share[number] for number, (_, alone) in known.items())
    spread = sum((variance * share[number]) ** 2 / (count[number] - 1) for number, (variance, _) in known.items())
    df = total**2 / spread if spread else float("inf")
    return max(total - off, 0.0), df, "own" if len(known) == len(sides) else "borrowed"


__all__ = [
    "LEVEL", "POWER", "REPLICATES", "Estimate", "Resampled", "Side", "cell_estimates", "differences", "estimates",
    "resample",
]  # fmt: skip
