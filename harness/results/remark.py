"""Marking a run's kept replies: once more after a scorer's change, by another scorer, or to see that cells are true.

None of these loads a model. A task's items are loaded again, and must be those that were asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.asking.engines import EngineKind
from harness.asking.evaluate import cell_of
from harness.core import (
    Cell,
    Detail,
    Mark,
    Observation,
    Paradigm,
    Reply,
    Run,
    Scale,
    Stream,
    UserError,
    digest,
    replace,
)
from harness.observe import View, file_name, view_of
from harness.registry import typed
from harness.results.cells import write_cells
from harness.results.details import DETAILS, details_of, write_details
from harness.results.published import CELLS, table_of
from harness.run_inputs import observations
from harness.store import disk
from harness.store.record import Recorder, RunRecord, read_costs, read_record
from harness.store.tables import Table, from_parquet, to_parquet


@dataclass(frozen=True, kw_only=True)
class Marked:
    """An observation's kept replies, their marks as the scorer gives them now, the cell of both, and its details."""

    observation: Observation
    replies: Table[Reply]
    marks: tuple[Mark, ...]
    cell: Cell
    details: tuple[Detail, ...]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A run's view and its kept replies, in the order of cells.csv; they are to the record's prompts and weights."""

    record: RunRecord
    view: View
    replies: tuple[tuple[Observation, Table[Reply]], ...]

    def marked(self, scorer: str = "") -> list[Marked]:
        """Every observation with the marks that its replies get now; by the tasks' own scorers where none is named.

        Raises:
            UserError: where none of the tasks has a scorer of that name.
        """
        view = self.view.by(scorer) if scorer else self.view
        return [self._marked(view, observation, found) for observation, found in self.replies]

    def _marked(self, view: View, observation: Observation, found: Table[Reply]) -> Marked:
        marks = tuple(view.marks(observation, found.records))
        cell = cell_of(
            found.records,
            marks,
            observation,
            run=self.record.id,
            scorer=view.scorer(observation.name),
            engine=str(found.bound["engine"]),
            weights=weights_of(self.record)[observation.stage],
            data=view.asked[observation.name].data,
        )
        details = tuple(details_of(cell, view.parts(observation, marks)))
        return Marked(observation=observation, replies=found, marks=marks, cell=cell, details=details)


def weights_of(record: RunRecord) -> list[str]:
    """The digests of a run's weights by stage, the base's first."""
    return [record.base, *(str(stage.weights) for stage in record.stages)]


def run_of(record: RunRecord, data: Path | None) -> Run:
    """The run that a record tells of, from the nouns that are registered now.

    Raises:
        UserError: where a noun is not registered, or the run was made on other kinds of data.
    """
    if record.official != (data is not None):
        wanted = (
            "on official data: give its folder with --data" if record.official else "on the twins: leave out --data"
        )
        raise UserError(f"run {record.id} was made {wanted}")
    return Run(
        paradigm=typed(Paradigm, str(record.paradigm["name"])),
        stream=replace(typed(Stream, str(record.stream["name"])), general=record.suites),  # as --suites chose them
        scale=typed(Scale, str(record.scale["name"])),
        seed=record.seed,
        limit=record.limit,
        split=record.split,
        data=None if data is None else str(data),
        left_out=_left_out(record),
    )


def _left_out(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """The items that the run did without, as (task, id). Raises UserError where the record does not hold such pairs."""
    found = record.declared.get("left_out", [])
    if not isinstance(found, list) or not all(
        isinstance(one, list) and len(one) == 2 and all(isinstance(name, str) for name in one) for one in found
    ):
        raise UserError(f"run {record.id} does not say which items it left out: give its command again")
    return tuple((task, item) for task, item in found)


def kept(folder: Path, record: RunRecord, data: Path | None) -> Kept:
    """The kept replies of a run's folder, and what they are marked by.

    Raises:
        UserError: where replies are missing, damaged, or to other prompts, pictures or weights than the record's.
    """
    run = run_of(record, data)
    if observations(run) != record.observations:
        raise UserError(
            f"run {record.id} observed other things than {run.paradigm.name} on {run.stream.name} does now: use the"
            " plugins and the version that it was made with"
        )
    view = view_of(run, typed(EngineKind, run.scale.engine))
    weights, replies = weights_of(record), []
    for observation in record.observations:
        if observation.kind == "probe":
            continue
        path = folder / "replies" / file_name(observation)
        if not path.exists():
            raise UserError(f"{path} is missing: give the run's command again to restore it")
        found = from_parquet(Reply, path)
        _same_question(view, observation, found, weights[observation.stage], path)
        replies.append((observation, found))
    return Kept(record=record, view=view, replies=tuple(replies))


def _same_question(view: View, observation: Observation, found: Table[Reply], weights: str, path: Path) -> None:
    """Raise UserError where replies are not those of these weights to these prompts and pictures."""
    for name, wanted in view.key(weights, observation).items():
        if name != "engine" and found.bound.get(name) != wanted:  # replies of other devices may be marked here
            raise UserError(f"{path} holds replies of other {name} than the run's: remove it and run again")


def remark(folder: Path, data: Path | None = None, scorer: str = "") -> tuple[int, int]:
    """Mark a run's replies again, in seconds and without a model; how many of its cells changed, and of how many.

    Cells, details, marks and the record's scorers become those of the tasks as they are registered now. What was
    trained stays as it was: an RFT run that was rewarded by the old scorer is one still, and its checkpoints' keys say
    so. With the name of a second ``scorer`` nothing of that changes: cells and details by it are written beside them.

    Raises:
        UserError: where another process works on the run, its replies are not whole, or no task has such a scorer.
    """
    lock = disk.Lock(folder / "lock")
    if not lock.take():
        raise UserError(f"process {lock.owner()} works on run {folder.name}: wait for it or stop it")
    with lock:
        record = read_record(folder)
        if not record.finished:
            raise UserError(f"run {record.id} is not finished: give its command again first")
        found = kept(folder, record, data).marked(scorer)
        cells, details = folder / table_of(CELLS, scorer), folder / table_of(DETAILS, scorer)
        before = cells.read_bytes().decode().splitlines() if cells.is_file() else []
        after = write_cells([one.cell for one in found])
        if content := write_details([detail for one in found for detail in one.details]):
            disk.write(details, content)
        else:
            details.unlink(missing_ok=True)
        disk.write(cells, after.encode())
        if not scorer:
            for one in found:
                disk.write(folder / "marks" / file_name(one.observation), marks_file(one))
            Recorder(folder, record, read_costs(folder)).marked({one.cell.task: one.cell.scorer for one in found})
    return len(set(after.splitlines()[1:]) - set(before)), len(found)


def marks_file(one: Marked) -> bytes:
    """The marks of an observation as parquet, bound to its replies and scorer."""
    bound = {"replies": digest(one.replies.bound), "scorer": one.cell.scorer, "style": one.observation.style}
    return to_parquet(Mark, one.marks, bound)


__all__ = ["Kept", "Marked", "kept", "marks_file", "remark", "run_of"]
