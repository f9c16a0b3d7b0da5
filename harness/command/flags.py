"""The flags that several commands share, and what each may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.core import SPLITS, Stream, UserError

SEEDS = 2**31 - 1
LIMITS = 10**6
ROOT = Path(__file__).resolve().parents[2]

ParadigmFlag = Annotated[str, typer.Option("--paradigm", help="How to learn: see `harness list`.", show_default=False)]
StreamFlag = Annotated[str, typer.Option("--seq", help="The stream: its tasks and their order.", show_default=False)]
SomeStreamFlag = Annotated[str, typer.Option("--seq", help="The stream: its tasks and their order.")]
ScaleFlag = Annotated[str, typer.Option("--scale", help="Model and sizes.")]
ModelFlag = Annotated[
    str | None, typer.Option("--model", help="Another model than the scale's: a folder, or a hub name that is here.")
]
SeedFlag = Annotated[int, typer.Option("--seed", help=f"0 to {SEEDS}.")]
LimitFlag = Annotated[
    int | None, typer.Option("--limit", help="At most this many training items a stage and test items a cell.")
]
OutFlag = Annotated[Path, typer.Option("--out", help="Where runs and checkpoints are stored.")]
DataFlag = Annotated[
    Path | None, typer.Option("--data", help="Official data, one subfolder per task; the twins without it.")
]
SplitFlag = Annotated[str, typer.Option("--split", help="What to evaluate on: test, or validation for choosing.")]
SkipFlag = Annotated[
    int, typer.Option("--skip-broken", help="Do without at most this many broken or too long items of the data.")
]
SuitesFlag = Annotated[
    str, typer.Option("--suites", help="Who asks and marks the general suites: native, library, or both.")
]
UntilFlag = Annotated[
    str, typer.Option("--until", help="End with this stage, or base; the same command without it goes on.")
]
PluginFlag = Annotated[
    list[Path] | None, typer.Option("--plugin", help="A Python file with tasks or paradigms of your own; repeatable.")
]
HardwareFlag = Annotated[
    str | None, typer.Option("--hardware", help="Plan for cpu, or cards such as 8xh100-80gb; this machine without it.")
]
ReportToFlag = Annotated[
    str | None, typer.Option("--report-to", help="Also report training to tensorboard or wandb, in the run's folder.")
]
ResultsFlag = Annotated[Path, typer.Option("--results", help="The folder of published results.")]
RunName = Annotated[str, typer.Argument(help="A run's id: see `harness runs list`.", metavar="RUN")]
ScorerFlag = Annotated[str, typer.Option("--scorer", help="A second scorer of the tasks, such as single.")]
RESULTS = ROOT / "results"
RUNS = Path("runs")


def between(flag: str, value: int, least: int, most: int) -> None:
    """Raise UserError where a flag's number is out of its range."""
    if not least <= value <= most:
        raise UserError(f"{flag} {value} is out of range: use {least} to {most}")


def asked_items(limit: int | None, data: Path | None, split: str) -> None:
    """Raise UserError where the flags that choose the items of a cell cannot be."""
    if limit is not None:
        between("--limit", limit, 1, LIMITS)
    if split not in ("test", "validation"):
        known = "is for learning" if split in SPLITS else "is unknown"
        raise UserError(f"--split {split} {known}: use test or validation")
    if data is not None and not data.is_dir():
        raise UserError(f"--data {data} is no folder: give one with a subfolder for each task")


def stream_of(seq: str, suites: str, split: str = "test") -> Stream:
    """The stream of a name, with its general suites as the flag says; each of its tasks is registered."""
    from harness.run_inputs import with_suites

    stream = with_suites(registry.typed(Stream, seq), suites)
    if suites != "native" and split != "test":
        raise UserError(f"--suites {suites} knows the test split alone: leave out --split, or use --suites native")
    for name in stream.tasks + stream.general:
        if name not in registry.names("suite"):
            registry.find("task", name)
    return stream
