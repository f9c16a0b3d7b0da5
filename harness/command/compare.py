"""The command `harness compare`: two arms side by side, each metric with one of three words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Annotated

import typer

from harness.command.flags import RESULTS, RUNS, OutFlag, ResultsFlag
from harness.core import Run, UserError
from harness.values import cut

if TYPE_CHECKING:
    from rich.console import Console

    from harness.results.compare import Comparison, Items, Row
    from harness.results.stats import Estimate

SideName = Annotated[
    str,
    typer.Argument(help="A run, its folder, several with commas, a paradigm's seeds (twin/sft), or a table of marks."),
]
MOST = 50.0
WIDEST = 6  # metrics that fit side by side


def compare_command(
    one: SideName,
    other: SideName,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="A metric of `harness metrics`, or all; repeatable.")
    ] = None,
    margin: Annotated[float, typer.Option("--margin", help="What is too small to matter, in points.")] = 2.0,
    style: Annotated[str, typer.Option("--style", help="Both sides in this style; each in its own without it.")] = "",
    intersect: Annotated[bool, typer.Option("--intersect", help="Take the items that both sides have.")] = False,
    out: OutFlag = RUNS,
    results: ResultsFlag = RESULTS,
) -> None:
    """Say of each metric whether two arms differ, are equivalent within a margin, or cannot be told apart."""
    from harness.command import printing
    from harness.results.compare import compare
    from harness.results.references import NEEDING, with_references
    from harness.results.sides import kin_of, notes, runs_of, side

    if not 0 < margin <= MOST:
        raise UserError(f"--margin {margin:g} is out of range: use points above 0, at most {MOST:g}")
    arms = side(one, style, out, results), side(other, style, out, results)
    runs = runs_of(one, out, results), runs_of(other, out, results)
    said = notes(*runs, arms, intersect=intersect)
    before = [{column.name: len(column.items) for column in arm.columns} for arm in arms]
    names = metrics_named(metric or ())
    if set(names) & set(NEEDING):
        arms = with_references(arms[0], runs[0], results), with_references(arms[1], runs[1], results)
    several = [kin_of(mine, arm.style, results) for mine, arm in zip(runs, arms, strict=True)]
    kin = [arm for arm in several if arm is not None]
    found = compare(*arms, names, margin=margin / 100, intersect=intersect, kin=kin)
    said += _left_out(found, before)
    show(printing.console(), found, said)


def foreseen(run: Run) -> str:
    """What a run could find beside another arm, in one line; empty where no published runs tell."""
    from harness.command import counts
    from harness.results.power import forecast

    items = counts.asked(run)
    count = round(harmonic_mean([items[task] for task in run.stream.tasks]))
    return forecast(run.paradigm.name, run.stream, run.scale.name, count, RESULTS)


def metrics_named(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics that are asked for; the headline where none is named."""
    from harness.results.compare import HEADLINE
    from harness.results.metrics import ALL

    if list(names) == ["all"]:
        return tuple(ALL)
    if unknown := [name for name in names if name not in ALL]:
        raise UserError(f"--metric {cut(unknown[0], 40)} is unknown: use one of {', '.join(ALL)}, or all")
    return tuple(dict.fromkeys(names)) or HEADLINE


def _left_out(found: Comparison, before: Sequence[dict[str, int]]) -> list[str]:
    """A line for each column and item that only one side has."""
    kept = {column.name: len(column.items) for column in found.one.columns}
    lines = []
    if gone := [name for name in {**before[0], **before[1]} if name not in kept]:
        lines.append(f"only one side has {', '.join(gone)}: left out")
    for name, count in kept.items():
        most = max(before[0][name], before[1][name])
        if count < most:
            lines.append(f"{name}: the {count} items that both sides have, of {most}")
    return lines


