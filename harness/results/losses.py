"""Metrics of the items behind a loss: how many flipped, and whether they became unreadable or wrong.

Between a task's own stage and the end, for the tasks before the last. Letters and None as in
``harness.results.metrics``; n10 = items right just after their stage and wrong at the end, n01 the reverse; an item is
right from a score of 0.5 on. ``only`` are the tasks that are counted; all of them where none is named.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.results.flips import Flips
from harness.results.learning import Only
from harness.results.matrix import AccuracyMatrix
from harness.results.undefined import Value, add, chosen, mean_over, minus, ratio, times


def _early(a: AccuracyMatrix, read: Callable[[Flips], Value]) -> dict[str, Value]:
    """A number of the flips of every task but the last; empty where nobody counted them."""
    early = zip(a.tasks[:-1], a.flips[:-1], strict=True) if a.ordered and a.flips else ()
    return {task: None if flipped is None else read(flipped) for task, flipped in early}


def loss_rate(a: AccuracyMatrix, only: Only = None) -> Value:
    """sum_{j<T} n10[j]/n[j] / sum_{j<T} right[j]/n[j]; low is good (flips: post-forget, lm-evaluation-harness#3831).

    Of the items that were right just after their stage, the share that is wrong at the end. Two arms of one backward
    transfer (here zero) can differ in it. Tasks of any size count alike. Not over all items (here 0.25).

    >>> from dataclasses import replace
    >>> from harness.results.matrix import from_rows
    >>> flipped = Flips(lost=50, won=50, right=100, n=200)
    >>> a = replace(from_rows([[0.2, 0.1], [0.5, 0.1], [0.5, 0.6]]), flips=(flipped, None))
    >>> loss_rate(a), win_rate(a), churn(a)
    (0.5, 0.5, 0.5)
    """
    lost, right = _early(a, lambda f: f.lost / f.n), _early(a, lambda f: f.right / f.n)
    return ratio(add(*chosen(lost, only)), add(*chosen(right, only)))


def win_rate(a: AccuracyMatrix, only: Only = None) -> Value:
    """sum_{j<T} n01[j]/n[j] / sum_{j<T} wrong[j]/n[j]; high is good (flips, as ``loss_rate``).

    Of the items that were wrong just after their stage, the share that is right at the end. Not over all items (here
    0.1), by which a task that is known already can win little.

    >>> from dataclasses import replace
    >>> from harness.results.matrix import from_rows
    >>> flipped = Flips(lost=0, won=20, right=120, n=200)
    >>> win_rate(replace(from_rows([[0.2, 0.1], [0.6, 0.1], [0.7, 0.6]]), flips=(flipped, None)))
    0.25
    """
    won, wrong = _early(a, lambda f: f.won / f.n), _early(a, lambda f: (f.n - f.right) / f.n)
    return ratio(add(*chosen(won, only)), add(*chosen(wrong, only)))


def churn(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T-1} (n10[j] + n01[j]) / n[j], over T - 1; low = replies stay (flips, as ``loss_rate``).

    What moved at all: a difference of means (here 0.1, as a share of n: (n01 - n10) / n) hides it.

    >>> from dataclasses import replace
    >>> from harness.results.matrix import from_rows
    >>> flipped = Flips(lost=20, won=40, right=100, n=200)
    >>> churn(replace(from_rows([[0.2, 0.1], [0.5, 0.1], [0.6, 0.6]]), flips=(flipped, None)))
    0.3
    """
    return mean_over(_early(a, lambda f: f.churn), only)


def chance_adjusted_forgetting(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_j max(0, n10/n - (1 - a0)(1 - a1)/(k - 1)); positive = forgetting (arXiv:2510.17776).

    a0 and a1 are the shares right before and after, k an item's options; of items with several k the mean of
    1 / (k - 1). What a guess among k options would lose by being made anew is taken off (n10/n is 0.25 here). Over the
    tasks before the last whose items have options; undefined where none has.

    >>> from dataclasses import replace
    >>> from harness.results.matrix import from_rows
    >>> flipped = Flips(lost=50, won=30, right=120, n=200, odds=1 / 3)
    >>> a = replace(from_rows([[0.2, 0.1], [0.6, 0.1], [0.5, 0.6]]), flips=(flipped, None))
    >>> round(chance_adjusted_forgetting(a), 6)
    0.183333
    """
    terms = _early(a, lambda f: f.lost_beyond_chance)
    with_options = {task for task, flipped in zip(a.tasks, a.flips, strict=False) if flipped and flipped.odds is None}
    return mean_over({task: value for task, value in terms.items() if task not in with_options}, only)


def format_part(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T-1} (q0 + q1)/2 (s1 - s0), over T - 1; negative = replies became unreadable (defined here).

    s = readable share, q = accuracy among the readable, A = s q; 0 just after the task's own stage, 1 at the end. With
    ``knowledge_part`` it adds up to backward_transfer, exactly. Superficial forgetting in the words of SEFE
    (arXiv:2505.02486). Not the change of the malformed share (here 0.5). Undefined where nothing can be read.

    >>> from dataclasses import replace
    >>> from harness.results.matrix import from_rows
    >>> a = from_rows([[0.2, 0.1], [0.8, 0.1], [0.3, 0.6]])
    >>> a = replace(a, malformed=((0.0, 0.0), (0.0, 0.0), (0.5, 0.0)))
    >>> round(format_part(a), 6), round(knowledge_part(a), 6)
    (-0.35, -0.15)
    """
    return mean_over(_parts(a, of_format=True), only)


def knowledge_part(a: AccuracyMatrix, only: Only = None) -> Value:
    """mean_{j=1..T-1} (s0 + s1)/2 (q1 - q0), over T - 1; negative = readable replies became wrong (defined here).

    Letters as in ``format_part``, with which it adds up to backward_transfer. Essential forgetting in the words of SEFE
    (arXiv:2505.02486). Not the change of the accuracy among the readable (here -0.2). Undefined where nothing can be
    read.

    >>> from dataclasses import replace
    >>> from harness.results.matrix import from_rows
    >>> a = from_rows([[0.2, 0.1], [0.8, 0.1], [0.3, 0.6]])
    >>> a = replace(a, malformed=((0.0, 0.0), (0.0, 0.0), (0.5, 0.0)))
    >>> round(knowledge_part(a), 6)
    -0.15
    """
    return mean_over(_parts(a, of_format=False), only)


def _parts(a: AccuracyMatrix, *, of_format: bool) -> dict[str, Value]:
    """The format part or the knowledge part of each task's change between its own stage and the end, but the last's."""
    found: dict[str, Value] = {}
    for j, task in enumerate(a.tasks[:-1] if a.ordered else ()):
        readable = [minus(1.0, row[j]) for row in (a.malformed[j + 1], a.malformed[-1])]
        right = [ratio(row[j], s) for row, s in zip((a.scores[j + 1], a.scores[-1]), readable, strict=True)]
        moved, kept = (readable, right) if of_format else (right, readable)
        found[task] = times(times(0.5, add(*kept)), minus(moved[1], moved[0]))
    return found


__all__ = [
    "chance_adjusted_forgetting", "churn", "format_part", "knowledge_part", "loss_rate", "win_rate",
]  # fmt: skip
