"""The metrics by name: each a pure function of the accuracy matrix, with its equation, sign, denominator and source.

A[i, j] = score on task j after stage i, a fraction; i = 0 is the base model; T tasks and T stages; row T is final.
A metric is None (undefined) where a cell that it needs is missing, and where it needs an order of tasks that the run
does not have (joint training). The same words mean different numbers in the literature; here one name is one formula.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

from harness.results.forgetting import (
    backward_transfer,
    backward_transfer_T,
    fm_lai_T,
    fm_lai_T1,
    forgetting_chaudhry,
    forgetting_since_learned,
    gain_retained,
    retention,
)
from harness.results.learning import (
    Only,
    average_accuracy,
    forward_transfer,
    gain,
    general_delta,
    general_deltas,
    intransigence,
    learning_accuracy,
    malformed_share,
    mean_average_accuracy,
    net_by_task,
    net_learning,
)
from harness.results.losses import (
    chance_adjusted_forgetting,
    churn,
    format_part,
    knowledge_part,
    loss_rate,
    win_rate,
)
from harness.results.matrix import AccuracyMatrix

LEARNED = 0.02  # a task counts as learned when its own stage leaves it this far above the base
Kind = Literal["mean", "ratio", "peak"]


class Formula(Protocol):
    """A metric's function: its mean over the tasks (or suites) ``only``, over all that it has where none is named."""

    __name__: str

    def __call__(self, a: AccuracyMatrix, only: Only = None) -> float | None:
        """The metric; None where it is undefined."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's name, its equation as text, which sign is good or bad, its denominator, its source, and the function.

    ``kind`` says how it depends on the cells, and so how far an interval can be trusted: a mean of them, a ratio, or
    with a peak (a maximum over noisy cells, which exceeds the true one). ``points`` says that it is a difference.
    """

    name: str
    equation: str
    sign: str
    denominator: str
    source: str
    compute: Formula
    kind: Kind = "mean"
    points: bool = True

    @property
    def of_suites(self) -> bool:
        """Whether it is about the general suites instead of the tasks."""
        return self.denominator == "suites"


_HIGH = "high is good"
_LOSS = "negative = forgetting"
_GEM = "GEM, arXiv:1706.08840"
_LAI = "arXiv:2507.05386"
_RWALK = "RWalk, arXiv:1801.10112"
_HERE = "defined here"
_FLIPS = "paired flips, arXiv:2510.17776; right from 0.5 on"


def _row(
    compute: Formula, equation: str, sign: str, denominator: str, source: str, kind: Kind = "mean", points: bool = True
) -> Metric:
    return Metric(
        name=compute.__name__, equation=equation, sign=sign, denominator=denominator, source=source, compute=compute,
        kind=kind, points=points,
    )  # fmt: skip


