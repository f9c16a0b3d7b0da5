"""The command `harness submit`: look at a run that somebody hands in, and take it into the published results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.command.flags import RESULTS, DataFlag, PluginFlag, ResultsFlag

FolderArgument = Annotated[Path, typer.Argument(help="A published run's folder, named by its id.", metavar="FOLDER")]
CheckFlag = Annotated[bool, typer.Option("--check", help="Only look at it.")]


def submit_command(
    folder: FolderArgument,
    check: CheckFlag = False,
    results: ResultsFlag = RESULTS,
    data: DataFlag = None,
    plugin: PluginFlag = None,
) -> None:
    """Look at a run that is handed in, name all that is wrong with it, and take it in where nothing is.

    Its replies are marked again; no model is needed.
    """
    registry.load_plugins(tuple(plugin or ()))
    from harness.results.leaderboard import rebuild_all
    from harness.results.submission import faults, take_in

    folder = folder.absolute()
    found = faults(folder, results, data)
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    if found:
        raise typer.Exit(2)
    if check:
        print(f"{folder.name} is whole: its replies give its marks, and these its cells")
        return
    target = take_in(folder, results)
    for line in rebuild_all(results):
        print(f"note: {line}", file=sys.stderr)
    print(f"taken in as {target}: see `harness leaderboard`")


__all__ = ["submit_command"]
