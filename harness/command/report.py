"""The command `harness report`: runs as a static site to click through."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.command.flags import RESULTS, RUNS, DataFlag, OutFlag, PluginFlag, ResultsFlag
from harness.core import UserError
from harness.values import cut

MOST = 6  # runs of one report

SomeRuns = Annotated[
    list[str],
    typer.Argument(
        help="Runs by id, stored or published, or a run's folder; the second beside the first.", metavar="RUN..."
    ),
]
OutputFlag = Annotated[Path, typer.Option("--output", "-o", help="The folder of the report; an older one is replaced.")]


def report_command(
    runs: SomeRuns,
    output: OutputFlag = Path("report"),
    out: OutFlag = RUNS,
    results: ResultsFlag = RESULTS,
    data: DataFlag = None,
    plugin: PluginFlag = None,
) -> None:
    """Write runs as a page that opens from a file: from the matrix to each item, its picture and its replies."""
    registry.load_plugins(tuple(plugin or ()))
    if len(runs) > MOST or len(set(runs)) < len(runs):
        raise UserError(f"a report is of 1 to {MOST} different runs, {len(runs)} were named: leave some out")
    if data is not None and not data.is_dir():
        raise UserError(f"--data {cut(str(data))} is no folder: give one with a subfolder for each task")
    from harness.command.check import in_words
    from harness.report.answers import folder_of
    from harness.report.site import build
    from harness.store.disk import size

    folders = [folder_of(run, out, results) for run in runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a report is of different runs, one was named twice: leave it out")
    replies = build(folders, output, data, print)
    print(f"{replies:,} replies in {in_words(size(output))}: open {output / 'index.html'} in a browser")


__all__ = ["report_command"]
