"""The null of metrics with a peak: what they would be by noise alone, had nothing been forgotten.

A maximum over noisy cells exceeds the true one, so a peak metric says "forgotten" of a model that forgot nothing. The
null is the same metric of matrices in which every task keeps the level that it has on average since its own stage, plus
the noise of the items, taken from the bootstrap: what a replicate's cell differs by from the cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness.results.arms import Arm
from harness.results.metrics import ALL
from harness.results.resampling import REPLICATES, draws, matrix_of

PEAKS = tuple(name for name, metric in ALL.items() if metric.kind == "peak")


@dataclass(frozen=True, kw_only=True)
class Null:
    """A peak metric's value, what noise alone gives (its mean and 95% range), and how often noise gives as much."""

    value: float
    mean: float
    low: float
    high: float
    as_much: float


def null_of_peaks(arm: Arm, *, replicates: int = REPLICATES) -> dict[str, Null | None]:
    """The null of every metric with a peak, mean over the arm's seeds; None where a metric is undefined."""
    import numpy

    whole, drawn = matrix_of(arm), matrix_of(arm, draws(arm.columns, replicates))
    columns = zip(*whole.scores, strict=True), zip(*drawn.scores, strict=True)
    kept = [_kept(list(cells), list(noisy), own) for own, (cells, noisy) in enumerate(zip(*columns, strict=True), 1)]
    level = replace(drawn, scores=tuple(zip(*kept, strict=True)))
    found: dict[str, Null | None] = {}
    for name in PEAKS:
        value, noise = (ALL[name].compute(a) for a in (whole, level))
        if value is None or noise is None:
            found[name] = None
            continue
        seen, null = float(numpy.mean(value)), numpy.mean(noise, axis=1)
        low, high = numpy.quantile(null, [0.025, 0.975])
        # The worse a metric is, the more it says "forgotten": downwards, but for Chaudhry's, whose sign is a loss's.
        worse = null >= seen if name == "forgetting_chaudhry" else null <= seen
        found[name] = Null(
            value=seen, mean=float(null.mean()), low=float(low), high=float(high), as_much=float(worse.mean())
        )
    return found


def _kept(cells: list[Any], noisy: list[Any], own: int) -> list[Any]:
    """A task's column of replicates in which its level since its ``own`` stage is kept; a hole stays one."""
    since = cells[own:]
    if any(cell is None for cell in since):
        return noisy
    level = sum(since) / len(since)
    return [
        drawn if stage < own or drawn is None else level + drawn - cells[stage] for stage, drawn in enumerate(noisy)
    ]


__all__ = ["PEAKS", "Null", "null_of_peaks"]
