"""Arithmetic in which what is undefined stays undefined: None in, None out.

A value is a fraction, or an array of them (replicates of a bootstrap by seeds): a metric is written once and computes
both. A quotient by zero is undefined: None for a number, NaN in an array. Standard library, and numpy for arrays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from typing import cast

Value = float | None
NOTHING = 1e-9  # below one item of any cell: what a float leaves where a sum is zero


def mean(values: Iterable[Value]) -> Value:
    """Mean over values; None where one is missing or there are none.

    >>> mean([0.5, 1.0]), mean([0.5, None]), mean([])
    (0.75, None, None)
    """
    found = list(values)
    total = add(*found)
    return None if total is None else total / len(found)


def mean_over(terms: Mapping[str, Value], only: Collection[str] | None) -> Value:
    """Mean over the terms of a metric by task, or over those of ``only``; None where it has none of them.

    >>> mean_over({"gqa": 0.5, "pathvqa": 1.0}, None), mean_over({"gqa": 0.5, "pathvqa": 1.0}, ["gqa"])
    (0.75, 0.5)
    """
    return mean(chosen(terms, only))


def chosen(terms: Mapping[str, Value], only: Collection[str] | None) -> list[Value]:
    """The values of the terms, or of those of ``only``, in the order of the terms."""
    return [value for name, value in terms.items() if only is None or name in only]


def add(*values: Value) -> Value:
    """Sum of values; None where one is missing or there are none."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def minus(left: Value, right: Value) -> Value:
    """Left minus right."""
    return None if left is None or right is None else left - right


def times(left: Value, right: Value) -> Value:
    """Left times right."""
    return None if left is None or right is None else left * right


def ratio(above: Value, below: Value) -> Value:
    """Above divided by below; undefined where below is zero, also when rounding leaves a rest of it.

    >>> ratio(0.5, 0.25), ratio(0.5, 0.0), ratio(0.5, 0.1 + 0.2 - 0.3)
    (2.0, None, None)
    """
    if above is None or below is None:
        return None
    if _is_number(below):
        return above / below if abs(below) > NOTHING else None
    import numpy

    nowhere = numpy.full(numpy.broadcast_shapes(numpy.shape(above), numpy.shape(below)), numpy.nan)
    return cast(float, numpy.divide(above, below, out=nowhere, where=numpy.abs(below) > NOTHING))


def largest(values: Iterable[Value]) -> Value:
    """The largest of values; None where one is missing or there are none.

    >>> largest([0.5, 1.0]), largest([0.5, None])
    (1.0, None)
    """
    found = list(values)
    known = [value for value in found if value is not None]
    return reduce(_larger, known) if known and len(known) == len(found) else None


def _larger(left: float, right: float) -> float:
    if _is_number(left) and _is_number(right):
        return max(left, right)
    import numpy

    return cast(float, numpy.maximum(left, right))


def _is_number(value: object) -> bool:
    """Whether a value is one number, and not an array of replicates."""
    return isinstance(value, (int, float))


__all__ = ["Value", "add", "chosen", "largest", "mean", "mean_over", "minus", "ratio", "times"]
