"""What changed, as heat maps: since the base after every stage, and what each stage alone added to every task."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from harness.results.matrix import AccuracyMatrix
from paper_figures.matrix import HeatMap, heat_maps, tasks_and_suites
from paper_figures.page import command
from paper_figures.selection import exact

FULL = Fraction(1, 2)  # the change that has the full colour
Rows = list[list[float | None]]


def draw(
    results: Path,
    out: Path,
    runs: Sequence[str] = (),
    style: str | None = None,
    scale: str | None = None,
    width: str = "column",
) -> list[Path]:
    """Two heat maps of each run named, or of each paradigm's mean over seeds, in points: red is lost, blue is won.

    ``since-base``: A[i, j] - A[0, j]. ``transfer``: A[i, j] - A[i-1, j], row i being what its stage did to task j.
    """
    return [path for kind in KINDS for path in heat_maps(kind, results, out, runs, style, scale, width)]


def since_base(a: AccuracyMatrix) -> Rows:
    """[S, T + G]: every row minus the base's."""
    return _minus(a, lambda stage: 0)


def of_stage(a: AccuracyMatrix) -> Rows:
    """[S, T + G]: every row minus the one before it; the base's is undefined."""
    return _minus(a, lambda stage: stage - 1 if stage else None)


def _minus(a: AccuracyMatrix, reference: Callable[[int], int | None]) -> Rows:
    rows = tasks_and_suites(a)
    found: Rows = []
    for stage, row in enumerate(rows):
        place = reference(stage)
        before = [None] * len(row) if place is None else rows[place]
        pairs = zip(row, before, strict=True)
        found.append([None if None in pair else float(exact(pair[0]) - exact(pair[1])) for pair in pairs])  # type: ignore[arg-type]
    return found


def points(value: Fraction) -> str:
    """Whole points with their sign; a half goes to the even neighbour.

    >>> points(Fraction(-7, 200)), points(Fraction(0)), points(Fraction(1, 8))
    ('-4', '0', '+12')
    """
    rounded = round(100 * value)
    return f"{rounded:+d}" if rounded else "0"


def _shade(value: Fraction) -> Any:
    import matplotlib

    share = max(-1.0, min(1.0, float(value / FULL)))
    return matplotlib.colormaps["RdBu"](0.5 + 0.42 * share)


KINDS = (
    HeatMap(name="since-base", detail="points since the base", read=since_base, shade=_shade, text=points),
    HeatMap(name="transfer", detail="points that each stage added", read=of_stage, shade=_shade, text=points),
)

if __name__ == "__main__":
    sys.exit(command(draw))
