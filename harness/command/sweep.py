"""The command `harness sweep`: a grid of runs, on this machine, on a Ray cluster or on Slurm."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.command.flags import RUNS, OutFlag
from harness.core import Scale, UserError
from harness.values import cut

if TYPE_CHECKING:
    from harness.sweep.grid import Grid
    from harness.sweep.leg import Place
    from harness.sweep.legs import Asked, Leg

EXECUTORS = ("local", "ray", "slurm")


def sweep_command(
    file: Annotated[Path, typer.Argument(help="A TOML file: paradigms, streams, seeds and more, see docs/sweep.md.")],
    executor: Annotated[str, typer.Option("--executor", help="Who does it: local, ray or slurm.")] = "local",
    out: OutFlag = RUNS,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it will do and cost, and do nothing.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how far its runs are, and do nothing.")] = False,
) -> None:
    """Do every run of a grid; stages that runs share are done once, and the same command goes on."""
    if executor not in EXECUTORS:
        raise UserError(f"--executor {cut(executor, 40)} is unknown: use one of {', '.join(EXECUTORS)}")
    from harness.command import check, printing
    from harness.sweep.grid import read_grid
    from harness.sweep.leg import Place
    from harness.sweep.legs import legs_of

    grid, place = read_grid(file), Place(out=out.absolute(), folder=Path.cwd())
    asked = runs_of(grid, place)
    if status:
        show_ledger(asked, place)
        return
    legs = legs_of(asked)
    screen = printing.console()
    screen.print(planned(asked, legs, place), soft_wrap=True)
    if plan:
        return
    check.fit_versions()
    check.writable(out)
    do(executor, legs, grid, place)
    left = show_ledger(asked, place)
    if left:
        print(f"error: {left} of {len(asked)} runs are not finished: the same command goes on", file=sys.stderr)
        raise typer.Exit(2)


def runs_of(grid: Grid, place: Place) -> tuple[Asked, ...]:
    """The runs of a grid, each once, in its order. Raises UserError for what cannot be."""
    from harness.broken_items import settled
    from harness.command.cli import request
    from harness.run_inputs import run_id, run_stages
    from harness.sweep.grid import points, words
    from harness.sweep.legs import Asked

    data = None if grid.data is None else Path(grid.data)
    plugins = [Path(name) for name in grid.plugins]
    found: dict[str, Asked] = {}
    for point in points(grid):
        run = request(
            point.paradigm, point.stream, point.scale, point.seed, grid.limit, data, grid.split, plugins, grid.suites
        )
        if grid.skip_broken:  # what is left out is a part of the run's id
            run = settled(run, grid.skip_broken, say)
        run_stages(run)
        cpus, gpus = taken(run.scale)
        found.setdefault(
            run_id(run),
            Asked(
                run=run,
                words=words(grid, point, place.out),
                cpus=cpus if grid.cpus is None else grid.cpus,
                gpus=gpus if grid.gpus is None else grid.gpus,
            ),
        )
    return tuple(found.values())


def say(line: str) -> None:
    """Tell on standard error what a run does without."""
    print(line, file=sys.stderr)


def taken(scale: Scale) -> tuple[int, int]:
    """The processors and GPUs of a task.

    A GPU for each rank, none in fp32; four processors for a GPU, at least one for training and one for each observer.
    """
    gpus = 0 if scale.precision == "float32" else max(1, scale.ranks)
    return max(1 + scale.observers, 4 * gpus), gpus


def do(executor: str, legs: Sequence[Leg], grid: Grid, place: Place) -> None:
    """Do the legs, with a line for each that has ended."""
    from harness.sweep import here, leg, on_ray, on_slurm

    def hear(done: Leg, code: int) -> None:
        print(cut(leg.in_words(done, code, place), 600), flush=True)

    if executor == "ray":
        on_ray.do_on_ray(legs, place, grid.retries, hear)
    elif executor == "slurm":
        on_slurm.do_on_slurm(legs, place, grid, hear)
    else:
        here.do_here(legs, place, grid.workers or workers(legs), hear)


def workers(legs: Sequence[Leg]) -> int:
    """How many legs this machine does at once: one where they take GPUs, else as many as its processors allow."""
    import os

    most = max(leg.cpus for leg in legs)
    return 1 if any(leg.gpus for leg in legs) else max(1, (os.cpu_count() or 1) // most)


def planned(asked: Sequence[Asked], legs: Sequence[Leg], place: Place) -> str:
    """A sweep in one line: runs, stages and how many of them are shared, tasks, time on one worker."""
    from harness.command import grid_plan, printing

    found = grid_plan.of([one.run for one in asked], place.out)
    return (
        f"[bold]{len(asked):,} runs[/bold]: {found.stages:,} stages, {found.distinct:,} of them to train and"
        f" {found.stages - found.distinct:,} shared; {len(legs):,} tasks, about {printing.duration(found.seconds)} on"
        " one worker; `harness plan --sweep` says what they take"
    )


def show_ledger(asked: Sequence[Asked], place: Place) -> int:
    """Print how far each run is, from its own record; how many are not finished."""
    from harness.command import printing
    from harness.run_inputs import run_id, run_stages
    from harness.sweep.ledger import ledger

    runs = [(run_id(one.run), len(run_stages(one.run))) for one in asked]
    lines = ledger(runs, place)
    table = printing.grid(["run", "state", "stages", "last exit code"], 2)
    for line in lines:
        code = "" if line.code is None else str(line.code)
        table.add_row(printing.told(line.run), line.state, f"{line.stages} of {line.of}", code)
    printing.show(printing.console(), f"Runs in {place.out}", table)
    return sum(line.state != "finished" for line in lines)


__all__ = ["planned", "runs_of", "show_ledger", "sweep_command", "taken", "workers"]
