"""The forgetting metrics: pure functions on the accuracy matrix, each with its equation, sign, denominator and source.

A[i, j] = score on task j after stage i, a fraction; i = 0 is the base model; T tasks and T stages; row T is final.
A metric is None (undefined) where a cell that it needs is missing, and where it needs an order of tasks that the run
does not have (joint training). The same words mean different numbers in the literature; here one name is one formula.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.results.matrix import AccuracyMatrix


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's name, its equation as text, which sign is good or bad, its source, and the function itself."""

    name: str
    equation: str
    sign: str
    source: str
    compute: Callable[[AccuracyMatrix], float | None]


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean over values; None where one is missing or there are none."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None


def _minus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


def average_accuracy(a: AccuracyMatrix) -> float | None:
    """mean_{j=1..T} A[T, j], the mean over all T tasks after the last stage; high is good (GEM, arXiv:1706.08840).

    Also called AvgAcc, ACC, MFN, OP. Not MAA, the mean over stages of the mean over the tasks seen so far (here 0.8).

    >>> from harness.results.matrix import from_rows
    >>> average_accuracy(from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]]))
    0.7
    """
    return _mean(a.final)


def learning_accuracy(a: AccuracyMatrix) -> float | None:
    """mean_{j=1..T} A[j, j], each task just after its own stage; high is good (MCITlib, arXiv:2508.07307).

    Also called MFT, New.ACC, plasticity. It counts what the base already knew; ``gain`` does not.

    >>> from harness.results.matrix import from_rows
    >>> round(learning_accuracy(from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]])), 6)
    0.85
    """
    return _mean(a.scores[j + 1][j] for j in range(len(a.tasks))) if a.ordered else None


def net_learning(a: AccuracyMatrix) -> float | None:
    """mean_{j=1..T} (A[j, j] - A[0, j]), what was learned against the base; high is good (defined here).

    Arms are compared at equal net learning. ``gain`` rewards destruction: a stage that learns again what an earlier one
    broke counts as gain there (here 0.6), and not here.

    >>> from harness.results.matrix import from_rows
    >>> round(net_learning(from_rows([[0.2, 0.3], [0.9, 0.1], [0.6, 0.6]])), 6)
    0.5
    """
    if not a.ordered:
        return None
    return _mean(_minus(a.scores[j + 1][j], a.scores[0][j]) for j in range(len(a.tasks)))


def gain(a: AccuracyMatrix) -> float | None:
    """mean_{j=1..T} (A[j, j] - A[j-1, j]), what a stage itself adds to its task; high is good (defined here).

    Against the stage before, not against the base, which would credit a stage with what earlier ones did (here 0.7).

    >>> from harness.results.matrix import from_rows
    >>> round(gain(from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]])), 6)
    0.6
    """
    if not a.ordered:
        return None
    return _mean(_minus(a.scores[j + 1][j], a.scores[j][j]) for j in range(len(a.tasks)))


def backward_transfer(a: AccuracyMatrix) -> float | None:
    """mean_{j=1..T-1} (A[T, j] - A[j, j]), over T - 1; negative = forgetting (GEM, arXiv:1706.08840).

    The last task is not in it; over T it would be backward_transfer_T (here -0.2). CGL calls it FM; Avalanche reports
    its negative. Undefined for one task.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.2, 0.1, 0.1], [0.9, 0.3, 0.1], [0.7, 0.8, 0.2], [0.5, 0.6, 0.9]]
    >>> round(backward_transfer(from_rows(rows)), 6)
    -0.3
    """
    if not a.ordered:
        return None
    return _mean(_minus(a.scores[-1][j], a.scores[j + 1][j]) for j in range(len(a.tasks) - 1))


def fm_lai_T(a: AccuracyMatrix) -> float | None:
    """mean_{j=1..T} (A[T, j] - max_{1<=i<=T} A[i, j]), over T; <= 0, negative = forgetting (arXiv:2507.05386).

    The peak is over all trained stages, before the task's own stage too; the base row is not in it. The paper's
    denominator and its base row are not visible in the sources at hand, so ``fm_lai_T1`` stands beside it.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.95, 0.1], [0.9, 0.9], [0.6, 0.8]]   # base above the peak of t1; t2 peaks before its stage
    >>> round(fm_lai_T(from_rows(rows)), 6), round(backward_transfer(from_rows(rows)), 6)
    (-0.2, -0.3)
    """
    return _mean(_from_peak(a)) if a.ordered else None


def fm_lai_T1(a: AccuracyMatrix) -> float | None:
    """mean_{j=1..T-1} (A[T, j] - max_{1<=i<=T} A[i, j]), over T - 1; <= 0, negative = forgetting (arXiv:2507.05386).

    As ``fm_lai_T`` without the last task. Undefined for one task.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.95, 0.1, 0.1], [0.7, 0.9, 0.1], [0.9, 0.8, 0.1], [0.6, 0.8, 0.7]]   # t1 peaks after t2's stage
    >>> [round(metric(from_rows(rows)), 6) for metric in (fm_lai_T1, fm_lai_T, backward_transfer)]
    [-0.2, -0.133333, -0.05]
    """
    return _mean(_from_peak(a)[:-1]) if a.ordered else None