_METRICS = (
    _row(average_accuracy, "mean_{j=1..T} A[T,j]", _HIGH, "T", _GEM, points=False),
    _row(mean_average_accuracy, "mean_{i=1..T} mean_{j=1..i} A[i,j]", _HIGH, "T stages", "SEFE, arXiv:2505.02486",
         points=False),
    _row(learning_accuracy, "mean_{j=1..T} A[j,j]", _HIGH, "T", "MCITlib, arXiv:2508.07307", points=False),
    _row(net_learning, "mean_{j=1..T} (A[j,j] - A[0,j])", _HIGH, "T", _HERE),
    _row(gain, "mean_{j=1..T} (A[j,j] - A[j-1,j])", _HIGH, "T", _HERE),
    _row(backward_transfer, "mean_{j=1..T-1} (A[T,j] - A[j,j])", _LOSS, "T-1", _GEM),
    _row(backward_transfer_T, "mean_{j=1..T} (A[T,j] - A[j,j])", _LOSS, "T", "SEFE, arXiv:2505.02486; MCITlib"),
    _row(fm_lai_T, "mean_{j=1..T} (A[T,j] - max_{1<=i<=T} A[i,j])", f"<= 0, {_LOSS}", "T", _LAI, "peak"),
    _row(fm_lai_T1, "mean_{j=1..T-1} (A[T,j] - max_{1<=i<=T} A[i,j])", f"<= 0, {_LOSS}", "T-1", _LAI, "peak"),
    _row(forgetting_chaudhry, "mean_{j=1..T-1} (max_{1<=i<=T-1} A[i,j] - A[T,j])", "positive = forgetting", "T-1",
         _RWALK, "peak"),
    _row(forgetting_since_learned, "mean_{j=1..T-1} (A[T,j] - max_{j<=i<=T-1} A[i,j])", _LOSS, "T-1",
         "Continual-NExT's FOR", "peak"),
    _row(format_part, "mean_{j=1..T-1} (q0+q1)/2 (s1-s0), s = readable, A = s q", "negative = became unreadable",
         "T-1", f"{_HERE}, as SEFE's superficial", "ratio"),
    _row(knowledge_part, "mean_{j=1..T-1} (s0+s1)/2 (q1-q0), s = readable, A = s q", "negative = became wrong",
         "T-1", f"{_HERE}, as SEFE's essential", "ratio"),
    _row(retention, "mean_{j=1..T-1} A[T,j] / A[j,j]", "1 = all kept, the base's too", "T-1",
         "SDFT's recipes, arXiv:2601.19897", "ratio", points=False),
    _row(gain_retained, "sum_{j<T} (A[T,j] - A[0,j]) / sum_{j<T} (A[j,j] - A[0,j])", "1 = all learned is kept",
         "sum of gains", _HERE, "ratio", points=False),
    _row(loss_rate, "sum_{j<T} n10/n / sum_{j<T} right/n", "low is good", "right before", _FLIPS, "ratio",
         points=False),
    _row(win_rate, "sum_{j<T} n01/n / sum_{j<T} wrong/n", _HIGH, "wrong before", _FLIPS, "ratio", points=False),
    _row(churn, "mean_{j=1..T-1} (n10 + n01)/n", "low = replies stay", "T-1", _FLIPS, points=False),
    _row(chance_adjusted_forgetting, "mean_j max(0, n10/n - (1-a0)(1-a1)/(k-1))", "positive = forgetting",
         "tasks with options", "arXiv:2510.17776", "ratio"),
    _row(forward_transfer, "mean_{j=2..T} (A[j-1,j] - A[0,j])", "positive = earlier stages help later tasks", "T-1",
         _GEM),
    _row(intransigence, "mean_{j=1..T} (joint[j] - A[j,j])", "high = fails to learn", "T", _RWALK),
    _row(general_delta, "mean_s (A[T,s] - A[0,s])", "negative = lost ability", "suites", _LAI),
    _row(malformed_share, "mean_{j=1..T} M[T,j], M = unreadable", "low is good", "T", _HERE, points=False),
)  # fmt: skip
ALL: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _METRICS})


def compute_all(a: AccuracyMatrix) -> dict[str, float | None]:
    """Every metric of ``ALL`` by name, in their order; None where undefined."""
    return {name: metric.compute(a) for name, metric in ALL.items()}


def by_column(name: str, a: AccuracyMatrix) -> dict[str, float | None]:
    """A metric's value for each task alone (of the suites, where it is about those); None where it has no such term.

    >>> from harness.results.matrix import from_rows
    >>> by_column("net_learning", from_rows([[0.25, 0.5], [0.75, 0.5], [0.5, 0.75]]))
    {'t1': 0.5, 't2': 0.25}
    """
    metric = ALL[name]
    return {column: metric.compute(a, [column]) for column in (a.suites if metric.of_suites else a.tasks)}


def learned(a: AccuracyMatrix, margin: float = LEARNED) -> tuple[str, ...]:
    """The tasks whose own stage left them at least ``margin`` above the base.

    A task that is never learned cannot be forgotten, yet its drift is a part of backward transfer.

    >>> from harness.results.matrix import from_rows
    >>> learned(from_rows([[0.25, 0.5], [0.75, 0.5], [0.5, 0.51]]))
    ('t1',)
    """
    return tuple(task for task, net in net_by_task(a).items() if net is not None and net >= margin)


__all__ = [
    "ALL", "LEARNED", "Formula", "Metric", "average_accuracy", "backward_transfer", "backward_transfer_T",
    "by_column", "chance_adjusted_forgetting", "churn", "compute_all", "fm_lai_T", "fm_lai_T1",
    "forgetting_chaudhry", "forgetting_since_learned", "format_part", "forward_transfer", "gain", "gain_retained",
    "general_delta", "general_deltas", "intransigence", "knowledge_part", "learned", "learning_accuracy",
    "loss_rate", "malformed_share", "mean_average_accuracy", "net_learning", "retention", "win_rate",
]  # fmt: skip
