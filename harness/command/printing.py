"""What the command prints: plans, lists, accuracy matrices, metrics and the leaderboard, as tables in percent."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import registry
from harness.core import UserError
from harness.values import cut

if TYPE_CHECKING:
    from harness.command.check import Finding
    from harness.command.grid_plan import GridPlan
    from harness.command.plan import Plan
    from harness.command.price import Price
    from harness.core import Detail
    from harness.results.leaderboard import Entry
    from harness.results.matrix import AccuracyMatrix
    from harness.results.published import PublishedRun
    from harness.store.housekeeping import RunInfo

WIDE = 160
ABSENT = "-"


def console() -> Console:
    """Standard output; wide where it is no terminal, so that no line of a log is folded."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def told(text: object, length: int = 400) -> str:
    r"""A text of a plugin's or a file's as it may be shown: one line, no markup, nothing that a terminal acts on.

    >>> told("[red]a\x1b[2Jb")
    '\\[red]a?[2Jb'
    """
    return escape(cut(str(text), length))


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal; a dash where it was not observed.

    >>> percent(0.5), percent(None)
    ('50.0', '-')
    """
    return ABSENT if value is None else f"{100 * value:.1f}"


def points(value: float | None) -> str:
    """A difference of fractions in points, with its sign.

    >>> points(-0.023), points(0.0), points(None)
    ('-2.3', '+0.0', '-')
    """
    return ABSENT if value is None else f"{100 * value:+.1f}"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def grid(columns: Sequence[str], left: int = 1) -> Table:
    """An empty table: the first ``left`` columns are text, the others numbers; names in the first are never folded."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for n, column in enumerate(columns):
        table.add_column(
            told(column) if "\n" not in column else column,
            justify="left" if n < left else "right",
            overflow="fold",
            no_wrap=n == 0,
        )
    return table


def show(screen: Console, title: str, table: Table) -> None:
    """A table under its title; the title is not folded to the table's width."""
    screen.print(f"[bold]{told(title)}[/bold]", soft_wrap=True)
    screen.print(table)


def nouns(screen: Console) -> None:
    """The registered tasks, streams, paradigms and scales."""
    from harness.core import Paradigm, Scale, Stream, Suite, Task

    table = grid(["name", "style", "learner", "KL", "reference", "selector", "source"], 7)
    for name in registry.names("paradigm"):
        p = registry.typed(Paradigm, name)
        chosen = p.select.name if p.select else ABSENT
        table.add_row(name, p.style.name, p.learner.name, f"{p.kl:g}", p.reference, chosen, told(p.cite or ABSENT))
    show(screen, "Paradigms", table)
    table = grid(["name", "tasks", "watched suites"], 3)
    for name in registry.names("stream"):
        s = registry.typed(Stream, name)
        table.add_row(name, " > ".join(s.tasks), ", ".join(s.general))
    show(screen, "Streams (--seq)", table)
    table = grid(["name", "version", "data", "source"], 4)
    for name in registry.names("task"):
        t = registry.typed(Task, name)
        table.add_row(name, str(t.version), "twin, official" if t.official else "twin", told(t.cite))
    show(screen, "Tasks and suites", table)
    if suites := registry.names("suite"):
        table = grid(["name", "version", "stands for", "source"], 4)
        for name in suites:
            u = registry.typed(Suite, name)
            table.add_row(name, str(u.version), u.stands_for or ABSENT, told(u.cite))
        show(screen, "Suites of outside libraries (--suites library)", table)
    table = grid(["name", "model", "precision", "training items a stage", "test items a cell"], 5)
    for name in registry.names("scale"):
        size = registry.typed(Scale, name)
        items = [str(count or "all") for count in (size.train_items, size.test_items)]
        table.add_row(name, told(size.model), size.precision, *items)
    show(screen, "Scales", table)


def findings(screen: Console, good: Sequence[Finding]) -> None:
    """What `harness check` found to be well."""
    for finding in good:
        screen.print(f"[green]ok[/green]  {finding.what:9} {told(finding.line, 2000)}", soft_wrap=True)


def plan_line(planned: Plan) -> str:
    """A plan in one line, for the start of a run."""
    time = f"about {duration(planned.wall_seconds)}" if planned.timed else "time not known"
    disk = f"{planned.disk} of disk" if planned.price else "disk not known"
    return (
        f"[bold]{told(planned.title)}[/bold]: {len(planned.stages)} stages, "
        f"{planned.optimiser_steps:,} optimiser steps, {planned.rollouts:,} rollouts, "
        f"{planned.cells:,} evaluations of {planned.cell_items:,} items, {time} and {disk}"
    )


