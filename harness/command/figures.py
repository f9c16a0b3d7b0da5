"""The command ``harness figures``: every figure and table of the published results, or one of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from harness.command.flags import RESULTS, ResultsFlag
from harness.core import UserError


def figures_command(
    name: Annotated[str | None, typer.Argument(help="One figure's name; all of them without it.")] = None,
    results: ResultsFlag = RESULTS,
    out: Annotated[Path | None, typer.Option("--out", help="Where the files go; results/figures without it.")] = None,
    scale: Annotated[str | None, typer.Option("--scale", help="Draw this scale's runs; the names end in it.")] = None,
    width: Annotated[str, typer.Option("--width", help="How wide: one column of a page, or double.")] = "column",
) -> None:
    """Draw the figures of the published results as PDF, PNG and CSV, and the table; one that lacks runs is named."""
    from harness.command import check

    papers = importlib.import_module("paper_figures")
    known = {**papers.FIGURES, **papers.TABLES}
    if name is not None and name not in known:
        raise UserError(f"unknown figure {name!r}: use one of {', '.join(sorted(known))}")
    widths = importlib.import_module("paper_figures.page").WIDTHS
    if width not in widths:
        raise UserError(f"--width {width!r} is unknown: use {' or '.join(widths)}")
    target = out or results / "figures"
    check.writable(target)
    lacking = {}
    for figure in [name] if name else sorted(known):
        try:
            paths = importlib.import_module(known[figure]).draw(results, target, scale=scale, width=width)
        except UserError as error:
            lacking[figure] = error
            continue
        for path in paths:
            print(path)
    if name or len(lacking) == len(known):
        for fault in lacking.values():
            raise fault
    for figure, fault in lacking.items():
        typer.echo(f"left out: {figure} ({fault})", err=True)


__all__ = ["figures_command"]
