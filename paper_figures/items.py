"""Items lost and won since their task was learned, and on the suites since the base: what a mean hides."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.core import UserError
from harness.results.arms import Arm, Column
from harness.results.flips import Flips, flips
from harness.results.published import PublishedRun
from paper_figures.page import FAINT, INK, command, headline, label, page, palette, save
from paper_figures.selection import by_paradigm, in_order, place, scored, select


def draw(
    results: Path,
    out: Path,
    runs: Sequence[str] = (),
    style: str | None = None,
    scale: str | None = None,
    width: str = "column",
) -> list[Path]:
    """One panel per task and suite, a row for each paradigm: percent of items lost to the left, won to the right.

    For a task from its own stage to the last one, in the paradigm's own style unless ``style`` names one; for a suite
    from the base, in both styles, since what is lost there depends on it. Pooled over seeds; an item is right from a
    score of 0.5 on. A paradigm that trains no task in a stage of its own is left out.

    Raises:
        UserError: where that leaves none.
    """
    found = in_order(by_paradigm(select(results, runs, scale)))
    chosen = {name: same for name, same in found.items() if same[0].matrix(style).ordered}
    if not chosen:
        raise UserError("no run to draw trains one task after another: publish one that does, as sft or rft")
    counts = {name: _counts(results, same, style) for name, same in chosen.items()}
    some = next(iter(chosen.values()))
    columns = list(next(iter(counts.values())))
    across = 3 if width == "column" else 6
    down = -(-len(columns) // across)
    with page(0.8 + down * (0.34 + 0.11 * len(chosen)), width) as figure:
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = [axes for line in grid for axes in line]
        for column, axes in zip(columns, panels, strict=False):
            _panel(axes, column, {name: of_arm[column] for name, of_arm in counts.items()})
        for axes in panels[len(columns) :]:
            axes.set_axis_off()
        _finish(panels[: len(columns)], list(chosen), across)
        figure.supxlabel("items lost (left) and won (right), percent; line: net", fontsize=7)
        headline(figure, f"Items that flip: {place(some)}", "tasks: since their own stage; suites: since the base")
        return save(figure, out, "items", style, scale, numbers=_numbers(chosen, counts), width=width)


def _counts(results: Path, same: Sequence[PublishedRun], style: str | None) -> dict[str, Flips]:
    """The flips of a paradigm by panel: tasks by their names, suites with each style that they were asked in."""
    arm = scored(results, same, style or "")
    found = flips_of(arm, arm.tasks)
    for asked in sorted(same[0].styles) if style is None else [style]:
        suites = flips_of(arm, scored(results, same, asked).suites)
        found |= {f"{name}, {asked}": one for name, one in suites.items()}
    return found


def flips_of(arm: Arm, columns: Sequence[Column]) -> dict[str, Flips]:
    """Flips pooled over seeds: of a task but the last one since its own stage, of a suite since the base."""
    found = {}
    for column in columns:
        own = next((n for n, trained in enumerate(arm.trained, start=1) if column.name in trained), 0)
        if own < len(arm.trained):
            first, last = (column.scores[:, stage].ravel().tolist() for stage in (own, -1))
            found[column.name] = flips(first, last)
    return found


def _panel(axes: Any, column: str, counts: dict[str, Flips]) -> None:
    colours = palette(tuple(counts))
    for row, (name, one) in enumerate(counts.items()):
        lost, won = 100 * one.lost / one.n, 100 * one.won / one.n
        axes.barh(row, -lost, height=0.62, color=colours[name], zorder=2)
        axes.barh(row, won, height=0.62, color=colours[name], alpha=0.45, zorder=2)
        axes.plot([won - lost] * 2, [row - 0.4, row + 0.4], color=INK, linewidth=1.2, zorder=3)
    axes.set_title(label(column, 16), pad=2, fontsize=6.5)


def _finish(panels: Sequence[Any], names: Sequence[str], across: int) -> None:
    low, high = panels[0].get_xlim()
    panels[0].set_xlim(min(low, -2.0), max(high, 2.0))
    panels[0].set_yticks(range(len(names)), [label(name, 16) for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for n, axes in enumerate(panels):
        axes.axvline(0, color=FAINT, linewidth=0.7, zorder=1)
        axes.locator_params(axis="x", nbins=4)
        axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        axes.grid(axis="x", linewidth=0.3, color="#dddddd")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(labelbottom=n + across >= len(panels))
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)


def _numbers(
    chosen: dict[str, list[PublishedRun]], counts: dict[str, dict[str, Flips]]
) -> list[dict[str, str | int | float | None]]:
    """A row for each paradigm and panel, counts pooled over seeds."""
    return [
        {
            "paradigm": name,
            "own_style": chosen[name][0].style,
            "seeds": len(chosen[name]),
            "column": column,
            "lost": one.lost,
            "won": one.won,
            "right_before": one.right,
            "n": one.n,
        }
        for name, found in counts.items()
        for column, one in found.items()
    ]


if __name__ == "__main__":
    sys.exit(command(draw))
