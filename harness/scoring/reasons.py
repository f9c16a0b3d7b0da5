"""Why a metric cannot be given: found by filling in what is missing, never by a list of what each metric needs.

A metric is a pure function of the matrix, so what it needs is what must not be left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from harness.results.flips import Flips
from harness.results.matrix import AccuracyMatrix
from harness.results.metrics import ALL

SHOWN = 3
TABLES = ("scores", "general", "malformed")
Hole = tuple[str, int, int]


def why_not(name: str, a: AccuracyMatrix, *, items: bool, options: bool = False) -> str:
    """Why a metric that is undefined for a matrix is so, in some words; empty where the cells are not why.

    ``items`` says whether the items are known, ``options`` whether some have options to choose from.

    >>> from harness.results.matrix import from_rows
    >>> why_not("backward_transfer", from_rows([[None, 0.1], [0.9, 0.3], [None, 0.8]]), items=True)
    'not observed: t1 after t2'
    >>> why_not("loss_rate", from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]]), items=False)
    'a table of accuracies does not say which items flip'
    """
    holes = [
        (table, row, column)
        for table in TABLES
        for row, values in enumerate(getattr(a, table))
        for column, value in enumerate(values)
        if value is None
    ]

    def defined(filled: Collection[Hole], flips: bool = True, odds: bool = True, joint: bool = True) -> bool:
        return ALL[name].compute(_filled(a, filled, flips, odds, joint)) is not None

    if not defined(holes):
        return _by_shape(name, a)
    if not a.joint and not defined(holes, joint=False):
        return "what joint training reaches is not given"
    if not items and not defined(holes, flips=False):
        return "a table of accuracies does not say which items flip"
    if not items and not defined([hole for hole in holes if hole[0] != "malformed"]):
        return "a table of accuracies does not say which replies can be read"
    if not options and not defined(holes, odds=False):
        return "no task whose items all have options"
    return _cells(a, [hole for hole in holes if not defined([one for one in holes if one != hole])])


def _by_shape(name: str, a: AccuracyMatrix) -> str:
    """Why a whole matrix of this shape has no such metric."""
    if ALL[name].of_suites and not a.suites:
        return "no general suites"
    if not a.ordered:
        return "its stages are not the tasks one by one"
    return "one task alone has no earlier one" if len(a.tasks) == 1 else "a quotient by zero"


def _cells(a: AccuracyMatrix, holes: Sequence[Hole]) -> str:
    """The cells that are missing, in words."""
    names = list(dict.fromkeys(f"{_column(a, table)[column]} after {a.stages[row]}" for table, row, column in holes))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"not observed: {', '.join(names[:SHOWN])}{more}" if names else ""


def _column(a: AccuracyMatrix, table: str) -> tuple[str, ...]:
    return a.suites if table == "general" else a.tasks


def _filled(a: AccuracyMatrix, holes: Collection[Hole], flips: bool, odds: bool, joint: bool) -> AccuracyMatrix:
    """The matrix with a number in these holes, and with flips of the tasks whose two cells are there."""
    tables = {name: [list(row) for row in getattr(a, name)] for name in TABLES}
    for table, row, column in holes:
        tables[table][row][column] = 0.5
    scores, general, malformed = (tuple(map(tuple, tables[name])) for name in TABLES)
    some = Flips(lost=0.25, won=0.25, right=0.5, n=1.0, odds=0.5 if odds else None)
    known = [
        some if None not in (scores[min(own, len(scores) - 1)][own - 1], scores[-1][own - 1]) else None
        for own in range(1, len(a.tasks) + 1)
    ]
    return replace(
        a,
        scores=scores,
        general=general,
        malformed=malformed,
        flips=tuple(known) if flips and a.ordered else (),
        joint=(0.5,) * len(a.tasks) if joint else a.joint,
    )


__all__ = ["why_not"]
