"""How often an interval holds the true value: simulated arms with effects of items, of seeds and of both.

    python -m benchmarks.coverage                     # writes benchmarks/coverage.csv, some minutes on one core
    python -m benchmarks.coverage --simulations 50    # a look

The true value of a metric is that of infinitely many items, mean over infinitely many seeds (closed form and 4,000
seeds); for a metric with a peak it is that of cells without noise.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from harness.results.arms import Arm, Column
from harness.results.flips import Flips
from harness.results.matrix import AccuracyMatrix
from harness.results.metrics import ALL
from harness.results.stats import Estimate, resample

TABLE = Path(__file__).parent / "coverage.csv"
TASKS = ("gqa", "pathvqa", "vizwiz")
LINEAR = ("average_accuracy", "net_learning", "backward_transfer", "general_delta")
OTHERS = ("retention", "gain_retained", "loss_rate", "win_rate", "fm_lai_T", "forgetting_chaudhry")
HEADER = ("seeds a side", "interval of", "seeds vary", *(name.replace("_", " ") for name in (*LINEAR, *OTHERS)))


@dataclass(frozen=True, kw_only=True)
class World:
    """What makes a reply right: ability + item + item in this stage + seed + chance > 0, normal with these deviations.

    Ability is ``before`` a task's stage, ``after`` it, and falls by ``forgets`` a stage from then on; ``share`` items
    in a row are of one picture and share the item's effects.
    """

    items: int = 120
    share: int = 2
    before: float = -0.5
    after: float = 1.0
    forgets: float = 0.2
    item: float = 1.0
    item_in_stage: float = 0.4
    seed: float = 0.1
    chance: float = 0.5
    suites: tuple[str, ...] = ("pope",)

    @property
    def levels(self) -> dict[str, Any]:
        """The ability by task and suite, [stage]."""
        stages = numpy.arange(len(TASKS) + 1)
        found = {}
        for own, task in enumerate(TASKS, start=1):
            fallen = self.after - self.forgets * numpy.maximum(stages - own, 0)
            found[task] = numpy.where(stages < own, self.before, fallen)
        return found | dict.fromkeys(self.suites, self.after - self.forgets * stages)


def questions(world: World, rng: numpy.random.Generator) -> dict[str, Any]:
    """The effects of the items, by task, [stage, item]: the same for every arm that is asked them."""
    count = -(-world.items // world.share)
    stages = len(TASKS) + 1
    return {
        name: numpy.repeat(
            rng.normal(size=(1, count)) * world.item + rng.normal(size=(stages, count)) * world.item_in_stage,
            world.share,
            axis=1,
        )[:, : world.items]
        for name in world.levels
    }


def arm(world: World, asked: dict[str, Any], seeds: int, rng: numpy.random.Generator, name: str = "a") -> Arm:
    """An arm of so many seeds, asked these items."""
    columns = {}
    for task, level in world.levels.items():
        moved = rng.normal(size=(seeds, len(level), 1)) * world.seed * (numpy.arange(len(level)) > 0)[:, None]
        noise = rng.normal(size=(seeds, len(level), world.items)) * world.chance
        right = level[:, None] + asked[task] + moved + noise > 0
        columns[task] = Column(
            name=task,
            items=tuple(f"{task}/{n}" for n in range(world.items)),
            groups=tuple(f"{task}/{n // world.share}" for n in range(world.items)),
            scores=right.astype(float),
            malformed=numpy.zeros(right.shape),
        )
    return Arm(
        name=name,
        style="direct",
        seeds=tuple(f"{name}-{n}" for n in range(seeds)),
        stages=("base", *TASKS),
        trained=tuple((task,) for task in TASKS),
        tasks=tuple(columns[task] for task in TASKS),
        suites=tuple(columns[suite] for suite in world.suites),
    )


def truth(world: World, seeds: int = 4000) -> dict[str, float]:
    """Every metric of infinitely many items, mean over seeds."""
    from scipy.special import ndtr

    rng = numpy.random.default_rng(7)
    nodes, weights = numpy.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    apart = (world.item_in_stage**2 + world.chance**2) ** 0.5
    right: dict[str, Any] = {}  # the probability by item effect, [stage, seed, node]
    for name, level in world.levels.items():
        moved = rng.normal(size=(len(level), seeds, 1)) * world.seed * (numpy.arange(len(level)) > 0)[:, None, None]
        right[name] = ndtr((level[:, None, None] + moved + nodes * world.item) / apart)

    def cells(names: Sequence[str]) -> tuple[tuple[Any, ...], ...]:
        return tuple(tuple((right[name][i] @ weights)[None, :] for name in names) for i in range(len(TASKS) + 1))

    def flips(name: str, own: int) -> Flips:
        before, after = right[name][own], right[name][-1]
        lost, won, was = (table @ weights for table in (before * (1 - after), (1 - before) * after, before))
        return Flips(lost=lost[None, :], won=won[None, :], right=was[None, :], n=1.0)

    a = AccuracyMatrix(
        style="direct", stages=("base", *TASKS), trained=tuple((task,) for task in TASKS), tasks=TASKS,
        suites=world.suites, scores=cells(TASKS), general=cells(world.suites),
        malformed=tuple(tuple(0 * cell for cell in row) for row in cells(TASKS)),
        flips=tuple(flips(task, own) for own, task in enumerate(TASKS, start=1)),
    )  # fmt: skip
    return {name: float(numpy.mean(ALL[name].compute(a))) for name in (*LINEAR, *OTHERS)}


def held(estimate: Estimate | None, value: float) -> bool:
    """Whether an interval holds a value."""
    return estimate is not None and estimate.low <= value <= estimate.high


def measure(world: World, seeds: int, *, two: bool, simulations: int, replicates: int = 400) -> dict[str, float]:
    """The share of simulations in which the interval of one arm, or of two arms' difference, holds the true value."""
    names, rng = (*LINEAR, *OTHERS), numpy.random.default_rng(seeds)
    better = replace(world, forgets=world.forgets / 2, after=world.after + 0.1)
    wanted = truth(world)
    if two:
        other = truth(better)
        wanted = {name: wanted[name] - other[name] for name in names}
    found = dict.fromkeys(names, 0)
    for _ in range(simulations):
        asked = questions(world, rng)
        one = arm(world, asked, seeds, rng)
        both = resample(one, arm(better, asked, seeds, rng, "b") if two else None, replicates=replicates)
        for name in names:
            found[name] += held(both.estimate(name), wanted[name])
    return {name: count / simulations for name, count in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=TABLE)
    asked = parser.parse_args(arguments)
    lines = []
    for two in (False, True):
        for noise, word in ((0.05, "little"), (0.3, "much")):
            for seeds in (2, 3, 5, 10):
                found = measure(World(seed=noise), seeds, two=two, simulations=asked.simulations)
                shares = [f"{100 * found[name]:.1f}" for name in (*LINEAR, *OTHERS)]
                lines.append([str(seeds), "a difference" if two else "one arm", word, *shares])
                print(" | ".join(lines[-1]), flush=True)
    with asked.out.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *lines])


if __name__ == "__main__":
    main()
