"""The interval of one cell: of the mean score of its items, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.results.resampling import REPLICATES, numbered


def cell_interval(scores: Sequence[float], groups: Sequence[str] = (), level: float = 0.95) -> tuple[float, float]:
    """The two-sided interval of a cell's score, fractions; ``groups`` [item] are what items share (a picture).

    Wilson (statsmodels) where all scores are 0 or 1 and no items share a group. VQA accuracy is 0, .3, .6, .9, 1, and
    items of one picture are not independent: there it is BCa over the groups (scipy), which suits means alone. Where
    all groups score alike nothing can be resampled, and Wilson with a group as the unit stands for it.

    >>> [round(end, 3) for end in cell_interval([1.0] * 8 + [0.0] * 2)]
    [0.49, 0.943]
    >>> [round(end, 3) for end in cell_interval([1.0] * 8 + [0.0] * 2, list("aabbccddee"))]
    [0.4, 1.0]

    Raises:
        ValueError: where there are no items.
    """
    import numpy
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    values = numpy.asarray(scores, dtype=float)
    if not len(values):
        raise ValueError("a cell without items has no interval")
    place, count = numbered(groups or [str(number) for number in range(len(values))])
    sums, sizes = numpy.bincount(place, weights=values), numpy.bincount(place)
    alike = count == 1 or bool(numpy.ptp(sums / sizes) == 0)
    if alike or (count == len(values) and numpy.isin(values, (0.0, 1.0)).all()):
        low, high = proportion_confint(values.mean() * count, count, alpha=1 - level, method="wilson")
        return float(low), float(high)

    def mean(of_sums: Any, of_sizes: Any, axis: int) -> Any:
        return of_sums.sum(axis) / of_sizes.sum(axis)

    found = stats.bootstrap(
        (sums, sizes), mean, paired=True, vectorized=True, method="BCa", confidence_level=level,
        n_resamples=REPLICATES, rng=numpy.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


__all__ = ["cell_interval"]
