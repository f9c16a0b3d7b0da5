"""The marks of a run by stage, task and style: what flips and intervals are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from harness.core import Mark, Reply, UserError
from harness.results.published import PublishedRun
from harness.store.record import read_record
from harness.store.tables import from_parquet

MARKS = "marks.parquet"
ROUNDING = 1e-9
Place = tuple[int, str, str]
COLUMNS = ("stage", "task", "style", "example", "group", "score", "malformed")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The items of one cell in their order: ids, groups (items that share a picture), scores (fractions), unreadable.

    ``malformed`` is empty where nobody noted which replies could not be read.
    """

    examples: tuple[str, ...]
    groups: tuple[str, ...]
    scores: tuple[float, ...]
    malformed: tuple[bool, ...] = ()


def read_marks(folder: Path) -> Mapping[Place, Scores]:
    """The scores of every cell of a run's folder, published or of a store, by (stage, task, style).

    Raises:
        UserError: where they are damaged, missing, or hold an item of a cell twice.
    """
    if not (folder / MARKS).exists() and (folder / "marks").is_dir():
        return _of_a_store(folder)
    import pyarrow
    import pyarrow.parquet

    path = folder / MARKS
    try:
        table = pyarrow.parquet.read_table(path, columns=list(COLUMNS)).to_pandas()
    except (OSError, pyarrow.ArrowException) as fault:
        raise UserError(f"{path} is missing or damaged: publish the run again") from fault
    if table.isna().any(axis=None) or table.duplicated(["stage", "task", "style", "example"]).any():
        raise UserError(f"{path} has empty fields, or an item of a cell twice: publish the run again")
    found = {}
    for (stage, task, style), rows in table.groupby(["stage", "task", "style"], sort=False, observed=True):
        found[int(str(stage)), str(task), str(style)] = Scores(
            examples=tuple(map(str, rows["example"])),
            groups=tuple(map(str, rows["group"])),
            scores=tuple(map(float, rows["score"])),
            malformed=tuple(map(bool, rows["malformed"])),
        )
    return found


def _of_a_store(folder: Path) -> Mapping[Place, Scores]:
    """The scores of a run that is not published: a file of marks and one of replies for every cell."""
    from harness.observe import file_name

    found = {}
    for one in read_record(folder).observations:
        name = "" if one.kind == "probe" else file_name(one)
        if not name or not (folder / "marks" / name).exists():
            continue
        marks = from_parquet(Mark, folder / "marks" / name).records
        groups = {reply.example: reply.group for reply in from_parquet(Reply, folder / "replies" / name).records}
        found[one.stage, one.name, one.style] = Scores(
            examples=tuple(mark.example for mark in marks),
            groups=tuple(groups[mark.example] for mark in marks),
            scores=tuple(mark.score for mark in marks),
            malformed=tuple(mark.malformed for mark in marks),
        )
    return found


def marks_of(run: PublishedRun, folder: Path) -> Mapping[Place, Scores]:
    """The marks of a run's cells. Raises UserError where they are damaged, or are not those that the cells count."""
    marks, found = read_marks(folder), {}
    for cell in run.cells:
        place = cell.stage, cell.task, cell.style
        scores = marks[place].scores if place in marks else ()
        if len(scores) != cell.n or abs(fmean(scores) - cell.score) > ROUNDING:
            name = f"{cell.stage_name}/{cell.task}/{cell.style}"
            raise UserError(f"the cell {name} of {run.id} does not follow from its marks: publish the run again")
        found[place] = marks[place]
    return found


__all__ = ["MARKS", "Place", "Scores", "marks_of", "read_marks"]
