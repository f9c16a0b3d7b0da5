"""What was scored, as an arm of the statistics: its items by seed and stage, in one style."""

from __future__ import annotations

from dataclasses import replace

from harness.core import OWN_STYLE
from harness.results.arms import Arm, Column, column_of
from harness.scoring.scored import Scored


def arm_of_scored(scored: Scored, name: str = "") -> Arm:
    """The arm of what was scored.

    A table of accuracies has a single item in each column, its mean: then an interval over several seeds holds their
    noise and not that of items, and one table alone has none.
    """
    first = scored.matrices[0]
    columns = [_column(scored, column) for column in (*first.tasks, *first.suites)]
    return Arm(
        name=name or scored.source,
        style=scored.style,
        seeds=scored.seeds,
        stages=first.stages,
        trained=first.trained,
        tasks=tuple(columns[: len(first.tasks)]),
        suites=tuple(columns[len(first.tasks) :]),
    )


def _column(scored: Scored, name: str) -> Column:
    """The column of a task or suite; of one that was not observed, or whose items nobody knows, a single item."""
    import numpy

    asked = {task for marks in scored.marks for _, task, style in marks if style in (scored.style, OWN_STYLE)}
    if name in asked:
        column = column_of(name, scored.style, scored.marks, len(scored.matrices[0].stages))
        counts = scored.options.get(name)
        return column if counts is None else replace(column, odds=1 / (numpy.array(counts) - 1.0))
    a = scored.matrices[0]
    values = [
        [row[(a.tasks if name in a.tasks else a.suites).index(name)] for row in table]
        for table in (one.scores if name in a.tasks else one.general for one in scored.matrices)
    ]
    scores = numpy.array([[numpy.nan if value is None else value for value in seed] for seed in values])
    return Column(name=name, items=("mean",), groups=("mean",), scores=scores[:, :, None])


__all__ = ["arm_of_scored"]
