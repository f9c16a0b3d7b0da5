"""How every figure looks and is written: column width, fonts, colours that can be read, PDF and PNG without dates."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.core import UserError, slug
from harness.results.cells import csv_text
from harness.store import disk

Numbers = Mapping[str, "str | int | float | None"]

COLUMN = 3.25  # inches: one column of a two-column page
WIDTHS = {"column": COLUMN, "double": 6.875}
INK = "#222222"
FAINT = "#6b6b6b"
_LOOK = {
    "text.usetex": False,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
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
def page(height: float, width: str = "column") -> Iterator[Any]:
    """An empty figure as wide as one column or both, and ``height`` inches high, within the look of all figures."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_LOOK}):
        figure = Figure(figsize=(WIDTHS[width], height), layout="constrained")
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


def contrast(one: Any, other: Any) -> float:
    """The contrast of two colours, 1 to 21, by relative luminance (WCAG 2.2); text wants at least 4.5.

    >>> contrast("white", "black"), contrast("#777777", "#777777")
    (21.0, 1.0)
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Any) -> float:
    from matplotlib.colors import to_rgb

    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def ink_on(colour: Any) -> str:
    """Black or white, whichever can be read better on a colour; one of them always has a contrast of 4.58."""
    return max(("black", "white"), key=lambda ink: contrast(ink, colour))


def label(name: str, longest: int = 20) -> str:
    """A name as it is shown: a long one loses its end, so that it takes no other's place.

    >>> label("rft-nokl"), label("a-name-that-never-ends", 10)
    ('rft-nokl', 'a-name-th…')
    """
    return name if len(name) <= longest else name[: longest - 1] + "…"


def headline(figure: Any, title: str, detail: str) -> None:
    """Two lines over the figure, from its left edge: what it shows, and how to read it."""
    figure.suptitle(f"{title}\n{detail}", x=0.01, ha="left", fontsize=7, linespacing=1.35)


def save(
    figure: Any, out: Path, *names: str | None, numbers: Sequence[Numbers] = (), width: str = "column"
) -> list[Path]:
    """Write the figure as PDF and PNG (300 dots per inch) and its numbers as CSV; equal figures give equal bytes.

    Files are called by the names, and by the width where it is not one column. The rows of ``numbers`` have the same
    columns; fractions, empty where undefined.

    Raises:
        UserError: where a name could be a path; most come from files.
    """
    words = (*names, None if width == "column" else width)
    stem = "-".join(slug(name) for name in words if name is not None)
    paths = []
    with disk.refusing_disk_faults(out):
        for kind, metadata in (("pdf", {"CreationDate": None, "Producer": None}), ("png", {"Software": None})):
            target = io.BytesIO()
            figure.savefig(target, format=kind, dpi=300, metadata=metadata)
            paths.append(out / f"{stem}.{kind}")
            disk.write(paths[-1], target.getvalue())
        if numbers:
            paths.append(out / f"{stem}.csv")
            disk.write(paths[-1], csv_text(list(numbers[0]), [list(row.values()) for row in numbers]).encode())
    return paths


def command(draw: Callable[..., list[Path]], arguments: Sequence[str] | None = None) -> int:
    """Run a figure's script: ``[RUN_ID ...] --results DIR --out DIR --scale NAME``; 2 for a user's mistake."""
    parser = argparse.ArgumentParser(description=sys.modules[draw.__module__].__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN_ID", help="published runs; none: the largest comparable group")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of published runs")
    parser.add_argument("--out", type=Path, default=Path("results/figures"), help="folder to write to")
    parser.add_argument("--width", choices=WIDTHS, default="column", help="one column of a page, or both")
    parser.add_argument("--scale", help="draw the runs of this scale; the files' names end in it")
    asked = parser.parse_args(arguments)
    try:
        paths = draw(asked.results, asked.out, asked.runs, scale=asked.scale, width=asked.width)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


__all__ = [
    "COLUMN", "FAINT", "INK", "WIDTHS", "Numbers", "command", "contrast", "headline", "ink_on", "label", "page",
    "palette", "save",
]  # fmt: skip
