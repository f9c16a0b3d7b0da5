"""General suites after the stream: points of accuracy gained or lost since the base, in both styles, on one axis."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any

from harness.core import UserError
from harness.results.published import PublishedRun
from paper_figures.page import FAINT, INK, command, headline, label, page, palette, save
from paper_figures.selection import by_paradigm, in_order, mean, over_seeds, percent, place, select

MARKERS = ("s", "o", "^", "D")


def draw(
    results: Path,
    out: Path,
    runs: Sequence[str] = (),
    style: str | None = None,
    scale: str | None = None,
    width: str = "column",
) -> list[Path]:
    """One panel per suite: after the last stage less before the first, each paradigm's seeds and their mean.

    All panels have one axis, so that equal lengths are equal differences. ``style`` is the one to ask in; without it
    every style that all of the runs were asked in. With ``scale`` the runs of that scale are drawn, and the file's name
    ends in it.

    Raises:
        UserError: where the stream watches no suite, or a run lacks a suite's cell in the style.
    """
    chosen = in_order(by_paradigm(select(results, runs, scale)))
    names = list(chosen)
    some = chosen[names[0]]
    suites = some[0].suites
    if not suites:
        raise UserError(f"the {some[0].stream} stream watches no general suite: draw runs of a stream that does")
    styles = [style] if style else _styles(chosen)
    with page(1.15 + 0.12 * len(styles) * len(names), width) as figure:
        panels = figure.subplots(1, len(suites), sharex=True, sharey=True, squeeze=False)[0]
        for suite, axes in enumerate(panels):
            bases = [_panel(axes, suite, chosen, name, n, len(styles)) for n, name in enumerate(styles)]
            axes.set_title(f"{label(suites[suite], 12)}\nbase {' / '.join(bases)}", pad=3, fontsize=6.5)
        _finish(panels, names)
        handles, _ = panels[0].get_legend_handles_labels()
        where = {"loc": "outside lower center", "ncols": len(styles), "frameon": False}
        figure.legend(
            handles, styles, title="points of accuracy since the base, by style asked in", title_fontsize=7, **where
        )
        detail = f"base (%): {' / '.join(styles)}; points: seeds; bar: their mean"
        headline(figure, f"General suites: {place(some)}", detail)
        numbers = _numbers(chosen, suites, styles)
        return save(figure, out, "suites", style, scale, numbers=numbers, width=width)


def _numbers(
    chosen: dict[str, list[PublishedRun]], suites: Sequence[str], styles: Sequence[str]
) -> list[dict[str, str | int | float | None]]:
    """A row for each suite, paradigm, style and seed."""
    return [
        {
            "suite": suite,
            "paradigm": name,
            "style": style,
            "seed": run.seed,
            "base": float(base),
            "change": float(change),
        }
        for number, suite in enumerate(suites)
        for name, same in chosen.items()
        for style in styles
        for run in same
        for base, change in [_change(run, number, style)]
    ]


def _styles(chosen: dict[str, list[PublishedRun]]) -> list[str]:
    """The styles that every run was asked in, sorted; each paradigm's own where there is none."""
    found = sorted(set.intersection(*(set(run.styles) for same in chosen.values() for run in same)))
    if not found:
        raise UserError("the runs to draw were asked in no style that all have: name runs of one style")
    return found


def _panel(axes: Any, suite: int, chosen: dict[str, list[PublishedRun]], style: str, nth: int, styles: int) -> str:
    """One suite in one style, a row for each paradigm; the base's accuracy in percent."""
    colours = palette(tuple(chosen))
    marker = next(mark for n, mark in enumerate(cycle(MARKERS)) if n == nth)
    bases = set()
    for row, (name, same) in enumerate(chosen.items()):
        changes = [_change(run, suite, style) for run in same]
        bases |= {base for base, _ in changes}
        points = [100 * float(change) for _, change in changes]
        y = row + (nth - (styles - 1) / 2) * 0.8 / styles
        middle = 100 * float(mean([change for _, change in changes]))
        look = {"color": colours[name], "clip_on": False}
        axes.plot([0, middle], [y, y], linewidth=0.8, alpha=0.6, zorder=2, **look)
        axes.plot([middle] * 2, [y - 0.3 / styles, y + 0.3 / styles], linewidth=1.6, zorder=3, **look)
        axes.plot(points, [y] * len(points), marker, markersize=2.6, alpha=0.75, mew=0, zorder=4, **look)
    axes.plot([], [], marker, color=FAINT, markersize=3, label=style)
    return "-".join(percent(base) for base in sorted(bases))


def _change(run: PublishedRun, suite: int, style: str) -> tuple[Fraction, Fraction]:
    """The base's accuracy on a suite, and what the last stage adds to it."""
    table = over_seeds([run], lambda a: a.general, mean, style)
    before, after = table[0][suite], table[-1][suite]
    if before is None or after is None:
        raise UserError(f"run {run.id} lacks a suite in the {style} style: publish whole runs, or another style")
    return before, after - before


def _finish(panels: Sequence[Any], names: Sequence[str]) -> None:
    """The one axis, a line where nothing changed, and the paradigms' names."""
    low, high = panels[0].get_xlim()
    panels[0].set_xlim(min(low, -2.0), max(high, 2.0))
    panels[0].set_yticks(range(len(names)), [label(name, 18) for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes in panels:
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        axes.locator_params(axis="x", nbins=4 if max(map(len, names)) <= 12 else 3)  # long names leave little room
        axes.grid(axis="x", linewidth=0.3, color="#dddddd")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)


if __name__ == "__main__":
    sys.exit(command(draw))
