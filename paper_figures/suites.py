"""General suites before and after the stream: a row per paradigm, its seeds as points, the base as a line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.core import UserError
from harness.results.published import PublishedRun
from paper_figures.page import INK, command, headline, page, palette, save
from paper_figures.selection import by_paradigm, mean, over_seeds, place, select

ORDER = ("sft", "mtl", "rft", "rft-nokl", "rft-nocot", "rif-rft")


def draw(results: Path, out: Path, runs: Sequence[str] = (), style: str | None = None) -> list[Path]:
    """One panel per suite: accuracy after the last stage, each paradigm against the base in the same style.

    Raises:
        UserError: where the stream watches no suite, or a run lacks a suite's cell in the style.
    """
    found = by_paradigm(select(results, runs))
    names = sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    chosen = {name: found[name] for name in names}
    some = chosen[names[0]]
    suites = some[0].suites
    if not suites:
        raise UserError(f"the {some[0].stream} stream watches no general suite: draw runs of a stream that does")
    with page(0.95 + 0.2 * len(names)) as figure:
        panels = figure.subplots(1, len(suites), sharey=True, squeeze=False)[0]
        for suite, axes in enumerate(panels):
            _panel(axes, suite, chosen, style)
            axes.set_title(suites[suite], pad=3)
        labels = [f"{name} ({style or same[0].style})" for name, same in chosen.items()]
        panels[0].set_yticks(range(len(names)), labels)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        figure.supxlabel("accuracy (%) after the last stage", fontsize=7)
        detail = "line: base in the same style; points: seeds; bar: their mean"
        headline(figure, f"General suites: {place(some)}", detail)
        return save(figure, out, "suites" + ("" if style is None else f"-{style}"))


def _panel(axes: Any, suite: int, chosen: dict[str, list[PublishedRun]], style: str | None) -> None:
    colours = palette(tuple(chosen))
    for row, (name, same) in enumerate(chosen.items()):
        tables = [over_seeds([run], lambda a: a.general, mean, style) for run in same]
        before, after = [table[0][suite] for table in tables], [table[-1][suite] for table in tables]
        points = [100 * value for value in after if value is not None]
        start = next((100 * value for value in before if value is not None), None)
        if start is None or len(points) < len(same):
            lacking = style or same[0].style
            raise UserError(
                f"a run of {name} lacks a suite in the {lacking} style: publish whole runs, or another style"
            )
        axes.plot([start, start], [row - 0.42, row + 0.42], color=INK, linewidth=0.9, zorder=1)
        axes.plot([start, mean(points)], [row, row], color=colours[name], linewidth=0.8, alpha=0.6, zorder=2)
        axes.plot([mean(points)] * 2, [row - 0.25, row + 0.25], color=colours[name], linewidth=1.8, zorder=3)
        axes.plot(points, [row] * len(points), "o", color=colours[name], markersize=2.6, alpha=0.75, mew=0, zorder=4)
    axes.margins(x=0.12)
    axes.locator_params(axis="x", nbins=3)
    axes.grid(axis="x", linewidth=0.3, color="#dddddd")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


if __name__ == "__main__":
    sys.exit(command(draw))
