"""Accuracy of each task over the stages, RFT beside SFT: lines are means over seeds, bands reach from min to max."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import Any

from harness.core import UserError
from harness.results.published import PublishedRun
from paper_figures.page import FAINT, command, headline, label, page, palette, save
from paper_figures.selection import arms, mean, over_seeds, place, select

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
) -> list[Path]:
    """One panel per task, one line per paradigm of ``names``, each in its own style unless ``style`` names one.

    Without names these are ``sft`` and ``rft``, and, where both are published, ``sft-cot`` and ``rft-nocot``:
    algorithm and style crossed. With ``scale`` the runs of that scale are drawn, and the file's name
    ends in it.

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
    tasks = some[0].tasks
    rows = ceil((len(tasks) + 1) / 2)
    with page(0.55 + 0.95 * rows) as figure:
        grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
        panels = [axes for line in grid for axes in line]
        for task, axes in enumerate(panels[: len(tasks)]):
            _panel(axes, task, chosen, style)
        for axes in panels[len(tasks) :]:
            axes.set_axis_off()
        _ticks(grid, len(tasks))
        handles, labels = panels[0].get_legend_handles_labels()
        panels[-1].legend(handles, labels, loc="center", frameon=False)
        figure.supylabel("accuracy (%)", fontsize=7)
        figure.supxlabel("stage (0: base); dotted: the task's own stage", fontsize=7)
        band = "mean over seeds, band: min to max" if max(map(len, chosen.values())) > 1 else "one seed each"
        crossed = names is CROSSED
        title = "algorithm and style" if crossed else label(" and ".join(names), 30)
        headline(figure, f"{title}: {place(some)}", band)
        return save(figure, out, "stages", *(["crossed"] if crossed else names), style, scale)


def _arms(runs: Sequence[PublishedRun]) -> Sequence[str]:
    """The paradigms to draw where none are named."""
    return CROSSED if set(CROSSED) <= {run.paradigm for run in runs} else ARMS


def _panel(axes: Any, task: int, chosen: dict[str, list[PublishedRun]], style: str | None) -> None:
    """One task's lines; a stage that was not observed leaves a gap."""
    colours = palette(tuple(chosen))
    for marker, (name, same) in zip(cycle(MARKERS), chosen.items(), strict=False):
        line, low, high = (
            [_percent(row[task]) for row in over_seeds(same, lambda a: a.scores, fold, style)]
            for fold in (mean, min, max)
        )
        steps = range(len(line))
        count = "1 seed" if len(same) == 1 else f"{len(same)} seeds"
        words = f"{label(name)}, {style or same[0].style} style\n({count})"
        axes.plot(steps, line, marker=marker, markersize=2.4, color=colours[name], label=words)
        if len(same) > 1:
            axes.fill_between(steps, low, high, color=colours[name], alpha=0.2, linewidth=0)
    axes.axvline(task + 1, color=FAINT, linestyle=":", linewidth=0.8, zorder=0)
    axes.set_title(f"{task + 1} {label(next(iter(chosen.values()))[0].tasks[task])}", pad=2)


def _percent(value: Fraction | None) -> float:
    return float("nan") if value is None else 100 * float(value)


def _ticks(grid: Any, tasks: int) -> None:
    """Whole stages below every column's last panel, and fifties beside each row."""
    for n, axes in enumerate(axes for line in grid for axes in line):
        axes.set_ylim(-3, 103)
        axes.set_yticks([0, 50, 100])
        axes.set_xticks(range(tasks + 1))
        axes.grid(axis="y", linewidth=0.3, color="#dddddd")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.tick_params(labelbottom=n + 2 >= tasks)


if __name__ == "__main__":
    sys.exit(command(draw))
