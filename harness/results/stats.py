"""Intervals: what a number of an arm, or a difference between two, is known to within.

Items and training seeds are crossed: an item is the same in every stage, seed and arm. The variance of a metric is
therefore the part of the items (groups that share a picture stay together) plus the part of the seeds minus what both
count, and the interval is a t interval with the degrees of freedom of that sum (Satterthwaite): a percentile bootstrap
over three seeds covers about 75%, not 95%. numpy and scipy do the statistics; everything is a pure function of an arm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.results.arms import Arm

if TYPE_CHECKING:
    from harness.results.arms import Floats

LEVEL = 0.95
REPLICATES = 1000
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval: fractions, ``error`` the standard error, ``df`` its degrees of freedom (inf: many).

    ``seeds`` says whether the noise of training seeds is in it: with one seed it is not, and cannot be.
    """

    value: float
    low: float
    high: float
    error: float
    df: float
    level: float = LEVEL
    seeds: bool = True


def estimates(
    arm: Arm, names: Sequence[str] = (), *, only: Collection[str] | None = None, level: float = LEVEL
) -> Mapping[str, Estimate | None]:
    """Metrics of an arm (all of ``metrics.ALL`` where none is named), mean over its seeds, each with its interval.

    ``only`` are the tasks that are averaged over, such as those that were learned. None where a metric is undefined.
    """
    raise NotImplementedError


def differences(
    one: Arm, other: Arm, names: Sequence[str] = (), *, only: Collection[str] | None = None, level: float = LEVEL
) -> Mapping[str, Estimate | None]:
    """The first arm's metrics minus the second's, each with its interval: items paired, seeds of each arm apart."""
    raise NotImplementedError


def null_of_peaks(arm: Arm) -> Mapping[str, Estimate]:
    """What each metric with a peak in it would be by the noise of items alone, had nothing been forgotten."""
    raise NotImplementedError


def cell_interval(scores: Floats, groups: Sequence[str], level: float = LEVEL) -> tuple[float, float]:
    """The interval of one cell, [item]: Wilson where scores are 0 and 1 and no items share a group, else BCa."""
    raise NotImplementedError


def smallest_difference(error: float, df: float, *, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest true difference that a test at 1 - ``level`` finds with ``power``, given its standard error."""
    raise NotImplementedError


__all__ = [
    "LEVEL", "POWER", "REPLICATES", "Estimate", "cell_interval", "differences", "estimates", "null_of_peaks",
    "smallest_difference",
]  # fmt: skip
