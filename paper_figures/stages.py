"""Accuracy of each task over the stages, RFT beside SFT: lines are means over seeds, bands their 95% intervals."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import Any

from harness.core import UserError
from harness.results.published import PublishedRun
from harness.results.stats import Estimate, cell_estimates
from paper_figures.page import FAINT, command, headline, label, page, palette, save
from paper_figures.selection import arms, place, scored, select

ARMS = ("sft", "rft")
CROSSED = ("sft", "sft-cot", "rft", "rft-nocot")
MARKERS = ("s", "o", "^", "D", "v", "P")


def draw(
    results: Path,
    out: Path,
    runs: Sequence[str] = (),
    names: Sequence[str] = (),
    style: str | None = None,
    scale: str | None = None,
    width: str = "column",
) -> list[Path]:
    """One panel per task, one line per paradigm of ``names``, each in its own style unless ``style`` names one.

    Bands are 95% intervals over items crossed with seeds. Without names these are ``sft`` and ``rft``, each in its
    other style too, as a thin line; or, where both are published, ``sft-cot`` and ``rft-nocot`` beside them: algorithm
    and style crossed. With ``scale`` the runs of that scale are drawn, and the file's name ends in it.

    Raises:
        UserError: where a paradigm has no published run, or trains in other stages than one task after another.
    """
    found = select(results, runs, scale)
    names = names or _arms(found)
    chosen = arms(found, names)
    for name, same in chosen.items():
        if not same[0].matrix(style).ordered:
            raise UserError(f"{name} does not train one task after another: draw paradigms that do, as sft and rft")
    some = next(iter(chosen.values()))
    lines = _lines(results, chosen, style, both=names is ARMS)
    tasks, across = some[0].tasks, 2 if width == "column" else 4
    rows = ceil((len(tasks) + 1) / across)
    with page(0.55 + 0.95 * rows, width) as figure:
        grid = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False)
        panels = [axes for line in grid for axes in line]
        for task, axes in enumerate(panels[: len(tasks)]):
            _panel(axes, task, tasks[task], lines)
        for axes in panels[len(tasks) :]:
            axes.set_axis_off()
        _ticks(grid, len(tasks), across)
        handles, labels = panels[0].get_legend_handles_labels()
        panels[-1].legend(handles, labels, loc="center", frameon=False, fontsize=6)
        figure.supylabel("accuracy (%)", fontsize=7)
        figure.supxlabel("stage (0: base); dotted: the task's own stage", fontsize=7)
        crossed = names is CROSSED
        title = "algorithm and style" if crossed else label(" and ".join(names), 30)
        headline(figure, f"{title}: {place(some)}", "mean over seeds, band: 95% interval")
        numbers = _numbers(tasks, lines)
        stem = ["crossed"] if crossed else names
        return save(figure, out, "stages", *stem, style, scale, numbers=numbers, width=width)


def _arms(runs: Sequence[PublishedRun]) -> Sequence[str]:
    """The paradigms to draw where none are named."""
    return CROSSED if set(CROSSED) <= {run.paradigm for run in runs} else ARMS


@dataclass(frozen=True, kw_only=True)
class Line:
    """A paradigm in a style: its cells [stage incl. base, task] with their intervals, and how it is drawn."""

    paradigm: str
    style: str
    seeds: int
    cells: tuple[tuple[Estimate | None, ...], ...]
    colour: Any
    marker: str
    thin: bool


def _lines(results: Path, chosen: dict[str, list[PublishedRun]], style: str | None, *, both: bool) -> list[Line]:
    """The lines of all panels: each paradigm's own style or the one named, and with ``both`` its other styles, thin."""
    colours = palette(tuple(chosen))
    found = []
    for marker, (name, same) in zip(cycle(MARKERS), chosen.items(), strict=False):
        own = style or same[0].style
        others = [one for one in same[0].styles if one != own] if both and style is None else []
        found += [
            Line(
                paradigm=name,
                style=one,
                seeds=len(same),
                cells=cell_estimates(scored(results, same, one)),
                colour=colours[name],
                marker=marker,
                thin=one != own,
            )
            for one in (own, *others)
        ]
    return found


def _panel(axes: Any, task: int, name: str, lines: Sequence[Line]) -> None:
    """One task's lines; a stage that was not observed leaves a gap."""
    for line in lines:
        cells = [row[task] for row in line.cells]
        low, middle, high = ([_percent(one and getattr(one, end)) for one in cells] for end in ("low", "value", "high"))
        count = "1 seed" if line.seeds == 1 else f"{line.seeds} seeds"
        words = f"{label(line.paradigm)}, {line.style} style" + ("" if line.thin else f"\n({count})")
        look: dict[str, Any] = {"color": line.colour, "label": words}
        if line.thin:
            axes.plot(range(len(cells)), middle, linewidth=0.7, linestyle="--", **look)
        else:
            axes.plot(range(len(cells)), middle, marker=line.marker, markersize=2.4, **look)
            axes.fill_between(range(len(cells)), low, high, color=line.colour, alpha=0.2, linewidth=0)
    axes.axvline(task + 1, color=FAINT, linestyle=":", linewidth=0.8, zorder=0)
    axes.set_title(f"{task + 1} {label(name)}", pad=2)


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value


def _numbers(tasks: Sequence[str], lines: Sequence[Line]) -> list[dict[str, str | int | float | None]]:
    """A row for each line, task and stage; empty where it was not observed."""
    return [
        {
            "paradigm": line.paradigm,
            "style": line.style,
            "seeds": line.seeds,
            "task": name,
            "stage": stage,
            "score": one and one.value,
            "low": one and one.low,
            "high": one and one.high,
        }
        for line in lines
        for task, name in enumerate(tasks)
        for stage, row in enumerate(line.cells)
        for one in [row[task]]
    ]


def _ticks(grid: Any, tasks: int, across: int) -> None:
    """Whole stages below every column's last panel, and fifties beside each row."""
    for n, axes in enumerate(axes for line in grid for axes in line):
        axes.set_ylim(-3, 103)
        axes.set_yticks([0, 50, 100])
        axes.set_xticks(range(tasks + 1))
        axes.grid(axis="y", linewidth=0.3, color="#dddddd")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.tick_params(labelbottom=n + across >= tasks)


if __name__ == "__main__":
    sys.exit(command(draw))
