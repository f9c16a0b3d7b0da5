"""What a comparison could find, before it is made: the noise of two arms that were run, for other items and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core import Stream, UserError
from harness.results.arms import Arm, arm_of, paired
from harness.results.marks import read_marks
from harness.results.metrics import by_column
from harness.results.published import RUNS, PublishedRun, sound_runs
from harness.results.resampling import matrix_of
from harness.results.stats import POWER, Estimate, resample

SEEDS = (1, 3, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Where the variance of a metric's difference between two arms comes from, by its parts.

    ``items`` is what an item has in all seeds alike and ``apart`` what it has in one seed; ``seeds`` is one seed's, of
    one arm. They were measured with ``count`` items of a cell, and a metric that is the mean over ``tasks`` tasks.
    """

    metric: str
    items: float
    apart: float
    seeds: float
    count: int
    tasks: int

    def smallest(self, seeds: int, count: int, tasks: int, power: float = POWER) -> float:
        """The smallest true difference that ``seeds`` a side and ``count`` items a cell find with ``power``.

        Variance = (items/k + 2 (apart/k + seeds)/S) / m for S seeds a side, k times the items and m times the tasks,
        whose noise is taken to be their own. With one seed a side nobody can estimate its noise: it is taken as known.

        >>> noise = Noise(metric="backward_transfer", items=1e-6, apart=1e-5, seeds=1e-5, count=200, tasks=6)
        >>> [round(100 * noise.smallest(*asked), 2) for asked in ((1, 200, 6), (5, 200, 6), (5, 800, 6), (5, 200, 2))]
        [1.79, 0.9, 0.71, 1.55]
        """
        more, other = count / self.count, tasks / self.tasks
        return Estimate(
            value=0.0,
            items=(self.items + 2 * self.apart / seeds) / more / other,
            seeds=2 * self.seeds / seeds / other,
            df=2 * (seeds - 1) or float("inf"),
            noise_of="own",
        ).smallest(power)


def noise_between(one: Arm, other: Arm, metric: str) -> Noise | None:
    """The noise of a metric's difference between two arms of several seeds; None where it is undefined.

    The arms hold the same items in the same order (``arms.paired``).
    """
    import numpy

    sides = resample(one, other).sides(metric)
    if len(sides) < 2 or any(len(side.values) < 2 for side in sides):
        return None
    whole = numpy.logical_and.reduce([numpy.isfinite(side.replicates).all(axis=1) for side in sides])
    spreads = [side.spread(whole) for side in sides]
    means = [side.replicates[whole].mean(axis=1) for side in sides]
    alone = sum(apart / len(side.values) for side, (_, apart) in zip(sides, spreads, strict=True))
    return Noise(
        metric=metric,
        items=max(float(numpy.var(means[0] - means[1], ddof=1)) - alone, 0.0),
        apart=sum(apart for _, apart in spreads) / 2,
        seeds=sum(max(variance - apart, 0.0) for variance, apart in spreads) / 2,
        count=min(len(column.items) for column in one.tasks),
        tasks=sum(value is not None for value in by_column(metric, matrix_of(one)).values()),
    )


def forecast(paradigm: str, stream: Stream, scale: str, count: int, results: Path) -> str:
    """What a run of ``count`` items a cell could find beside another arm, in one line; empty where nothing tells.

    The noise is that of two published arms of several seeds: of this stream and scale where there are such, and of this
    paradigm where it is one of them.
    """
    chosen, tasks = _two_arms(paradigm, stream.name, scale, sound_runs(results)[0]), len(stream.tasks) - 1
    if len(chosen) < 2 or not tasks:
        return ""
    try:
        arms = [arm_of(runs, [read_marks(results / RUNS / run.id) for run in runs]) for runs in chosen]
        noise = noise_between(*paired(*arms), "backward_transfer")
    except UserError:  # marks that are missing or damaged: the forecast is left out, the plan stands
        return ""
    if noise is None:
        return ""
    found = ", ".join(f"{100 * noise.smallest(seeds, count, tasks):.1f} with {seeds}" for seeds in SEEDS)
    names = " and ".join(f"{runs[0].scale}/{runs[0].paradigm}" for runs in chosen)
    apart = (
        ""
        if {(runs[0].stream, runs[0].scale) for runs in chosen} == {(stream.name, scale)}
        else ", of another stream or scale"
    )
    return (
        f"smallest difference in backward transfer that is found with 80% power, in points by seeds a side: {found}"
        f" (by the noise of {names}{apart})"
    )


def _two_arms(paradigm: str, stream: str, scale: str, runs: Sequence[PublishedRun]) -> list[list[PublishedRun]]:
    """The seeds of two arms of one group: this stream's and scale's first, then this paradigm's, then most seeds."""
    arms: dict[tuple[str, str], list[PublishedRun]] = {}
    for run in runs:
        if run.matrix().ordered:
            arms.setdefault((run.group, run.recipe), []).append(run)
    several = [found for found in arms.values() if len(found) > 1]

    def wanted(found: list[PublishedRun]) -> tuple[bool, bool, int, str]:
        other = (found[0].stream, found[0].scale) != (stream, scale)
        return other, found[0].paradigm != paradigm, -len(found), found[0].id

    ranked = sorted(several, key=wanted)
    return [found for found in ranked if found[0].group == ranked[0][0].group][:2]


__all__ = ["Noise", "forecast", "noise_between"]
