"""Metrics of what was forgotten, by the scores of cells. Letters and None as in ``harness.results.metrics``.

``only`` are the tasks that are averaged over; all of the metric's where none is named.
"""

from __future__ import annotations

from harness.results.learning import Only
from harness.results.matrix import AccuracyMatrix
from harness.results.undefined import Value, add, chosen, largest, mean_over, minus, ratio


def _since_learned(a: AccuracyMatrix) -> dict[str, Value]:
    """A[T, j] - A[j, j] for each task; 0 for the last one."""
    return {task: minus(a.scores[-1][j], a.scores[j + 1][j]) for j, task in enumerate(a.tasks) if a.ordered}


def _but_last(terms: dict[str, Value]) -> dict[str, Value]:
    return dict(list(terms.items())[:-1])


def backward_transfer(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T-1} (A[T, j] - A[j, j]), over T - 1; negative = forgetting (GEM, arXiv:1706.08840).

    The last task is not in it; over T it would be backward_transfer_T (here -0.2). CGL calls it FM; Avalanche reports
    its negative. Undefined for one task.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.2, 0.1, 0.1], [0.9, 0.3, 0.1], [0.7, 0.8, 0.2], [0.5, 0.6, 0.9]]
    >>> round(backward_transfer(from_rows(rows)), 6)
    -0.3
    """
    return mean_over(_but_last(_since_learned(a)), only)


def backward_transfer_T(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T} (A[T, j] - A[j, j]), over T; negative = forgetting (SEFE, arXiv:2505.02486; MCITlib).

    The last task's term is always zero, so this is average_accuracy - learning_accuracy (MFN - MFT), and smaller in
    size than backward_transfer (here -0.3).

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.2, 0.1, 0.1], [0.9, 0.3, 0.1], [0.7, 0.8, 0.2], [0.5, 0.6, 0.9]]
    >>> round(backward_transfer_T(from_rows(rows)), 6)
    -0.2
    """
    return mean_over(_since_learned(a), only)


def _from_peak(a: AccuracyMatrix) -> dict[str, Value]:
    """A[T, j] - max_{1<=i<=T} A[i, j] for each task; None where the column has a hole below the base."""
    columns = {task: [row[j] for row in a.scores[1:]] for j, task in enumerate(a.tasks) if a.ordered}
    return {task: minus(column[-1], largest(column)) for task, column in columns.items()}


def fm_lai_T(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T} (A[T, j] - max_{1<=i<=T} A[i, j]), over T; <= 0, negative = forgetting (arXiv:2507.05386).

    The peak is over all trained stages, before the task's own stage too; the base row is not in it. The paper's
    denominator and its base row are not visible in the sources at hand, so ``fm_lai_T1`` stands beside it.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.95, 0.1], [0.9, 0.9], [0.6, 0.8]]   # base above the peak of t1; t2 peaks before its stage
    >>> round(fm_lai_T(from_rows(rows)), 6), round(backward_transfer(from_rows(rows)), 6)
    (-0.2, -0.3)
    """
    return mean_over(_from_peak(a), only)


def fm_lai_T1(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T-1} (A[T, j] - max_{1<=i<=T} A[i, j]), over T - 1; <= 0, negative = forgetting (arXiv:2507.05386).

    As ``fm_lai_T`` without the last task. Undefined for one task.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.95, 0.1, 0.1], [0.7, 0.9, 0.1], [0.9, 0.8, 0.1], [0.6, 0.8, 0.7]]   # t1 peaks after t2's stage
    >>> [round(metric(from_rows(rows)), 6) for metric in (fm_lai_T1, fm_lai_T, backward_transfer)]
    [-0.2, -0.133333, -0.05]
    """
    return mean_over(_but_last(_from_peak(a)), only)


