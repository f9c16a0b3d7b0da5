"""The command `harness export`: a task's items as another framework reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.command.data import TWIN_ITEMS
from harness.command.flags import LIMITS, DataFlag, PluginFlag, between
from harness.core import SPLITS, Paradigm, Style, Task, UserError
from harness.values import cut


def export_command(
    task: Annotated[str, typer.Option("--task", help="A task: see `harness list`.", show_default=False)],
    form: Annotated[
        str, typer.Option("--format", help="Who reads it: llamafactory, easyr1, ms-swift or trl.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder to write, new or empty.", show_default=False)],
    style: Annotated[
        str, typer.Option("--style", help="How it is asked: direct, cot, or a paradigm's own.")
    ] = "direct",
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "train",
    limit: Annotated[int | None, typer.Option("--limit", help="At most this many items; a seeded sample.")] = None,
    data: DataFlag = None,
    plugin: PluginFlag = None,
) -> None:
    """Write a task's items as another framework reads them, pictures included."""
    registry.load_plugins(tuple(plugin or ()))
    from harness.foreign.export import export
    from harness.foreign.formats import format_of

    noun, written, found = registry.typed(Task, task), format_of(form), style_of(style)
    if limit is not None:
        between("--limit", limit, 1, LIMITS)
    if split not in SPLITS:
        raise UserError(f"--split {cut(split, 40)} is unknown: use one of {', '.join(SPLITS)}")
    if data is not None and not data.is_dir():
        raise UserError(f"--data {cut(str(data))} is no folder: give one with a subfolder for each task")
    examples = noun.load(split, _count(noun, limit, data), data)
    count = export([(noun, example) for example in examples], found, written, out, split)
    print(
        f"{count:,} items of {noun.name} {split}, style {found.name}, for {written.name}: {out / written.file(split)}"
    )


def style_of(name: str) -> Style:
    """The style of this name: direct, cot, or one of a registered paradigm's. Raises UserError where there is none."""
    from harness.asking.styles import STYLES

    paradigms = [registry.typed(Paradigm, one) for one in registry.names("paradigm")]
    known = {style.name: style for style in (*(one.style for one in paradigms), *STYLES)}
    if name not in known:
        raise UserError(f"--style {cut(name, 40)} is unknown: use one of {', '.join(sorted(known))}")
    return known[name]


def _count(task: Task, limit: int | None, data: Path | None) -> int:
    """How many items: all official ones, or as many of a twin as a run reads; no more than asked for."""
    whole = LIMITS if data is not None else task.twin_items or TWIN_ITEMS
    return whole if limit is None else min(limit, whole)
