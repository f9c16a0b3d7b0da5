"""The accuracy matrix as an annotated heat map: a row per stage, base first; tasks, and apart from them the suites."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from harness.results.matrix import AccuracyMatrix
from harness.results.published import PublishedRun
from paper_figures.page import FAINT, INK, command, headline, ink_on, label, page, save
from paper_figures.selection import Read, Table, by_paradigm, mean, over_seeds, percent, place, seeds, select

GAP = 0.3  # of a cell, between base and stages and between tasks and suites


def draw(
    results: Path,
    out: Path,
    runs: Sequence[str] = (),
    style: str | None = None,
    scale: str | None = None,
    width: str = "column",
) -> list[Path]:
    """A heat map of each run named, or without names of each paradigm's mean over seeds; the files written.

    ``style`` is the one to ask in; without it each paradigm's own. With ``scale`` the runs of that scale are drawn, and
    the files' names end in it. Percent; a cell that was not observed is a dash.
    """
    return heat_maps(ACCURACY, results, out, runs, style, scale, width)


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """What a heat map shows: the file's first word, its second line, the numbers [S, T + G], their colour and text."""

    name: str
    detail: str
    read: Read
    shade: Callable[[Fraction], Any]
    text: Callable[[Fraction], str]


def heat_maps(
    kind: HeatMap,
    results: Path,
    out: Path,
    runs: Sequence[str] = (),
    style: str | None = None,
    scale: str | None = None,
    width: str = "column",
) -> list[Path]:
    """A heat map of the kind for each run named, or for each paradigm's mean over seeds."""
    chosen = select(results, runs, scale)
    sets = {run.id: [run] for run in chosen} if runs else by_paradigm(chosen)
    paths = []
    for name, same in sets.items():
        paths += _draw(kind, same, style, out, name, scale, width)
    return paths


def _draw(
    kind: HeatMap,
    runs: Sequence[PublishedRun],
    style: str | None,
    out: Path,
    name: str,
    scale: str | None,
    width: str,
) -> list[Path]:
    first = runs[0].matrix(style)
    values = over_seeds(runs, kind.read, mean, style)
    with page(0.75 + 0.235 * len(first.stages) + 0.35, width) as figure:
        axes = figure.add_subplot()
        _cells(axes, first, values, kind)
        _labels(axes, first, runs[0].paradigm)
        headline(
            figure, f"{label(runs[0].paradigm)}: {place(runs)}", f"{kind.detail}, {first.style} style, {seeds(runs)}"
        )
        numbers = _numbers(first, values)
        return save(figure, out, kind.name, name, style, scale, numbers=numbers, width=width)


def _numbers(a: AccuracyMatrix, values: Table) -> list[dict[str, str | int | float | None]]:
    """A row for each cell."""
    return [
        {"stage": stage, "stage_name": name, "column": column, "value": None if value is None else float(value)}
        for stage, (name, row) in enumerate(zip(a.stages, values, strict=True))
        for column, value in zip((*a.tasks, *a.suites), row, strict=True)
    ]


def tasks_and_suites(a: AccuracyMatrix) -> list[list[float | None]]:
    """[S, T + G]: the tasks' scores, then the suites'."""
    return [[*tasks, *suites] for tasks, suites in zip(a.scores, a.general, strict=True)]


def _x(column: int, a: AccuracyMatrix) -> float:
    return column + (GAP if column >= len(a.tasks) else 0)


def _y(stage: int) -> float:
    return stage + (GAP if stage > 0 else 0)


def _blues(value: Fraction) -> Any:
    import matplotlib

    return matplotlib.colormaps["Blues"](0.05 + 0.85 * float(value))


ACCURACY = HeatMap(
    name="matrix", detail="accuracy (%) after each stage", read=tasks_and_suites, shade=_blues, text=percent
)


def _cells(axes: Any, a: AccuracyMatrix, values: Table, kind: HeatMap) -> None:
    """Squares with their numbers; the tasks that a stage trained are framed."""
    from matplotlib.patches import Rectangle

    frames = []
    for stage, row in enumerate(values):
        for column, value in enumerate(row):
            corner = (_x(column, a), _y(stage))
            colour = "white" if value is None else kind.shade(value)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor="white", linewidth=0.6))
            text = "\N{EN DASH}" if value is None else kind.text(value)
            axes.text(
                corner[0] + 0.5, corner[1] + 0.5, text, ha="center", va="center", fontsize=6.5, color=ink_on(colour)
            )
            if _staged(a) and stage > 0 and column < len(a.tasks) and a.tasks[column] in a.trained[stage - 1]:
                frames.append(Rectangle(corner, 1, 1, facecolor="none", edgecolor=INK, linewidth=0.9, clip_on=False))
    for frame in frames:
        axes.add_patch(frame)


def _staged(a: AccuracyMatrix) -> bool:
    """Whether the stages have tasks of their own; a single stage on whatever data is labelled by its paradigm."""
    return a.ordered or len(a.stages) > 2


def _labels(axes: Any, a: AccuracyMatrix, paradigm: str) -> None:
    names = [label(name) for name in (*a.tasks, *a.suites)]
    axes.set_xlim(0, _x(len(names) - 1, a) + 1)
    axes.set_ylim(_y(len(a.stages) - 1) + 1, 0)
    axes.set_xticks([_x(n, a) + 0.5 for n in range(len(names))], names, rotation=45, ha="right", rotation_mode="anchor")
    stages = a.stages if _staged(a) else (a.stages[0], paradigm)
    rows = [stage if n == 0 else f"{n} {label(stage)}" for n, stage in enumerate(stages)]
    axes.set_yticks([_y(n) + 0.5 for n in range(len(rows))], rows)
    axes.tick_params(length=0)
    for tick in axes.get_xticklabels()[len(a.tasks) :]:
        tick.set_color(FAINT)
    axes.set_frame_on(False)
    axes.set_xlabel("framed: trained in that stage; grey: general suites" if _staged(a) else "grey: general suites")
    axes.xaxis.label.set_size(6)
    axes.xaxis.label.set_color(FAINT)


if __name__ == "__main__":
    sys.exit(command(draw))