def forgetting_chaudhry(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T-1} (max_{1<=i<=T-1} A[i, j] - A[T, j]), over T - 1; positive = forgetting (RWalk, arXiv:1801.10112).

    The final row is not in the peak, so a task that ends at its best counts as less than zero; the sign is that of a
    loss. The peak may lie before the task's own stage, which ``forgetting_since_learned`` leaves out.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.5, 0.1, 0.1], [0.7, 0.9, 0.1], [0.6, 0.8, 0.1], [0.8, 0.6, 0.7]]
    >>> a = from_rows(rows)   # t1 ends at its best; t2 peaks before its own stage
    >>> [round(metric(a), 6) for metric in (forgetting_chaudhry, fm_lai_T1, forgetting_since_learned)]
    [0.1, -0.15, -0.05]
    """
    gone = _from_earlier_peak(a, from_own=False)
    return mean_over({task: minus(0.0, change) for task, change in gone.items()}, only)


def forgetting_since_learned(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T-1} (A[T, j] - max_{j<=i<=T-1} A[i, j]), over T - 1; negative = forgetting (Continual-NExT's FOR).

    The peak is from the task's own stage on; the final row is not in it.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.5, 0.1, 0.1], [0.7, 0.9, 0.1], [0.9, 0.8, 0.1], [0.8, 0.6, 0.7]]
    >>> a = from_rows(rows)   # t1 peaks after its own stage, t2 before it
    >>> [round(metric(a), 6) for metric in (forgetting_since_learned, forgetting_chaudhry, backward_transfer)]
    [-0.15, 0.2, -0.05]
    """
    return mean_over(_from_earlier_peak(a, from_own=True), only)


def _from_earlier_peak(a: AccuracyMatrix, *, from_own: bool) -> dict[str, Value]:
    """A[T, j] - the best of the rows before T, from the task's own stage on or from the first, for j < T."""
    early = enumerate(a.tasks[:-1] if a.ordered else ())
    peaks = {task: largest(row[j] for row in a.scores[j + 1 if from_own else 1 : -1]) for j, task in early}
    return {task: minus(a.scores[-1][j], peak) for j, (task, peak) in enumerate(peaks.items())}


def retention(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T-1} A[T, j] / A[j, j], over T - 1; 1 = all kept (the recipes of SDFT, arXiv:2601.19897).

    What the base could do and nobody touched counts as kept: here nothing that was learned is left of t1, half of it
    of t2, and three quarters are "retained"; ``gain_retained`` says what is. Undefined where A[j, j] is zero.

    >>> from harness.results.matrix import from_rows
    >>> a = from_rows([[0.6, 0.4, 0.1], [0.9, 0.4, 0.1], [0.9, 0.6, 0.1], [0.6, 0.5, 0.7]])
    >>> round(retention(a), 6), round(gain_retained(a), 6)
    (0.75, 0.2)
    """
    if not a.ordered:
        return None
    kept = {task: ratio(a.scores[-1][j], a.scores[j + 1][j]) for j, task in enumerate(a.tasks)}
    return mean_over(_but_last(kept), only)


def gain_retained(a: AccuracyMatrix, only: Only = None) -> Value:
    """sum_{j<T} (A[T, j] - A[0, j]) / sum_{j<T} (A[j, j] - A[0, j]); 1 = all that was learned is kept (defined here).

    A quotient of sums: the mean of the tasks' quotients would be ruled by tasks that were hardly learned (here 0.25).
    Undefined where the sum below is zero; read it only where net learning is well above zero.

    >>> from harness.results.matrix import from_rows
    >>> rows = [[0.6, 0.4, 0.1], [0.9, 0.4, 0.1], [0.9, 0.6, 0.1], [0.6, 0.5, 0.7]]
    >>> round(gain_retained(from_rows(rows)), 6)
    0.2
    """
    if not a.ordered:
        return None
    early = range(len(a.tasks) - 1)
    left = {a.tasks[j]: minus(a.scores[-1][j], a.scores[0][j]) for j in early}
    learned = {a.tasks[j]: minus(a.scores[j + 1][j], a.scores[0][j]) for j in early}
    return ratio(add(*chosen(left, only)), add(*chosen(learned, only)))


__all__ = [
    "backward_transfer", "backward_transfer_T", "fm_lai_T", "fm_lai_T1", "forgetting_chaudhry",
    "forgetting_since_learned", "gain_retained", "retention",
]  # fmt: skip
