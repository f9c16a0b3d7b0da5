"""How every figure looks and is written: column width, fonts, the colour-blind palette, PDF and PNG without dates."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.core import UserError
from harness.store import disk

COLUMN = 3.25  # inches: one column of a two-column page
INK = "#222222"
FAINT = "#8c8c8c"
_LOOK = {
    "text.usetex": False,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "lines.linewidth": 1.2,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "pdf.fonttype": 42,
}


@contextmanager
def page(height: float) -> Iterator[Any]:
    """An empty figure of column width and ``height`` inches, within the look of all figures."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_LOOK}):
        figure = Figure(figsize=(COLUMN, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def palette(names: Sequence[str]) -> dict[str, Any]:
    """A colour-blind safe colour for each paradigm; sft and rft have the same ones in every figure."""
    import seaborn

    colours = seaborn.color_palette("colorblind")
    first = {"sft": colours[1], "rft": colours[0]}
    rest = [colour for n, colour in enumerate(colours) if n not in (0, 1, 7)]
    others = [name for name in names if name not in first]
    return {**first, **{name: rest[n % len(rest)] for n, name in enumerate(others)}}


def headline(figure: Any, title: str, detail: str) -> None:
    """Two lines over the figure, from its left edge: what it shows, and how to read it."""
    figure.suptitle(f"{title}\n{detail}", x=0.01, ha="left", fontsize=7, linespacing=1.35)


def save(figure: Any, out: Path, name: str) -> list[Path]:
    """Write ``name``.pdf and ``name``.png (300 dots per inch); equal figures give equal bytes."""
    paths = []
    with disk.refusing_disk_faults(out):
        for kind, metadata in (("pdf", {"CreationDate": None, "Producer": None}), ("png", {"Software": None})):
            target = io.BytesIO()
            figure.savefig(target, format=kind, dpi=300, metadata=metadata)
            paths.append(out / f"{name}.{kind}")
            disk.write(paths[-1], target.getvalue())
    return paths


def command(draw: Callable[..., list[Path]], arguments: Sequence[str] | None = None) -> int:
    """Run a figure's script: ``[RUN_ID ...] --results DIR --out DIR``; 2 for a user's mistake."""
    parser = argparse.ArgumentParser(description=sys.modules[draw.__module__].__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN_ID", help="published runs; none: the largest comparable group")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of published runs")
    parser.add_argument("--out", type=Path, default=Path("results/figures"), help="folder to write to")
    asked = parser.parse_args(arguments)
    try:
        paths = draw(asked.results, asked.out, asked.runs)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


__all__ = ["COLUMN", "FAINT", "INK", "command", "headline", "page", "palette", "save"]