def _from_peak(a: AccuracyMatrix) -> list[float | None]:
    """A[T, j] - max_{1<=i<=T} A[i, j] for each task; shape [T]; None where the column has a hole below the base."""
    losses: list[float | None] = []
    for j in range(len(a.tasks)):
        column = [row[j] for row in a.scores[1:]]
        known = [value for value in column if value is not None]
        losses.append(known[-1] - max(known) if len(known) == len(column) else None)
    return losses


def forward_transfer(a: AccuracyMatrix) -> float | None:
    """mean_{j=2..T} (A[j-1, j] - A[0, j]), over T - 1; positive = earlier stages help (GEM, arXiv:1706.08840).

    The baseline is the base model's own score, where GEM has a random initialisation. Undefined for one task.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.2, 0.1, 0.1], [0.9, 0.3, 0.6], [0.7, 0.8, 0.2], [0.5, 0.6, 0.9]]
    >>> round(forward_transfer(from_rows(rows)), 6)   # zero-filled base: 0.25; all earlier stages: 0.266667
    0.15
    """
    if not a.ordered:
        return None
    return _mean(_minus(a.scores[j][j], a.scores[0][j]) for j in range(1, len(a.tasks)))


def general_deltas(a: AccuracyMatrix) -> dict[str, float | None]:
    """A[T, s] - A[0, s] for each general suite s; negative = lost ability (arXiv:2507.05386).

    >>> from harness.results.matrix import from_rows
    >>> general_deltas(from_rows([[0.2], [0.9]], general=[[0.5, 0.5], [0.25, None]]))
    {'s1': -0.25, 's2': None}
    """
    return {suite: _minus(a.general[-1][g], a.general[0][g]) for g, suite in enumerate(a.suites)}


def general_delta(a: AccuracyMatrix) -> float | None:
    """mean_s (A[T, s] - A[0, s]), over the number of suites; negative = lost ability (arXiv:2507.05386).

    In points of accuracy, suites of any size alike; not relative to the base (here -0.3). Needs no order of tasks.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.2, 0.1], [0.9, 0.8]]
    >>> round(general_delta(from_rows(rows, general=[[0.5, 0.25], [0.25, 0.225]], joint=True)), 6)
    -0.1375
    """
    return _mean(general_deltas(a).values())


def malformed_share(a: AccuracyMatrix) -> float | None:
    """mean_{j=1..T} M[T, j], M = share of replies without a readable answer; low is good (defined here).

    Over the T tasks after the last stage, tasks of any size alike, as in ``average_accuracy``.

    >>> from dataclasses import replace
    >>> from harness.results.matrix import from_rows
    >>> a = from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]])
    >>> malformed_share(replace(a, malformed=((0.9, 0.9), (0.0, 0.0), (0.5, 0.0))))
    0.25
    """
    return _mean(a.malformed[-1])


_HIGH = "high is good"
_GEM = "arXiv:1706.08840"
_LAI = "arXiv:2507.05386"


def _row(compute: Callable[[AccuracyMatrix], float | None], equation: str, sign: str, source: str) -> Metric:
    return Metric(name=compute.__name__, equation=equation, sign=sign, source=source, compute=compute)


_METRICS = (
    _row(average_accuracy, "mean_{j=1..T} A[T,j]", _HIGH, _GEM),
    _row(learning_accuracy, "mean_{j=1..T} A[j,j]", _HIGH, "MCITlib, arXiv:2508.07307"),
    _row(net_learning, "mean_{j=1..T} (A[j,j] - A[0,j])", _HIGH, "defined here"),
    _row(gain, "mean_{j=1..T} (A[j,j] - A[j-1,j])", _HIGH, "defined here"),
    _row(backward_transfer, "mean_{j=1..T-1} (A[T,j] - A[j,j])", "negative = forgetting", _GEM),
    _row(fm_lai_T, "mean_{j=1..T} (A[T,j] - max_{1<=i<=T} A[i,j])", "<= 0, negative = forgetting", _LAI),
    _row(fm_lai_T1, "mean_{j=1..T-1} (A[T,j] - max_{1<=i<=T} A[i,j])", "<= 0, negative = forgetting", _LAI),
    _row(forward_transfer, "mean_{j=2..T} (A[j-1,j] - A[0,j])", "positive = earlier stages help later tasks", _GEM),
    _row(general_delta, "mean_s (A[T,s] - A[0,s])", "negative = lost ability", _LAI),
    _row(malformed_share, "mean_{j=1..T} M[T,j]", "low is good", "defined here"),
)
ALL: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _METRICS})


def compute_all(a: AccuracyMatrix) -> dict[str, float | None]:
    """Every metric of ``ALL`` by name, in their order; None where undefined."""
    return {name: metric.compute(a) for name, metric in ALL.items()}


__all__ = [
    "ALL", "Metric", "average_accuracy", "backward_transfer", "compute_all", "fm_lai_T", "fm_lai_T1",
    "forward_transfer", "gain", "general_delta", "general_deltas", "learning_accuracy", "malformed_share",
    "net_learning",
]  # fmt: skip