def show(screen: Console, found: Comparison, said: Sequence[str]) -> None:
    """The tables of a comparison, and its words."""
    from harness.command.printing import told

    for name, arm in (("A", found.one), ("B", found.other)):
        seeds = "1 seed" if len(arm.seeds) == 1 else f"{len(arm.seeds)} seeds"
        screen.print(f"{name}: {told(arm.name)} ({seeds}, {told(arm.style)} style)", soft_wrap=True)
    for line in said:
        screen.print(f"note: {told(line, 1000)}", soft_wrap=True)
    _metrics(screen, found)
    _by_column(screen, found)
    _items(screen, found)
    for name in found.undefined:
        screen.print(f"{name} is undefined: a cell, an order of tasks, a joint run or options are missing")
    said_of = {word: [row.metric for row in found.rows if row.word == word] for word in WORDS}
    words = "; ".join(f"{word}: {', '.join(names)}" for word, names in said_of.items() if names)
    screen.print(f"[bold]at a margin of {100 * found.margin:g} points[/bold]  {words or 'nothing is defined'}",
                 soft_wrap=True)  # fmt: skip


WORDS = ("differs", "equivalent", "cannot tell")


def _metrics(screen: Console, found: Comparison) -> None:
    from harness.command.printing import grid, show

    learned, smallest = f"over the {len(found.learned)}\nlearned tasks", "smallest that\ncould be found"
    table = grid(["metric", "A", "B", f"A - B [{_level(found.rows)}]", "p", "p of\nequivalence", smallest,
                  "two seeds\ndiffer by", learned, "verdict"])  # fmt: skip
    for row in found.rows:
        table.add_row(
            row.metric, f"{100 * row.one:.2f}", f"{100 * row.other:.2f}", interval(row.difference), _p(row.p),
            _p(row.p_equivalent), f"{100 * row.difference.smallest():.2f}",
            "-" if row.floor is None else f"{100 * row.floor:.2f}", interval(row.learned), row.word,
        )  # fmt: skip
    show(
        screen,
        "Metrics: percent and points; p by Holm over these; smallest: true difference found with 80% power",
        table,
    )


def _level(rows: Sequence[Row]) -> str:
    return f"{100 * rows[0].difference.level:g}%" if rows else "95%"


def _by_column(screen: Console, found: Comparison) -> None:
    from harness.command.printing import grid, show

    if len(found.rows) > WIDEST:
        screen.print(f"task by task: ask for at most {WIDEST} metrics")
        return
    table = grid(["task or suite", *(row.metric.replace("_", "\n") for row in found.rows)])
    for column in found.one.columns:
        cells = [interval(row.by_column.get(column.name)) for row in found.rows]
        table.add_row(column.name, *cells)
    show(screen, "A - B by task and suite, points, each with its own interval (not corrected for their number)", table)


def _items(screen: Console, found: Comparison) -> None:
    from harness.command.printing import grid, show

    table = grid(["task or suite", "items", "right in\nA only", "right in\nB only", "McNemar p", "lost in\nA only",
                  "lost in\nB only", "McNemar p"])  # fmt: skip
    for one in found.items:
        counts = [_count(value) for value in (one.right_one, one.right_other, one.lost_one, one.lost_other)]
        table.add_row(one.column, str(one.n), *counts[:2], _p(one.p_right), *counts[2:], _p(one.p_lost))
    several = "" if _single(found.items) else "; means over the pairs of seeds, whose p McNemar cannot give"
    show(screen, f"Items at the end, and items lost since their own stage (suites: since the base){several}", table)


def _single(items: Sequence[Items]) -> bool:
    return any(one.p_right is not None for one in items)


def interval(estimate: Estimate | None, *, signed: bool = True) -> str:
    """A number with its interval: a difference in points with its sign, or a share in percent.

    >>> from harness.results.stats import Estimate
    >>> interval(Estimate(value=0.02, items=0.0001, seeds=0.0, df=1.0, noise_of="own"))
    '+2.00 [+0.04, +3.96]'
    """
    if estimate is None:
        return "-"
    sign = "+" if signed else ""
    return "{0:{3}.2f} [{1:{3}.2f}, {2:{3}.2f}]".format(
        *(100 * number for number in (estimate.value, estimate.low, estimate.high)), sign
    )


def _p(value: float | None) -> str:
    return "-" if value is None else "<.001" if value < 0.001 else f"{value:.3f}"


def _count(value: float) -> str:
    return "-" if value != value else f"{value:g}" if value == int(value) else f"{value:.1f}"
