"""The tables of docs/metrics.md: what each metric is, and how often its interval holds the true value."""

from __future__ import annotations

import csv
from pathlib import Path

from harness.results.metrics import ALL
from paper_figures.text_tables import rows

COVERAGE = Path(__file__).resolve().parents[1] / "benchmarks" / "coverage.csv"


def definitions() -> str:
    """Every metric of ``metrics.ALL`` with equation, denominator, sign, kind and source."""
    lines = [
        [f"`{one.name}`", f"`{one.equation}`", one.denominator, one.sign, one.kind, one.source] for one in ALL.values()
    ]
    lines.append(
        ["`dose`", "`sum of the learning rates over a stage's updates`", "", "what was spent", "count", "defined here"]
    )
    return rows(["metric", "equation", "over", "reads", "kind", "source"], lines, 6)


def coverage() -> str:
    """What ``benchmarks/coverage.py`` measured, percent of the simulations."""
    with COVERAGE.open(newline="") as file:
        header, *lines = list(csv.reader(file))
    return rows(header, lines, 3)


REFERENCE = {"metrics": definitions, "coverage": coverage}

__all__ = ["COVERAGE", "REFERENCE", "coverage", "definitions"]
