"""Tables of accuracies: a row a stage, a column a task, fractions; what a paper prints, so without items.

    stage,scienceqa,gqa,mmmu
    0,0.61,0.55,0.52
    scienceqa,0.93,0.54,
    gqa,0.90,0.71,0.50

Stage 0 (or "base") is the base model, an empty field is not observed. Stages are named by the task that they train, or
numbered; columns that no stage trains are general suites.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.core import Stream, UserError, slug
from harness.results.cells import csv_rows
from harness.results.matrix import BASE, AccuracyMatrix
from harness.scoring.scored import JOINT, Scored, digest_of
from harness.values import cut, is_number

STAGE = "stage"
_NUMBER = re.compile(r"[0-9]{1,4}")
_FRACTION = re.compile(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?", re.IGNORECASE)


def score_matrices(paths: Sequence[Path], style: str, stream: Stream | None = None) -> Scored:
    """The tables of files, each a seed of one arm; ``stream`` says which columns are tasks, in which order.

    Raises:
        UserError: naming file and row, where a table is malformed, or two differ in their stages or columns.
    """
    tables = [read(path, style, stream) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        for what in ("stages", "tasks", "suites"):
            if (mine := getattr(table, what)) != (first := getattr(tables[0], what)):
                raise UserError(
                    f"{cut(str(path))} has other {what} ({', '.join(mine)}) than {cut(str(paths[0]))}"
                    f" ({', '.join(first)}): tables of one arm are alike"
                )
    return Scored(
        source="matrix",
        style=style,
        seeds=tuple(path.name for path in paths),
        matrices=tuple(tables),
        inputs={str(path): digest_of(path) for path in paths},
    )


def read(path: Path, style: str, stream: Stream | None = None) -> AccuracyMatrix:
    """The matrix of one file. Raises UserError naming the row where it is malformed."""
    rows = csv_rows(path)
    columns = list(rows[0]) if rows else []
    if columns[:1] != [STAGE] or len(columns) < 2:
        raise UserError(
            f"{cut(str(path))} has no table: begin with the header stage,<task>,<task>,... and a row a stage"
        )
    columns = [slug(name) for name in columns[1:]]
    found: dict[str, dict[str, float | None]] = {}
    for number, row in enumerate(rows, start=2):
        name = BASE if row[STAGE] in ("0", BASE) else row[STAGE]
        if name in found:
            raise UserError(f"{cut(str(path))} row {number} is a second row of stage {cut(repr(name), 60)}: keep one")
        found[name] = {column: _fraction(path, number, column, row[column]) for column in columns}
    stages = [name for name in found if name != BASE]
    tasks, suites, names = _shape(path, columns, stages, stream)
    trained = (tasks,) if names == [JOINT] else tuple((task,) for task in tasks)
    keys = dict(zip(names, _keys(names, found), strict=True))

    def table(wanted: Sequence[str]) -> tuple[tuple[float | None, ...], ...]:
        ordered = [found.get(BASE, {}), *(found.get(keys[name], {}) for name in names)]
        return tuple(tuple(row.get(column) for column in wanted) for row in ordered)

    return AccuracyMatrix(
        style=style,
        stages=(BASE, *names),
        trained=trained,
        tasks=tasks,
        suites=suites,
        scores=table(tasks),
        general=table(suites),
        malformed=tuple((None,) * len(tasks) for _ in range(len(names) + 1)),
    )


def _keys(names: Sequence[str], found: dict[str, dict[str, float | None]]) -> list[str]:
    """The name of each stage's row in the file: its own, or its number."""
    return [name if name in found else str(number) for number, name in enumerate(names, start=1)]


def _shape(
    path: Path, columns: Sequence[str], stages: Sequence[str], stream: Stream | None
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """The tasks, the suites and the names of the stages of a table."""
    where = cut(str(path))
    if not stages:
        raise UserError(f"{where} has no row after the base's: give one for each stage")
    numbered = all(_NUMBER.fullmatch(name) for name in stages)
    if stream is not None:
        if strange := [name for name in columns if name not in (*stream.tasks, *stream.general)]:
            raise UserError(f"{where} has a column {strange[0]}, which is not of stream {stream.name}: leave it out")
        tasks, suites = stream.tasks, stream.general
    elif numbered:
        if [int(name) for name in stages] != list(range(1, len(columns) + 1)):
            raise UserError(
                f"{where} has {len(columns)} columns and the stages {', '.join(stages[:9])}: number them"
                f" from 1 to {len(columns)}, column j the task of stage j; or name them by their tasks, or add --seq"
            )
        tasks, suites = tuple(columns), ()
    else:
        tasks = tuple(columns) if list(stages) == [JOINT] else tuple(name for name in stages if name in columns)
        suites = tuple(name for name in columns if name not in tasks)
    names = [JOINT] if list(stages) == [JOINT] else list(tasks)
    for place, name in enumerate(stages):
        known = int(name) <= len(names) and int(name) > 0 if numbered else name in names
        if not known or (stream is None and not numbered and names[place] != name):
            raise UserError(f"{where}: {cut(repr(name), 60)} is no stage of {', '.join(names) or 'its columns'}")
    return tasks, suites, names


def _fraction(path: Path, number: int, column: str, text: str) -> float | None:
    """A field as a fraction; None where it is empty."""
    if not text.strip():
        return None
    where = f"{cut(str(path))} row {number}, {column}"
    if not _FRACTION.fullmatch(text.strip()):
        raise UserError(f"{where}: {cut(repr(text), 40)} is no fraction: write 0.613, or leave it empty")
    value = float(text)
    if not is_number(value, 0, 1):
        raise UserError(
            f"{where}: {cut(text, 40)} is above 1: tables hold fractions, write {value / 100:g} for {value:g}%"
        )
    return value


__all__ = ["read", "score_matrices"]
