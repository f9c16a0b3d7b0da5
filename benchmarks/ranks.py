"""A stage of ``sft`` and of ``rft`` on ranks beside the same in one process: ``python -m benchmarks.ranks --ranks N``.

One rank is enough to see FSDP2, NCCL and bf16 at work on a GPU; with more the losses of ``sft`` must stay those of one
process, up to rounding. Rewards of ``rft`` may differ: each rank samples replies of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # where it is started as a file, its own folder stands there

from benchmarks.gpu import SIZES, sizes  # noqa: E402
from benchmarks.speed import distance, job_of  # noqa: E402
from harness.core import Job, Progress, Trained, UserError, replace  # noqa: E402
from harness.scales import model_folder  # noqa: E402
from harness.training.launch import train_in_place  # noqa: E402
from harness.training.ranks import gpus, train_on_ranks  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A stage: what it learned, the loss or reward of each update, seconds until the first one and of a later one."""

    trained: Trained
    losses: tuple[float, ...]
    begin: float
    step: float


def heard(train: Any, job: Job) -> Heard:
    """Train a job and listen."""
    said: list[tuple[float, float]] = []

    def report(progress: Progress) -> None:
        value = progress.reward if progress.loss is None else progress.loss
        said.append((time.perf_counter(), float(value or 0.0)))

    job.folder.mkdir(parents=True)
    begun = time.perf_counter()
    trained = train(replace(job, report=report))
    times = [moment for moment, _ in said]
    return Heard(
        trained=trained,
        losses=tuple(value for _, value in said),
        begin=times[0] - begun,
        step=(times[-1] - times[0]) / max(1, len(times) - 1),
    )


def compare(size: str, ranks: int, steps: int, work: Path) -> None:
    """Both paradigms at a size, in one process and on ranks; a row of the Markdown table each."""
    from baselines.rft import RFT
    from baselines.sft import SFT
    from tasks.gqa import GQA

    scale = replace(sizes(work)[size], micro_batch=16 // ranks)
    for paradigm in (SFT, RFT):
        job = job_of(paradigm, scale, GQA, steps, work)
        one = heard(train_in_place, replace(job, folder=work / f"{size}-{paradigm.name}-one"))
        spread = replace(job, scale=replace(scale, ranks=ranks), folder=work / f"{size}-{paradigm.name}-ranks")
        many = heard(train_on_ranks, spread)
        apart = max(abs(mine - theirs) for mine, theirs in zip(one.losses, many.losses, strict=True))
        moved = distance(one.trained.weights, model_folder(scale))
        between = distance(one.trained.weights, many.trained.weights) / moved
        print(
            f"| {size} | {paradigm.name} | {ranks} | {len(many.losses)} | {one.step:.3f} | {many.step:.3f} |"
            f" {many.begin:.1f} | {apart:.2e} | {between:.2e} |",
            flush=True,
        )


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; exit code 2 where there are too few GPUs."""
    parser = argparse.ArgumentParser(description="A stage of sft and rft on ranks beside the same in one process.")
    parser.add_argument("--ranks", type=int, default=1, choices=(1, 2, 4, 8), help="GPUs to train on (1)")
    parser.add_argument("--size", choices=SIZES, action="append", help="this size alone; repeatable")
    parser.add_argument("--steps", type=int, default=8, help="optimiser steps of a stage (8)")
    wanted = parser.parse_args(arguments)
    if gpus() < wanted.ranks:
        error = UserError(f"{wanted.ranks} GPUs are wanted and {gpus()} are here: tests/test_ranks.py tries two CPUs")
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("| size | paradigm | ranks | steps | s a step, one process | s a step, ranks | s to the first | largest"
          " difference of a loss or reward | weights apart, of what they moved |")  # fmt: skip
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="ranks-") as work:
        for size in wanted.size or SIZES:
            compare(size, wanted.ranks, wanted.steps, Path(work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