def plan(screen: Console, planned: Plan) -> None:
    """A plan in full: what each stage does, then the totals."""
    table = grid(
        ["stage", "tasks", "items", "optimiser steps", "rollouts", "sampled tokens", "about", "in the store"],
        2,
    )
    for stage in planned.stages:
        table.add_row(
            told(stage.name), told(", ".join(stage.tasks)), f"{stage.items:,}", f"{stage.optimiser_steps:,}",
            f"{stage.rollouts:,}", f"<= {stage.sampled_tokens:,}", duration(stage.seconds) if planned.timed else ABSENT,
            "yes" if stage.stored else "no",
        )  # fmt: skip
    show(screen, planned.title, table)
    screen.print(plan_line(planned), soft_wrap=True)
    cells = f"{planned.cells - planned.cells_stored:,} of {planned.cells:,} cells"
    left = f"about {duration(planned.evaluation_left)}" if planned.timed else "time not known"
    screen.print(f"evaluation: {left} for {cells}", soft_wrap=True)
    screen.print(
        f"tokens: at most {planned.sampled_tokens:,} in {planned.rollouts:,} rollouts; {planned.asked:,} replies are"
        " evaluated",
        soft_wrap=True,
    )
    cards = planned.hardware
    unit = "processor-hours" if cards.on_cpu else "GPU-hours"
    hours = f", {planned.device_hours:,.1f} {unit}" if planned.timed else ""
    screen.print(f"hardware: {told(cards.name)}{hours}", soft_wrap=True)
    if planned.price is not None:
        memory(screen, planned.price)
    for note in planned.notes:
        screen.print(told(note), soft_wrap=True)


def grid_plan(screen: Console, planned: GridPlan) -> None:
    """A plan of a grid: its runs one by one, then totals in which shared stages count once."""
    from harness.command.check import in_words

    table = grid(["run", "stages", "optimiser steps", "rollouts", "alone, about", "memory at its peak"], 1)
    for one in planned.plans:
        price = one.price
        peak = ABSENT if price is None else f"{price.memory.peak / 1e9:,.1f} GB, {price.verdict}"
        table.add_row(
            told(one.title), str(len(one.stages)), f"{one.optimiser_steps:,}", f"{one.rollouts:,}",
            duration(one.wall_seconds) if one.timed else ABSENT, peak,
        )  # fmt: skip
    show(screen, f"{len(planned.plans):,} runs on {planned.hardware.name}", table)
    unit = "processor-hours" if planned.hardware.on_cpu else "GPU-hours"
    time = f"{planned.device_hours:,.1f} {unit}, about {duration(planned.seconds)} one run after another, "
    time = time if all(one.timed for one in planned.plans) else "time not known, "
    screen.print(
        f"together: {planned.stages:,} stages, {planned.distinct:,} of them trained and the others shared;"
        f" {planned.optimiser_steps:,} optimiser steps, {planned.rollouts:,} rollouts of at most"
        f" {planned.sampled_tokens:,} tokens, {planned.asked:,} replies evaluated; {time}{in_words(planned.disk_bytes)}"
        " of disk",
        soft_wrap=True,
    )
    for note in dict.fromkeys(note for one in planned.plans for note in one.notes):
        screen.print(told(note), soft_wrap=True)


def memory(screen: Console, price: Price) -> None:
    """What lies on a card at its peak, by part, in GB: while it trains, while replies are sampled, while it loads."""
    if not price.memory.training:
        screen.print("memory: not planned, for the learner trains by means of its own", soft_wrap=True)
        return
    phases = {
        name: parts
        for name in ("training", "sampling", "loading")
        if (parts := getattr(price.memory, name)) and (name != "loading" or price.way.devices > 1)
    }
    table = grid(["GB on a card" if not price.hardware.on_cpu else "GB", *phases])
    for part in dict.fromkeys(part for parts in phases.values() for part in parts):
        cells = [f"{parts[part] / 1e9:,.2f}" if part in parts else ABSENT for parts in phases.values()]
        table.add_row(part, *cells)
    table.add_row("[bold]sum[/bold]", *(f"[bold]{sum(parts.values()) / 1e9:,.2f}[/bold]" for parts in phases.values()))
    size = price.hardware.card.memory / 1e9
    show(screen, f"Memory at its peak, of {size:,.1f} GB on {price.hardware.name}: {price.verdict}", table)
    share = price.memory.vllm_share(price.hardware.card.memory)
    if share is not None and price.verdict != "no":
        screen.print(f"vLLM: given {price.given:.2f} of each card for rollouts; {share:.2f} would fit", soft_wrap=True)
    if not price.hardware.on_cpu:
        screen.print(f"host: about {price.host / 1e9:,.0f} GB of memory for {price.way.devices} ranks", soft_wrap=True)
    screen.print(
        "memory: 16 bytes a trained parameter (fp32 weight, gradient, AdamW's moments) spread over the cards; what"
        " activations and vLLM take is an estimate, so more than four fifths of a card is called tight",
        soft_wrap=True,
    )


