"""A folder that somebody hands in as a published run: everything that can be looked at without its weights.

Nothing of it is believed. Its files must be those that were sealed, its replies are marked again and must give its
marks and its cells, its stages must follow from one another, its environments must name clean commits, and what other
published runs say of the same weights must agree. What cannot be found without training again: replies that no model
gave, where the whole folder was made up consistently.
"""

from __future__ import annotations

import io
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core import Cell, Observation, Reply, Run, UserError, plain
from harness.observe import View, view_of
from harness.results.cells import read_cells
from harness.results.details import DETAILS
from harness.results.leaderboard import rebuild
from harness.results.probes import PROBES
from harness.results.publish import (
    MARKS,
    REPLIES,
    VERDICTS,
    details_table,
    marks_table,
    probes_table,
    refuse_other_checkpoints,
    refuse_unclean,
    refuse_unfit,
)
from harness.results.published import CELLS, RECORD, RUNS, PublishedRun, read_run, second_scorers, table_of
from harness.results.remark import Kept, Marked, run_of
from harness.results.seal import SEAL, refuse_other_files
from harness.run_inputs import cells_of, declared, observations
from harness.store import disk
from harness.store.checkpoints import Store
from harness.store.record import COSTS
from harness.store.tables import Table
from harness.values import cut

FILES = (RECORD, COSTS, CELLS, REPLIES, MARKS, VERDICTS, PROBES, DETAILS, SEAL)
LARGEST = 2 * 2**30  # bytes of a file
LONGEST = 200_000  # characters of a reply


def faults(folder: Path, results: Path, data: Path | None = None) -> list[str]:
    """What is wrong with a folder that is handed in, a line each; empty where nothing was found.

    ``results`` are the published results that it is to stand beside, ``data`` the official data where it is on that.
    """
    try:
        looked_at = _files(folder)
        run = read_run(folder)
    except UserError as fault:
        return [str(fault)]
    checks: Sequence[Callable[[], object]] = (
        lambda: refuse_other_files(folder),
        lambda: refuse_unfit(run),
        lambda: refuse_other_checkpoints(Store(folder / "no-store"), run),
        lambda: refuse_unclean(run, run.record.environments),
        lambda: refuse_unguarded(plain(run.record), RECORD),
        lambda: refuse_other_versions(run, data),
        lambda: refuse_contradiction(run, results),
        lambda: refuse_other_marks(folder, run, data),
    )
    return looked_at + [line for check in checks for line in _said(check)]


