"""What was scored, as an arm of the statistics: its items by seed and stage, in one style."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.core import OWN_STYLE, UserError
from harness.results.arms import Arm, Column, column_of
from harness.results.cells import safe
from harness.scoring.scored import Scored
from harness.store import disk

MARKS = ("run", "stage", "stage_name", "task", "style", "example", "group", "score", "malformed")


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


def write_marks(scored: Scored, path: Path) -> None:
    """Write the marks as a table that ``harness compare`` takes: an item of a cell a row, CSV or parquet by the name.

    Raises:
        UserError: where there are none, or the name ends otherwise.
    """
    import pandas

    if not scored.marks:
        raise UserError("a table of accuracies has no marks to write: leave out --marks")
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path} names no table: end it in .csv or .parquet")
    names = scored.matrices[0].stages
    rows = [
        (run, stage, names[stage], task, scored.style, example, group, score, unread)
        for run, marks in zip(scored.seeds, scored.marks, strict=True)
        for (stage, task, style), found in marks.items()
        if style in (scored.style, OWN_STYLE)
        for example, group, score, unread in zip(
            found.examples, found.groups, found.scores, found.malformed, strict=True
        )
    ]
    table = pandas.DataFrame(rows, columns=MARKS)
    if path.suffix == ".csv":
        for name in ("run", "task", "example", "group"):
            table[name] = table[name].map(safe)
        content = table.to_csv(index=False, lineterminator="\n").encode()
    else:
        content = table.to_parquet(index=False)
    disk.write(path, content)


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


__all__ = ["MARKS", "arm_of_scored", "write_marks"]
