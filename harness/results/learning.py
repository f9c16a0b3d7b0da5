"""Metrics of what was learned, and of what is there at the end. Letters and None as in ``harness.results.metrics``.

``only`` are the tasks (or suites) that are averaged over; all of them where none is named.
"""

from __future__ import annotations

from collections.abc import Collection

from harness.results.matrix import AccuracyMatrix
from harness.results.undefined import Value, mean, mean_over, minus

Only = Collection[str] | None


def average_accuracy(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T} A[T, j], the mean over all T tasks after the last stage; high is good (GEM, arXiv:1706.08840).

    Also called AvgAcc, ACC, MFN, OP. Not MAA, the mean over stages of the mean over the tasks seen so far (here 0.8).

    >>> from harness.results.matrix import from_rows
    >>> average_accuracy(from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]]))
    0.7
    """
    return mean_over(dict(zip(a.tasks, a.final, strict=True)), only)


def mean_average_accuracy(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{i=1..T} mean_{j=1..i} A[i, j], over T stages; high is good (MAA: SEFE, arXiv:2505.02486).

    Each stage counts alike, so early tasks are in it most often. Not average_accuracy, its last term (here 0.7). With
    ``only``, the stages at which none of those tasks was seen are left out.

    >>> from harness.results.matrix import from_rows
    >>> round(mean_average_accuracy(from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]])), 6)
    0.8
    """
    if not a.ordered:
        return None
    seen = [
        [a.scores[i][j] for j in range(i) if only is None or a.tasks[j] in only] for i in range(1, len(a.tasks) + 1)
    ]
    return mean(mean(row) for row in seen if row)


def learning_accuracy(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T} A[j, j], each task just after its own stage; high is good (MCITlib, arXiv:2508.07307).

    Also called MFT, New.ACC, plasticity. It counts what the base already knew; ``gain`` does not.

    >>> from harness.results.matrix import from_rows
    >>> round(learning_accuracy(from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]])), 6)
    0.85
    """
    return mean_over({task: a.scores[j + 1][j] for j, task in enumerate(a.tasks)}, only) if a.ordered else None


def net_by_task(a: AccuracyMatrix) -> dict[str, Value]:
    """A[j, j] - A[0, j] for each task; empty where tasks have no order."""
    return {task: minus(a.scores[j + 1][j], a.scores[0][j]) for j, task in enumerate(a.tasks) if a.ordered}


def net_learning(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T} (A[j, j] - A[0, j]), what was learned against the base; high is good (defined here).

    Arms are compared at equal net learning. ``gain`` rewards destruction: a stage that learns again what an earlier one
    broke counts as gain there (here 0.6), and not here.

    >>> from harness.results.matrix import from_rows
    >>> round(net_learning(from_rows([[0.2, 0.3], [0.9, 0.1], [0.6, 0.6]])), 6)
    0.5
    """
    return mean_over(net_by_task(a), only)


def gain(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T} (A[j, j] - A[j-1, j]), what a stage itself adds to its task; high is good (defined here).

    Against the stage before, not against the base, which would credit a stage with what earlier ones did (here 0.7).

    >>> from harness.results.matrix import from_rows
    >>> round(gain(from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]])), 6)
    0.6
    """
    if not a.ordered:
        return None
    return mean_over({task: minus(a.scores[j + 1][j], a.scores[j][j]) for j, task in enumerate(a.tasks)}, only)


def forward_transfer(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=2..T} (A[j-1, j] - A[0, j]), over T - 1; positive = earlier stages help (GEM, arXiv:1706.08840).

    The baseline is the base model's own score, where GEM has a random initialisation. Undefined for one task.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.2, 0.1, 0.1], [0.9, 0.3, 0.6], [0.7, 0.8, 0.2], [0.5, 0.6, 0.9]]
    >>> round(forward_transfer(from_rows(rows)), 6)   # zero-filled base: 0.25; all earlier stages: 0.266667
    0.15
    """
    if not a.ordered:
        return None
    return mean_over({task: minus(a.scores[j][j], a.scores[0][j]) for j, task in enumerate(a.tasks) if j}, only)


def intransigence(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T} (J[j] - A[j, j]), J = joint training on all T tasks; high = fails to learn (arXiv:1801.10112).

    RWalk trains a joint model on tasks 1..j for each j; here one joint run over all T stands for all of them. Not a
    score against the final row, which would count forgetting too (here 0.25). Undefined without a joint run.

    >>> from dataclasses import replace
    >>> from harness.results.matrix import from_rows
    >>> a = replace(from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]]), joint=(1.0, 0.9))
    >>> round(intransigence(a), 6)
    0.1
    """
    if not a.ordered or not a.joint:
        return None
    return mean_over({task: minus(a.joint[j], a.scores[j + 1][j]) for j, task in enumerate(a.tasks)}, only)


def general_deltas(a: AccuracyMatrix) -> dict[str, Value]:
    """A[T, s] - A[0, s] for each general suite s; negative = lost ability (arXiv:2507.05386).

    >>> from harness.results.matrix import from_rows
    >>> general_deltas(from_rows([[0.2], [0.9]], general=[[0.5, 0.5], [0.25, None]]))
    {'s1': -0.25, 's2': None}
    """
    return {suite: minus(a.general[-1][g], a.general[0][g]) for g, suite in enumerate(a.suites)}


def general_delta(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_s (A[T, s] - A[0, s]), over the number of suites; negative = lost ability (arXiv:2507.05386).

    In points of accuracy, suites of any size alike; not relative to the base (here -0.3). Needs no order of tasks.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.2, 0.1], [0.9, 0.8]]
    >>> round(general_delta(from_rows(rows, general=[[0.5, 0.25], [0.25, 0.225]], joint=True)), 6)
    -0.1375
    """
    return mean_over(general_deltas(a), only)


def malformed_share(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T} M[T, j], M = share of replies without a readable answer; low is good (defined here).

    Over the T tasks after the last stage, tasks of any size alike, as in ``average_accuracy``.

    >>> from dataclasses import replace
    >>> from harness.results.matrix import from_rows
    >>> a = from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]])
    >>> malformed_share(replace(a, malformed=((0.9, 0.9), (0.0, 0.0), (0.5, 0.0))))
    0.25
    """
    return mean_over(dict(zip(a.tasks, a.malformed[-1], strict=True)), only)


__all__ = [
    "Only", "average_accuracy", "forward_transfer", "gain", "general_delta", "general_deltas", "intransigence",
    "learning_accuracy", "malformed_share", "mean_average_accuracy", "net_by_task", "net_learning",
]  # fmt: skip