def matrix(screen: Console, a: AccuracyMatrix, title: str) -> None:
    """Accuracy after every stage, in percent: rows are stages from the base on, columns tasks and then suites."""
    table = grid(["after stage", *a.tasks, *a.suites])
    for n, stage in enumerate(a.stages):
        cells = [percent(value) for value in (*a.scores[n], *a.general[n])]
        if a.ordered and n:
            cells[n - 1] = f"[bold]{cells[n - 1]}[/bold]"
        table.add_row(told(stage), *cells)
    show(screen, title, table)


def metrics(screen: Console, own: AccuracyMatrix, others: Sequence[AccuracyMatrix]) -> None:
    """The metrics in the paradigm's own style, and beside them in the others; percent and points."""
    from harness.results.metrics import ALL, compute_all

    columns = [compute_all(a) for a in (own, *others)]
    table = grid(["metric", "formula", f"{own.style} (own style)", *(f"{a.style} style" for a in others), "reads"], 2)
    for name, metric in ALL.items():
        if any(column[name] is not None for column in columns):
            written = points if metric.points else percent
            table.add_row(name, told(metric.equation), *(written(column[name]) for column in columns), metric.sign)
    show(screen, "Metrics", table)
    screen.print("`harness metrics RUN` gives all of them, with intervals and task by task", soft_wrap=True)


def result(screen: Console, run: PublishedRun) -> None:
    """A run's accuracy matrix and its metrics, own style first."""
    own, marked = run.matrix(), f", scorer {run.scorer}" if run.scorer else ""
    matrix(screen, own, f"Accuracy in percent, {own.style} style{marked} (bold: the task of the stage)")
    metrics(screen, own, [run.matrix(style) for style in run.styles[1:]])


def details(screen: Console, found: Sequence[Detail]) -> None:
    """The further numbers of a run's cells after every stage, in percent: a column for each stage."""
    rows: dict[tuple[str, str, str], dict[int, Detail]] = {}
    for one in found:
        rows.setdefault((one.task, one.style, one.name), {})[one.stage] = one
    stages = {one.stage: one.stage_name for one in found}
    table = grid(["task", "style", "number", "items", *(stages[index] for index in sorted(stages))], 3)
    for place, values in rows.items():
        counts = sorted({one.n for one in values.values()})
        items = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
        cells = [percent(values[index].value if index in values else None) for index in sorted(stages)]
        table.add_row(*map(told, place), items, *cells)
    show(screen, "Parts of cells in percent, after every stage", table)


def finished(screen: Console, run: PublishedRun, folder: Path, publishable: bool) -> None:
    """The end of a run: its numbers, where its files are, and what to type next."""
    result(screen, run)
    screen.print(f"files: {told(folder, 4000)} (cells.csv, replies/, marks/, run.json, costs.json)", soft_wrap=True)
    if publishable:
        screen.print(f"next: harness publish {run.id}; harness leaderboard; harness figures", soft_wrap=True)
    else:
        screen.print("a run with --limit or on another split is a trial: it cannot be published", soft_wrap=True)


def runs(screen: Console, stored: Sequence[RunInfo], strangers: Sequence[str]) -> None:
    """The runs of a store, and a line for each folder that is none of ours or damaged."""
    from harness.command.check import in_words

    notes(screen, strangers)
    if not stored:
        screen.print("no runs here: start one with `harness run --paradigm rft --seq default`")
        return
    table = grid(["id", "state", "checkpoints", "disk without checkpoints"], 2)
    for info in stored:
        state = "running" if info.working else "finished" if info.finished else "interrupted"
        table.add_row(told(info.id), state, str(len(info.keys)), in_words(info.bytes))
    show(screen, "Runs", table)


def notes(screen: Console, lines: Sequence[str]) -> None:
    """Lines about what was left as it is."""
    for line in lines:
        screen.print(told(line, 1000), soft_wrap=True)


def leaderboard(screen: Console, entries: Sequence[Entry]) -> None:
    """The published runs, a table for each group whose runs compare."""
    keys = ("average_accuracy", "gain", "backward_transfer", "general_delta", "malformed_share")
    if not entries:
        raise UserError("nothing is published: finish a run without --limit and `harness publish` it")
    for group in dict.fromkeys(str(entry["group"]) for entry in entries):
        mine = [entry for entry in entries if entry["group"] == group]
        title = f"stream {mine[0]['stream']}, scale {mine[0]['scale']} (group {group}; percent, points)"
        headings = [key.replace("_", "\n") for key in keys]
        table = grid(["rank", "run", "style", *headings, "other\nstyle"], 3)
        for entry in mine:
            numbers = [*(shown(entry, key) for key in keys), shown(entry, "other_average_accuracy")]
            table.add_row(str(entry["rank"] or ABSENT), told(entry["id"]), told(entry["style"]), *numbers)
        show(screen, title, table)
    screen.print("other style: average accuracy when asked in the other style; leaderboard.csv has every metric")


def shown(entry: Mapping[str, Any], key: str) -> str:
    """A leaderboard's number as it is printed."""
    from harness.results.metrics import ALL

    value = entry[key]
    return points(value) if key in ALL and ALL[key].points else percent(value)
