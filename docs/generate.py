"""Write the pages of docs/reference from the code: ``python docs/generate.py``. A test compares them."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
sys.path.insert(0, str(ROOT))


def cli() -> str:
    """Every command with its flags, as the command itself declares them."""
    import typer

    from harness.command.cli import app

    lines = ["# Every command and flag", "", "Written from the code by `python docs/generate.py`.", ""]
    for words, command in commands("harness", typer.main.get_command(app)):
        lines += page(words, command)
    return "\n".join(lines).rstrip() + "\n"


def commands(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command's words and the command, for those that do something."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name in sorted(inner):
        yield from commands(f"{words} {name}", inner[name])


def page(words: str, command: Any) -> Iterator[str]:
    """The section of one command."""
    arguments = " ".join(one.name.upper() for one in command.params if one.param_type_name == "argument")
    yield f"## {words}"
    yield ""
    yield f"`{' '.join([words, *([arguments] if arguments else []), '[flags]'])}`"
    yield ""
    yield inspect.cleandoc(command.help or "")
    yield ""
    flags = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    if flags:
        yield "| flag | default | |"
        yield "|---|---|---|"
        yield from (row(flag) for flag in flags)
        yield ""


def row(flag: Any) -> str:
    """A flag in a row of a table."""
    empty = flag.default is None or flag.default is False or callable(flag.default)
    default = "" if empty else f"`{str(flag.default).removeprefix(f'{ROOT}/')}`"  # a checkout may lie anywhere
    names = ", ".join(f"`{name}`" for name in (*flag.opts, *flag.secondary_opts))
    needed = "required" if flag.required else default
    return f"| {names} | {needed} | {cell(flag.help or '')} |"


def cell(text: str) -> str:
    """A text as it may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def schema() -> str:
    """The tables and records that a run leaves, from the dataclasses that write them."""
    from harness.core import Cell, Detail, Mark, ProbeValue, Reply, Verdict
    from harness.store.record import RunRecord, StageRecord

    kinds = {
        "cells.csv": Cell, "details.csv": Detail, "probes.csv": ProbeValue, "replies/*.parquet": Reply,
        "marks/*.parquet": Mark, "verdicts-*.parquet": Verdict, "run.json": RunRecord, "run.json: stages": StageRecord,
    }  # fmt: skip
    about = "Scores are fractions; what was not observed is empty, never 0."
    lines = ["# Tables and records", "", f"Written from the code by `python docs/generate.py`. {about}", ""]
    for name, kind in kinds.items():
        lines += [f"## {name}", "", inspect.cleandoc(kind.__doc__ or ""), "", "| field | type |", "|---|---|"]
        lines += [f"| `{one.name}` | `{cell(str(one.type))}` |" for one in dataclasses.fields(kind)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


# Paradigms, a scale and cards for it.
PAPER = (
    (("sft", "rft", "rif-rft", "mtl", "rft-nokl", "rft-nocot", "sft-cot", "rft-rloo", "rft-remax"), "qwen2.5-vl-7b",
     ("8xh100-80gb", "8xa100-80gb")),
    (("sft", "rft"), "qwen3-vl-8b", ("8xh100-80gb",)),
    (("sft-lora", "rft-lora"), "qwen2.5-vl-3b", ("1xrtx4090-24gb", "1xl40s-48gb", "1xh100-80gb")),
)  # fmt: skip


def planned() -> str:
    """What `harness plan` says of the paper's runs, on several cards."""
    where = "[what it stands on](../paper_setting.md#4-the-plan)"
    about = (
        "Written by `python docs/generate.py` from `harness plan`, on the stream `default` with the published numbers",
        f"of items. It is a model, and no model of these sizes was measured: {where}.",
    )
    columns = ("memory of a card", "verdict", "disk", "rollouts", "training", "evaluation", "GPU-hours")
    lines = ["# What the paper's runs take", "", *about, "", f"| paradigm | scale | cards | {' | '.join(columns)} |"]
    lines.append("|---|---|---|--:|---|--:|--:|--:|--:|--:|")
    for paradigms, scale, all_cards in PAPER:
        lines += [plan_row(paradigm, scale, cards) for cards in all_cards for paradigm in paradigms]
    return "\n".join(lines) + "\n"


def plan_row(paradigm: str, scale: str, cards: str) -> str:
    """A run's plan in a row."""
    import tempfile

    from harness import registry
    from harness.budget.hardware import named
    from harness.command import plan
    from harness.core import Paradigm, Run, Scale, Stream, UserError

    run = Run(
        paradigm=registry.typed(Paradigm, paradigm),
        stream=registry.typed(Stream, "default"),
        scale=registry.typed(Scale, scale),
    )
    with tempfile.TemporaryDirectory() as empty:
        found = plan.of(run, Path(empty), named(cards))
        if found.price is None:
            raise ValueError(f"the model of scale {scale} is not known")
        try:
            plan.refuse(found, Path(empty))
            verdict = found.price.verdict
        except UserError:
            verdict = "no"
    hours = [sum(stage.seconds for stage in found.stages) / 3600, found.evaluation_seconds / 3600]
    times = [f"{hour:.1f} h" for hour in hours] if verdict != "no" else ["", ""]
    total = f"{found.device_hours:,.0f}" if verdict != "no" else ""
    return (
        f"| `{paradigm}` | `{scale}` | {cards} | {found.price.memory.peak / 1e9:.0f} GB | {verdict} |"
        f" {found.disk_bytes / 1e9:.0f} GB | {found.rollouts:,} | {' | '.join(times)} | {total} |"
    )


PAGES = {"cli.md": cli, "schema.md": schema, "paper_plan.md": planned}


def main() -> None:
    """Write them."""
    REFERENCE.mkdir(exist_ok=True)
    for name, write in PAGES.items():
        (REFERENCE / name).write_text(write())


if __name__ == "__main__":
    main()
