"""Replies of an unknown engine: a file of task, stage, id and reply, marked by the one marking function.

JSONL (an object a line) or parquet. A cell that the file has nothing of is not observed; a cell that it has in part is
refused, because half a cell is another test. Replies are data, whatever stands in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.asking.evaluate import cell_of
from harness.core import Cell, Observation, Reply, Run, UserError
from harness.observe import UNKNOWN, View, view_of
from harness.results.marks import Place, Scores
from harness.results.matrix import BASE, from_cells
from harness.run_inputs import run_stages
from harness.scoring.scored import JOINT, Scored, asked_run, digest_of, options_of, scores_of, wanted_cells
from harness.values import cut

COLUMNS = ("task", "stage", "id", "reply")
SHOWN = 3

Row = tuple[str, str, str, str]
Said = dict[tuple[str, str], dict[str, str]]  # (stage, task) -> id -> reply


def score_predictions(paths: Sequence[Path], run: Run, style: str) -> Scored:
    """The replies of files, each a seed of one arm, to the items of ``run``, read in one style.

    Raises:
        UserError: naming the row, where a file is malformed; or the ids that are unknown, missing or twice there.
    """
    said = [read(path) for path in paths]
    stages = {stage for one in said for stage, _ in one}
    run = asked_run(run, [JOINT] if JOINT in stages else [])
    view = view_of(run, None)
    names = [BASE, *(stage.name for stage in run_stages(run))]
    found = [_marked(path, one, view, names, wanted_cells(run, [style])) for path, one in zip(paths, said, strict=True)]
    rows = [(stage.name, stage.tasks) for stage in run_stages(run)]
    return Scored(
        source="predictions",
        style=style,
        seeds=tuple(f"{path.name}" for path in paths),
        matrices=tuple(
            from_cells(cells, style=style, tasks=run.stream.tasks, general=run.stream.general, stages=rows)
            for cells, _ in found
        ),
        marks=tuple(marks for _, marks in found),
        options=options_of(view.asked),
        cells=tuple(cell for cells, _ in found for cell in cells),
        inputs={str(path): digest_of(path) for path in paths},
    )


def _marked(
    path: Path, said: Said, view: View, names: Sequence[str], wanted: Sequence[Observation]
) -> tuple[list[Cell], dict[Place, Scores]]:
    """The cells of a file, and the scores of their items."""
    given = _by_place(path, said, names, wanted)
    cells, marks = [], {}
    for one in wanted:
        if (one.stage, one.name) not in given:
            continue
        replies = _in_order(path, one, view, given[one.stage, one.name])
        marked = view.marks(one, replies)
        cells.append(
            cell_of(
                replies,
                marked,
                one,
                run=cut(path.name, 200),
                scorer=view.scorer(one.name),
                engine=view.engine,
                weights=UNKNOWN,
                data=view.asked[one.name].data,
            )
        )
        marks[one.stage, one.name, one.style] = scores_of([reply.group for reply in replies], marked)
    return cells, marks


def _by_place(
    path: Path, said: Said, names: Sequence[str], wanted: Sequence[Observation]
) -> dict[tuple[int, str], dict[str, str]]:
    """The replies of a file by the number of the stage and the task, of which the file may call stages by name."""
    numbers = {**{str(number): number for number in range(len(names))}, **{name: n for n, name in enumerate(names)}}
    columns = list(dict.fromkeys(one.name for one in wanted))
    given: dict[tuple[int, str], dict[str, str]] = {}
    for (stage, task), replies in said.items():
        if task not in columns or stage not in numbers:
            what, known = (f"task {task!r}", columns) if task not in columns else (f"stage {stage!r}", names)
            raise UserError(f"{cut(str(path))}: {cut(what, 60)} is unknown: use one of {', '.join(known)}")
        if (numbers[stage], task) in given:
            raise UserError(f"{cut(str(path))} calls stage {names[numbers[stage]]} by two names: use one of them")
        given[numbers[stage], task] = replies
    return given


def _in_order(path: Path, seen: Observation, view: View, given: Mapping[str, str]) -> list[Reply]:
    """The replies of a cell in the order of its items. Raises UserError where they are to other items than those."""
    examples = view.asked[seen.name].examples
    known = {example.id for example in examples}
    where = f"{cut(str(path))}: {seen.name} after {seen.stage_name}"
    if strange := [name for name in given if name not in known]:
        raise UserError(f"{where} has {_named(strange, 'unknown id')}: the items asked are {examples[0].id}, ...")
    if missing := [example.id for example in examples if example.id not in given]:
        raise UserError(f"{where} lacks {_named(missing, 'id')} of {len(known)}: a cell is whole or left out")
    return [
        Reply(example=one.id, group=one.group, prompt_digest="", text=given[one.id], tokens=0, truncated=False)
        for one in examples
    ]


def _named(names: Sequence[str], what: str) -> str:
    """How many names there are of what, and the first of them."""
    first = ", ".join(cut(repr(name), 60) for name in names[:SHOWN])
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} {what}{'s' * (len(names) > 1)} ({first}{more})"


def read(path: Path) -> Said:
    """The replies of a file by stage and task, and in them by id.

    Raises:
        UserError: naming the row, where it is malformed or an id stands twice in a cell.
    """
    said: Said = {}
    twice: dict[tuple[str, str], list[str]] = {}
    for task, stage, name, reply in _rows(path):
        cell = said.setdefault((stage, task), {})
        if name in cell:
            twice.setdefault((stage, task), []).append(name)
        cell[name] = reply
    for (stage, task), names in twice.items():
        where = f"{cut(str(path))}: {cut(task, 60)} after {cut(stage, 60)}"
        raise UserError(f"{where} has {_named(names, 'id')} more than once: keep one reply of each")
    if not said:
        raise UserError(f"{cut(str(path))} holds no predictions: give rows of {', '.join(COLUMNS)}")
    return said


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file of predictions, checked."""
    if not path.is_file():
        raise UserError(f"{cut(str(path))} is no file: give predictions as JSONL or parquet")
    rows = _of_parquet(path) if path.suffix == ".parquet" else _of_lines(path)
    for number, row in rows:
        if not isinstance(row, dict) or not set(COLUMNS) <= set(row):
            raise UserError(f"{cut(str(path))} row {number} lacks one of {', '.join(COLUMNS)}")
        task, stage, name, reply = (row[column] for column in COLUMNS)
        if type(stage) is int:
            stage = str(stage)
        if not all(isinstance(value, str) for value in (task, stage, name, reply)):
            raise UserError(f"{cut(str(path))} row {number}: {', '.join(COLUMNS)} are texts, a stage may be a number")
        yield task, stage, name, reply


def _of_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as fault:
                    raise UserError(f"{cut(str(path))} row {number} is no JSON ({cut(str(fault), 80)})") from fault


def _of_parquet(path: Path) -> Iterable[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        if missing := [name for name in COLUMNS if name not in file.schema_arrow.names]:
            raise UserError(f"{cut(str(path))} has no column {missing[0]}: give {', '.join(COLUMNS)}")
        rows = (row for batch in file.iter_batches(columns=list(COLUMNS)) for row in batch.to_pylist())
        yield from enumerate(rows, start=1)
    except (pyarrow.ArrowException, OSError) as fault:
        raise UserError(f"{cut(str(path))} is no parquet file, or is cut short: write it again") from fault


__all__ = ["COLUMNS", "read", "score_predictions"]
