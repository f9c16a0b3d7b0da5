"""The command `harness plan`: what a run or a grid of runs will do and take, here or on hardware by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.command.flags import (
    LIMITS,
    RUNS,
    DataFlag,
    HardwareFlag,
    LimitFlag,
    ModelFlag,
    OutFlag,
    PluginFlag,
    ScaleFlag,
    SeedFlag,
    SkipFlag,
    SplitFlag,
    SuitesFlag,
    between,
)
from harness.core import UserError


def plan_command(
    paradigm: Annotated[str, typer.Option("--paradigm", help="How to learn: see `harness list`.")] = "",
    seq: Annotated[str, typer.Option("--seq", help="The stream: its tasks and their order.")] = "",
    scale: ScaleFlag = "twin",
    model: ModelFlag = None,
    seed: SeedFlag = 0,
    limit: LimitFlag = None,
    out: OutFlag = RUNS,
    data: DataFlag = None,
    split: SplitFlag = "test",
    skip_broken: SkipFlag = 0,
    suites: SuitesFlag = "native",
    plugin: PluginFlag = None,
    sweep: Annotated[Path | None, typer.Option("--sweep", help="A sweep's file: plan all its runs.")] = None,
    hardware: HardwareFlag = None,
) -> None:
    """Say what a run will do and take, before it does it: steps, rollouts, memory, disk and time."""
    from harness.broken_items import settled
    from harness.budget.hardware import named
    from harness.command import plan, printing
    from harness.command.cli import request
    from harness.command.compare import foreseen
    from harness.training.ranks import refuse_unequal

    cards = None if hardware is None else named(hardware)
    if sweep is not None:
        if paradigm or seq:
            raise UserError("--sweep FILE names the runs: leave out --paradigm and --seq, or leave out --sweep")
        plan_sweep(sweep, out, hardware)
        return
    for flag, value in (("--paradigm", paradigm), ("--seq", seq)):
        if not value:
            raise UserError(f"{flag} is missing: name it, or give a sweep's file by --sweep (`harness list`)")
    asked = request(paradigm, seq, scale, seed, limit, data, split, plugin, suites, model)
    between("--skip-broken", skip_broken, 0, LIMITS)
    if skip_broken:
        asked = settled(asked, skip_broken, print, pictures=False)
    planned = plan.of(asked, out, cards)
    printing.plan(printing.console(), planned)
    if line := foreseen(asked):
        print(line)
    refuse_unequal(asked.paradigm, asked.scale)
    plan.refuse(planned, out)


def plan_sweep(file: Path, out: Path, hardware: str | None) -> None:
    """Print the plan of a grid of runs; UserError, after it, where one of them cannot fit."""
    from harness.budget.hardware import named
    from harness.command import grid_plan, printing
    from harness.command.sweep import runs_of
    from harness.sweep.grid import read_grid
    from harness.sweep.leg import Place
    from harness.training.ranks import refuse_unequal

    runs = [asked.run for asked in runs_of(read_grid(file), Place(out=out.absolute(), folder=Path.cwd()))]
    planned = grid_plan.of(runs, out, None if hardware is None else named(hardware))
    printing.grid_plan(printing.console(), planned)
    for run in runs:
        refuse_unequal(run.paradigm, run.scale)
    grid_plan.refuse(planned, out)


__all__ = ["plan_command"]
