"""The command `harness leaderboard`: the published runs, ranked; and what is derived from them, made anew."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.command.flags import RESULTS, ResultsFlag

RebuildFlag = Annotated[
    bool, typer.Option("--rebuild", help="Make leaderboard.csv and its pages in Markdown, LaTeX and HTML anew first.")
]


def leaderboard_command(results: ResultsFlag = RESULTS, rebuild: RebuildFlag = False) -> None:
    """Rank the published runs; only runs of equal stream, scale and task versions compare, asked in one style."""
    from harness.command import printing
    from harness.results import leaderboard

    damaged = leaderboard.rebuild_all(results) if rebuild else ()
    for line in damaged:
        print(f"error: {line}", file=sys.stderr)
    printing.leaderboard(printing.console(), leaderboard.load(results))
    if damaged:
        raise typer.Exit(2)


__all__ = ["leaderboard_command"]
