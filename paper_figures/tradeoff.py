"""What was learned against what was forgotten since: net learning and backward transfer with their intervals."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from harness.core import UserError
from harness.results.published import PublishedRun
from harness.results.stats import Estimate, estimates
from paper_figures.page import INK, command, headline, label, page, palette, save
from paper_figures.selection import by_paradigm, in_order, place, scored, select

METRICS = ("net_learning", "backward_transfer")
MARKERS = ("s", "o", "^", "D", "v", "P", "X", "*")


def draw(
    results: Path,
    out: Path,
    runs: Sequence[str] = (),
    style: str | None = None,
    scale: str | None = None,
    width: str = "column",
) -> list[Path]:
    """A point for each paradigm that trains one task after another, in its own style unless ``style`` names one.

    Bars are 95% intervals over items crossed with seeds; with a single seed they are about the items alone, and the
    point is hollow. A paradigm without an order, such as joint training, has neither number and is left out, which
    the second line says.

    Raises:
        UserError: where no paradigm has both numbers.
    """
    chosen = in_order(by_paradigm(select(results, runs, scale)))
    found = {name: estimates(scored(results, same, style or ""), METRICS) for name, same in chosen.items()}
    drawn = {name: (x, y) for name, both in found.items() if (x := both[METRICS[0]]) and (y := both[METRICS[1]])}
    if not drawn:
        raise UserError("no run to draw trains one task after another: publish one that does, as sft or rft")
    left = [name for name in chosen if name not in drawn]
    some = next(iter(chosen.values()))
    with page(2.75, width) as figure:
        axes = figure.add_subplot()
        for name, marker in zip(drawn, cycle(MARKERS), strict=False):
            _point(axes, name, chosen[name], drawn[name], marker, palette(tuple(drawn))[name], style)
        _frame(axes)
        columns = 2 if width == "column" else 4
        look = {"frameon": False, "columnspacing": 1.0, "handletextpad": 0.3, "title_fontsize": 6.5}
        figure.legend(loc="outside lower center", ncols=columns, title="paradigm (style, seeds)", **look)
        detail = "95% intervals; hollow: one seed"
        without = f"; no order: {label(', '.join(left), 16)}" if left else ""
        headline(figure, f"Learned and forgotten: {place(some)}", detail + without)
        return save(figure, out, "tradeoff", style, scale, numbers=_numbers(chosen, drawn, style), width=width)


def _point(
    axes: Any,
    name: str,
    same: Sequence[PublishedRun],
    both: tuple[Estimate, Estimate],
    marker: str,
    colour: Any,
    style: str | None,
) -> None:
    x, y = both
    axes.errorbar(
        100 * x.value,
        100 * y.value,
        xerr=100 * x.half(x.level),
        yerr=100 * y.half(y.level),
        fmt=marker,
        color=colour,
        markerfacecolor=colour if len(same) > 1 else "white",
        markersize=4,
        elinewidth=0.8,
        capsize=0,
        label=f"{label(name, 16)} ({style or same[0].style}, {len(same)})",
    )


def _frame(axes: Any) -> None:
    axes.axhline(0, color=INK, linewidth=0.7, zorder=0)
    axes.set_xlabel("net learning (points)")
    axes.set_ylabel("backward transfer (points)")
    axes.grid(linewidth=0.3, color="#dddddd")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _numbers(
    chosen: dict[str, list[PublishedRun]], drawn: dict[str, tuple[Estimate, Estimate]], style: str | None
) -> list[dict[str, str | int | float | None]]:
    """A row for each paradigm and metric."""
    return [
        {
            "paradigm": name,
            "style": style or chosen[name][0].style,
            "seeds": len(chosen[name]),
            "metric": metric,
            "value": one.value,
            "low": one.low,
            "high": one.high,
        }
        for name, both in drawn.items()
        for metric, one in zip(METRICS, both, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(command(draw))