def _said(check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except UserError as fault:
        yield str(fault)


def _files(folder: Path) -> list[str]:
    """A line for each thing in the folder that is no file of a published run."""
    if not folder.is_dir() or folder.is_symlink():
        raise UserError(f"{cut(str(folder))} is no folder: give that of a published run")
    found = []
    second = [table_of(name, scorer) for scorer in second_scorers(folder) for name in (CELLS, DETAILS)]
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        if path.name not in (*FILES, *second):
            found.append(f"{cut(str(path))} is no part of a published run: remove it")
        elif not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise UserError(f"{cut(str(path))} is a link, a folder or too large: put the file itself there")
    return found


def refuse_unguarded(value: Any, where: str) -> None:
    """Raise UserError where a text of a record is not fit to be shown, or names a folder of somebody's machine."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            refuse_unguarded(key, where)
            refuse_unguarded(part, where)
    elif isinstance(value, (list, tuple)):
        for part in value:
            refuse_unguarded(part, where)
    elif isinstance(value, str):
        if not value.isprintable() or "<" in value or len(value) > LONGEST:
            raise UserError(f"{where} holds the text {cut(ascii(value), 60)}, which is not fit to be shown: remove it")
        if value.startswith(("/", "\\\\", "~")) or value[1:3] == ":\\":
            raise UserError(f"{where} names {cut(repr(value), 60)}, a folder of a machine: publish the run again")


def refuse_other_versions(run: PublishedRun, data: Path | None) -> None:
    """Raise UserError where the run is not what its nouns of today would do: another version of a task, style, ...."""
    known, now = run.record.declared, declared(run_of(run.record, data))
    compared = sorted({*known, *now} - {"model"})  # any may be put into a scale; the digest of its weights is recorded
    if other := [name for name in compared if known.get(name) != now.get(name)]:
        raise UserError(
            f"{run.id} was made by other versions of its {', '.join(other)} than are registered: use the plugins and"
            " the version that it was made with, or run it again"
        )


def refuse_contradiction(run: PublishedRun, results: Path) -> None:
    """Raise UserError where a published run has another number for the same weights, items, engine and scorer."""
    mine = {_same(cell): cell for cell in run.cells}
    for folder in sorted((results / RUNS).glob("*")):
        if not (folder / CELLS).is_file() or folder.name.startswith("."):
            continue
        for cell in _cells(folder):
            found = mine.get(_same(cell))
            if found is not None and (found.score, found.malformed) != (cell.score, cell.malformed):
                name = f"{found.stage_name}/{found.task}/{found.style}"
                raise UserError(
                    f"{name} of {run.id} is {found.score:.4f}, but {folder.name} has {cell.score:.4f} of the same"
                    " weights: one of the two is wrong"
                )


def _cells(folder: Path) -> list[Cell]:
    """The cells of a published run; none where they are damaged, which is that run's fault."""
    try:
        return read_cells(folder / CELLS)
    except UserError:
        return []


def _same(cell: Cell) -> tuple[object, ...]:
    """What two cells share that must have one number."""
    return (cell.weights, cell.task, cell.style, cell.decoding, cell.scorer, cell.engine, cell.data, cell.n)


def refuse_other_marks(folder: Path, run: PublishedRun, data: Path | None) -> None:
    """Raise UserError where the replies, marked again, do not give the folder's marks, cells and further numbers."""
    kept = replies_of(folder, run, data)
    found = kept.marked()
    if len(run.cells) != len(found):
        raise UserError(f"{run.id} has {len(run.cells)} cells, but replies of {len(found)}")
    for cell, one in zip(run.cells, found, strict=True):
        if cell != one.cell:
            other = [name for name in plain(cell) if getattr(cell, name) != getattr(one.cell, name)]
            name = f"{cell.stage_name}/{cell.task}/{cell.style}"
            raise UserError(f"the cell {name} of {run.id} does not follow from its replies ({', '.join(other)} differ)")
    scorers, fingerprints = ({one.cell.task: getattr(one.cell, name) for one in found} for name in ("scorer", "data"))
    if (run.record.scorers, run.record.data) != (scorers, fingerprints):
        raise UserError(f"the record of {run.id} names other scorers or data than its cells")
    _same_marks(folder, marks_table(found))
    probes_table(folder, run)
    if run.record.paradigm["select"] and not (folder / VERDICTS).is_file():
        raise UserError(f"{folder.name} has no {VERDICTS}, though its paradigm selects what it learns")
    for scorer in ("", *second_scorers(folder)):
        _same_tables(folder, scorer, kept.marked(scorer))


def take_in(folder: Path, results: Path) -> Path:
    """Copy a sound folder into the published results and rebuild leaderboard.csv; the new place.

    Raises:
        UserError: where other numbers are published under its id.
    """
    target = results / RUNS / folder.name
    if (target / CELLS).is_file() and (target / CELLS).read_bytes() != (folder / CELLS).read_bytes():
        raise UserError(f"{target} holds other numbers of the run {folder.name}: remove that folder to take in these")
    with disk.refusing_disk_faults(results):
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = disk.draft_folder(target)
        try:
            for path in sorted(folder.iterdir()):
                disk.write(draft / path.name, disk.read(path))
            disk.replace_folder(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        rebuild(results)
    return target


def _same_marks(folder: Path, wanted: bytes) -> None:
    """Raise UserError, naming the first row, where the marks are others."""
    import pyarrow.parquet

    said = _parquet(folder / MARKS)
    rows = pyarrow.parquet.read_table(io.BytesIO(wanted)).to_pylist()
    if len(said) != len(rows):
        raise UserError(f"{folder.name}/{MARKS} has {len(said)} marks to {len(rows)} replies")
    for mine, row in zip(said, rows, strict=True):
        if mine != row:
            place = f"{row['example']} after stage {row['stage']} in the style {row['style']}"
            raise UserError(f"{folder.name}/{MARKS}: the mark of {place} is not what its reply gets: it was edited")


def _same_tables(folder: Path, scorer: str, found: Sequence[Marked]) -> None:
    """Raise UserError where the cells of a second scorer, or further numbers, are others than the replies give."""
    if scorer and read_cells(folder / table_of(CELLS, scorer)) != [one.cell for one in found]:
        raise UserError(f"{folder.name}/{table_of(CELLS, scorer)} does not follow from its replies")
    path = folder / table_of(DETAILS, scorer)
    if path.is_file() and path.read_bytes() != details_table(found):
        raise UserError(f"{folder.name}/{path.name} does not follow from its replies")


def replies_of(folder: Path, run: PublishedRun, data: Path | None) -> Kept:
    """The replies of a published folder, in the order of its cells.

    Raises:
        UserError: where a cell has none, too many, twice the same, or replies to other items than are asked.
    """
    asked: Run = run_of(run.record, data)
    if observations(asked) != run.record.observations:
        raise UserError(f"{run.id} observed other things than its paradigm on its stream does: use its plugins")
    view = view_of(asked, None)
    engines = {(cell.stage, cell.task, cell.style): cell.engine for cell in run.cells}
    given: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in _parquet(folder / REPLIES):
        given.setdefault((row["stage"], row["task"], row["style"]), []).append(row)
    looked = cells_of(run.record.observations)
    if strange := set(given) - {(one.stage, one.name, one.style) for one in looked}:
        raise UserError(f"{folder.name}/{REPLIES} has replies of {min(strange)}, which {run.id} does not observe")
    found = []
    for one in looked:
        place = (one.stage, one.name, one.style)
        bound = {"engine": engines.get(place, "")}
        found.append((one, Table(records=_replies(folder, one, view, given.get(place, [])), bound=bound, about={})))
    return Kept(record=run.record, view=view, replies=tuple(found))


def _replies(folder: Path, one: Observation, view: View, rows: Sequence[dict[str, Any]]) -> tuple[Reply, ...]:
    """The replies of a cell. Raises UserError where they are not one to each item that is asked."""
    where = f"{folder.name}/{REPLIES}: {one.stage_name}/{one.name}/{one.style}"
    said = [str(row["example"]) for row in rows]
    wanted = [example.id for example in view.asked[one.name].examples]
    if twice := [name for name, count in Counter(said).items() if count > 1]:
        raise UserError(f"{where} has {len(twice)} items twice ({cut(twice[0], 60)})")
    there = set(said)
    if missing := [name for name in wanted if name not in there]:
        raise UserError(f"{where} lacks {len(missing)} of {len(wanted)} items ({cut(missing[0], 60)})")
    if said != wanted:
        raise UserError(f"{where} has items that are not asked, or in another order")
    groups = [example.group for example in view.asked[one.name].examples]
    if [row["group"] for row in rows] != groups:
        raise UserError(f"{where} puts items into other groups than the task does")
    return tuple(
        Reply(
            example=str(row["example"]), group=str(row["group"]), prompt_digest="", text=str(row["text"]),
            tokens=int(row["tokens"]), truncated=bool(row["truncated"]),
        )
        for row in rows
    )  # fmt: skip


def _parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a parquet file. Raises UserError where it is damaged."""
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_table(path).to_pylist())
    except (pyarrow.ArrowException, OSError) as fault:
        raise UserError(f"{cut(str(path))} is missing, damaged or cut short") from fault


__all__ = ["faults", "replies_of", "take_in"]
