"""What a variant of RFT changes: every published variant minus ``rft``, with intervals, on one axis."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.core import UserError
from harness.results.arms import paired
from harness.results.published import PublishedRun
from harness.results.stats import Estimate, differences
from paper_figures.page import INK, command, headline, label, page, palette, save
from paper_figures.selection import by_paradigm, place, scored, select

WHOLE = "rft"
VARIANTS = {
    "rft-nokl": "without KL",
    "rft-nocot": "without CoT",
    "rif-rft": "with filtering",
    "rft-rloo": "RLOO",
    "rft-remax": "ReMax",
    "rft-lora": "LoRA",
}
OWN = "own"
PANELS = (
    ("net learning", "net_learning", OWN),
    ("backward transfer", "backward_transfer", OWN),
    ("suites, direct", "general_delta", "direct"),
    ("suites, cot", "general_delta", "cot"),
)


def draw(
    results: Path, out: Path, runs: Sequence[str] = (), scale: str | None = None, width: str = "column"
) -> list[Path]:
    """One panel per number, a row for each variant: its difference to ``rft`` in points, with its 95% interval.

    Net learning and backward transfer are asked in each arm's own trained style, the suites in both. A variant without
    a published run is left out, which the second line says; a hollow point has a single seed on one side.

    Raises:
        UserError: where ``rft`` or every variant has no published run.
    """
    found = by_paradigm(select(results, runs, scale))
    chosen = [name for name in VARIANTS if name in found]
    if WHOLE not in found or not chosen:
        raise UserError(f"an ablation compares {WHOLE} with a variant such as rft-nokl: publish a run of both")
    missing = [name for name in VARIANTS if name not in found]
    table = {name: _differences(results, found[name], found[WHOLE]) for name in chosen}
    across = 2 if width == "column" else 4
    down = len(PANELS) // across
    with page(0.8 + down * (0.42 + 0.25 * len(chosen)), width) as figure:
        grid = figure.subplots(down, across, sharey=True, squeeze=False)
        panels = [axes for line in grid for axes in line]
        for number, axes in enumerate(panels):
            _panel(axes, PANELS[number][0], [table[name][number] for name in chosen], [found[name] for name in chosen])
        panels[0].set_yticks(range(len(chosen)), [f"{label(name, 14)}\n{VARIANTS[name]}" for name in chosen])
        panels[0].set_ylim(len(chosen) - 0.5, -0.5)
        limits = max(abs(end) for axes in panels for end in axes.get_xlim())
        for axes in panels:
            axes.set_xlim(-limits, limits)
        figure.supxlabel(f"points more than {WHOLE}; bars: 95% intervals", fontsize=7)
        left = f"; not published: {label(', '.join(missing), 24)}" if missing else ""
        headline(figure, f"Variants of {WHOLE}: {place(found[WHOLE])}", f"hollow: one seed{left}")
        return save(figure, out, "ablation", scale, numbers=_numbers(found, table), width=width)


def _differences(
    results: Path, variant: Sequence[PublishedRun], whole: Sequence[PublishedRun]
) -> list[Estimate | None]:
    """The variant minus the whole in each panel's number."""
    found = []
    for _, metric, style in PANELS:
        asked = "" if style == OWN else style
        sides = paired(scored(results, variant, asked), scored(results, whole, asked))
        found.append(differences(*sides, [metric])[metric])
    return found


def _panel(axes: Any, title: str, rows: Sequence[Estimate | None], runs: Sequence[Sequence[PublishedRun]]) -> None:
    colours = palette(tuple(VARIANTS))
    for row, (one, same) in enumerate(zip(rows, runs, strict=True)):
        if one is None:
            continue
        colour = colours[same[0].paradigm]
        axes.errorbar(
            100 * one.value, row, xerr=100 * one.half(one.level), fmt="o", color=colour, markersize=3.6, elinewidth=0.9,
            markerfacecolor=colour if len(same) > 1 else "white",
        )  # fmt: skip
    axes.set_title(title, pad=3)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=0)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", linewidth=0.3, color="#dddddd")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _numbers(
    found: dict[str, list[PublishedRun]], table: dict[str, list[Estimate | None]]
) -> list[dict[str, str | int | float | None]]:
    """A row for each variant and panel; empty where undefined."""
    return [
        {
            "variant": name,
            "minus": WHOLE,
            "metric": metric,
            "style": style,
            "seeds": len(found[name]),
            "difference": one and one.value,
            "low": one and one.low,
            "high": one and one.high,
        }
        for name, row in table.items()
        for (_, metric, style), one in zip(PANELS, row, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(command(draw))
