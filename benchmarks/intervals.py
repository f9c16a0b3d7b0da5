"""What intervals cost: all metrics of 7 tasks x 8 stages x 5,000 items x 5 seeds, 1,000 replicates, on one core.

OMP_NUM_THREADS=1 python -m benchmarks.intervals
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import numpy

from harness.results.arms import Arm, Column
from harness.results.metrics import ALL
from harness.results.stats import resample

TASKS = 7


def made(seed: int, items: int, seeds: int, tasks: int = TASKS) -> Arm:
    """An arm of marks by chance; every second task has two items a picture."""
    rng = numpy.random.default_rng(seed)
    names = tuple(f"task-{number}" for number in range(1, tasks + 1))

    def column(number: int, name: str) -> Column:
        shape = (seeds, tasks + 1, items)
        return Column(
            name=name,
            items=tuple(f"{name}/{n}" for n in range(items)),
            groups=tuple(f"{name}/{n // (1 + number % 2)}" for n in range(items)),
            scores=(rng.random(shape) < 0.6).astype(float),
            malformed=(rng.random(shape) < 0.05).astype(float),
            odds=numpy.full(items, 1 / 3),
        )

    return Arm(
        name="made", style="direct", seeds=tuple(f"{seed}-{n}" for n in range(seeds)), stages=("base", *names),
        trained=tuple((name,) for name in names), tasks=tuple(map(column, range(tasks), names)),
        suites=(column(0, "suite"),), joint=(0.8,) * tasks,
    )  # fmt: skip


def measure(items: int, seeds: int, replicates: int = 1000) -> dict[str, float]:
    """Processor and wall seconds of all metrics' intervals: of one arm, and of the difference between two."""
    one, other = made(0, items, seeds), made(1, items, seeds)
    found = {}
    for name, arms in (("one arm", (one,)), ("two arms", (one, other))):
        wall, processor = time.perf_counter(), time.process_time()
        resampled = resample(*arms, replicates=replicates)
        estimates = [resampled.estimate(metric) for metric in ALL]
        found[f"{name}, processor"] = time.process_time() - processor
        found[f"{name}, wall"] = time.perf_counter() - wall
        if None in estimates:
            raise AssertionError("a metric is undefined")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args(arguments)
    print(f"{len(ALL)} metrics, {TASKS} tasks x {TASKS + 1} stages x {asked.items:,} items x {asked.seeds} seeds")
    for name, seconds in measure(asked.items, asked.seeds).items():
        print(f"{name}: {seconds:.2f} s")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
