"""The command `harness metrics`: the definitions by name, and what they are for a run or an arm."""

from __future__ import annotations

from dataclasses import fields
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.command.flags import RESULTS, RUNS, OutFlag, ResultsFlag

if TYPE_CHECKING:
    from rich.console import Console

    from harness.results.arms import Arm, Column
    from harness.results.stats import Resampled

DOSE = ("dose", "sum of the learning rates over a stage's updates", "-", "what was spent", "defined here; costs.json")


def metrics_command(
    run: Annotated[
        str | None, typer.Argument(help="A run, its folder, several with commas, or a paradigm's seeds (twin/sft).")
    ] = None,
    style: Annotated[str, typer.Option("--style", help="In this style; in the run's own without it.")] = "",
    out: OutFlag = RUNS,
    results: ResultsFlag = RESULTS,
) -> None:
    """Name every metric with its equation, sign, denominator and source; with RUN, what each is, with its interval."""
    from harness.command import printing

    screen = printing.console()
    if run is None:
        definitions(screen)
        return
    from harness.results.dose import dose, mean_dose
    from harness.results.references import with_references
    from harness.results.sides import folders_of, notes, runs_of, side
    from harness.store.record import read_costs

    arm, runs = side(run, style, out, results), runs_of(run, out, results)
    values(screen, with_references(arm, runs, results), notes(runs, runs, (arm, arm)))
    if folders := folders_of(run, out, results):
        took = mean_dose(dose(read_costs(folder).stages.values()) for folder in folders)
        screen.print(
            f"dose {took.dose:.4f}: {took.updates:,.0f} updates, {took.trained_tokens:,.0f} trained and"
            f" {took.sampled_tokens:,.0f} sampled tokens, {took.seconds / 60:.1f} minutes of training, a run",
            soft_wrap=True,
        )


def definitions(screen: Console) -> None:
    """What each name means."""
    from harness.command.printing import grid, show, told
    from harness.results.metrics import ALL

    table = grid(["metric", "equation", "over", "reads", "source"], 5)
    for metric in ALL.values():
        table.add_row(*map(told, (metric.name, metric.equation, metric.denominator, metric.sign, metric.source)))
    table.add_row(*map(told, DOSE))
    show(screen, "A[i,j]: score on task j after stage i, 0 the base, T the last; tasks of any size count alike", table)
    screen.print("undefined where a cell is missing, or an order of tasks; docs/metrics.md says more", soft_wrap=True)


def values(screen: Console, arm: Arm, said: list[str]) -> None:
    """The metrics of an arm: with intervals over all tasks and over those that were learned, and for each task."""
    from harness.command.compare import interval
    from harness.command.printing import grid, points, show, told
    from harness.results.metrics import ALL, by_column, learned
    from harness.results.peaks import null_of_peaks
    from harness.results.resampling import over_seeds
    from harness.results.stats import resample

    for line in said:
        screen.print(f"note: {told(line, 1000)}", soft_wrap=True)
    resampled, null = resample(arm), null_of_peaks(arm)
    tasks = learned(over_seeds(resampled.whole[0]))
    table = grid(["metric", "all tasks [95%]", f"the {len(tasks)} learned tasks", "by noise alone", "reads"])
    parts = grid(["metric", *(column.name.replace("-", "-\n") for column in arm.columns)])
    for name, metric in ALL.items():
        noise = null.get(name)
        whole = interval(resampled.estimate(name), signed=metric.points)
        some = None if metric.of_suites or not tasks else resampled.estimate(name, tasks)
        table.add_row(
            name, whole, interval(some, signed=metric.points), "-" if noise is None else points(noise.mean), metric.sign
        )
        one = by_column(name, resampled.whole[0])
        parts.add_row(name, *(_cell(one.get(column.name)) for column in arm.columns))
    seeds = "1 seed" if len(arm.seeds) == 1 else f"{len(arm.seeds)} seeds"
    show(screen, f"{arm.name}, {seeds}, {arm.style} style: percent and points", table)
    screen.print("by noise alone: what a metric with a peak would be, had every task kept its level", soft_wrap=True)
    show(screen, "Task by task, suite by suite", parts)
    _items(screen, arm, resampled)


def _items(screen: Console, arm: Arm, resampled: Resampled) -> None:
    """Each task and suite at the end, and the items that flipped since its own stage (or the base), by their kind."""
    from harness.command.printing import grid, show

    table = grid(["task or suite", "items", "groups", "at the end [95%]", "right to\nunreadable", "right to\nwrong",
                  "unreadable\nto right", "wrong to\nright"])  # fmt: skip
    for column in arm.columns:
        counts = [str(len(column.items)), str(len(set(column.groups)))]
        table.add_row(column.name, *counts, _end(resampled, arm, column), *_kinds(arm, column))
    title = "Scores at the end, one run's by Wilson or BCa over groups; items that flipped since the own stage, a run"
    show(screen, title, table)


def _kinds(arm: Arm, column: Column) -> list[str]:
    """The counts of the kinds of flips, mean over seeds; dashes where a cell or the unreadable replies are unknown."""
    from harness.results.flips import Kinds, kinds

    own, unread = arm.own_stage(column.name), column.malformed
    if unread is None or any(part[:, stage].sum() != part[:, stage].sum() for part in (column.scores, unread)
                             for stage in (own, -1)):  # fmt: skip
        return ["-"] * 4
    found = [
        kinds(scores[own], scores[-1], gone[own], gone[-1]) for scores, gone in zip(column.scores, unread, strict=True)
    ]
    return [f"{fmean(getattr(one, field.name) for one in found):g}" for field in fields(Kinds)]


def _end(resampled: Resampled, arm: Arm, column: Column) -> str:
    """A cell of the last stage with its interval: of the items alone for one run, of items and seeds for several."""
    from harness.command.compare import interval
    from harness.results.cell_interval import cell_interval

    found = resampled.cell(-1, column.name)
    if found is None or len(arm.seeds) > 1:
        return interval(found, signed=False)
    low, high = cell_interval(column.scores[0, -1].tolist(), column.groups)
    return f"{100 * found.value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def _cell(value: Any) -> str:
    """The mean over seeds of a metric of one task, in percent or points."""
    import numpy

    mean = float("nan") if value is None else float(numpy.mean(value))
    return f"{100 * mean:.1f}" if numpy.isfinite(mean) else "-"
