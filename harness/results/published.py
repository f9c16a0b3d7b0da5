"""Published runs, read back from results/runs/<id>/: what leaderboard and figures are made of. Light to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core import LATER, Cell, Detail, UserError, digest, slug
from harness.results.cells import read_cells
from harness.results.details import DETAILS, read_details
from harness.results.matrix import BASE, AccuracyMatrix, from_cells
from harness.store.record import RECORD, RunRecord, read_costs, read_record
from harness.values import cut

RUNS = "runs"
CELLS = "cells.csv"
# What a scale has that runs need not share to be compared: where the model lies, what steps cost, how work is spread,
# and the learning rates, of which a run's own is part of its recipe.
APART = ("model", "cite", "seconds", "observers", "ranks", "rates", "rollout_memory")


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """A run's record (run.json) and its cells, with the names that tables and figures need.

    ``scorer`` names the second scorer that the cells are marked by; it is empty where they are by the tasks' own.
    """

    record: RunRecord
    cells: tuple[Cell, ...]
    scorer: str = ""

    @property
    def id(self) -> str:
        """The run's name."""
        return self.record.id

    @property
    def paradigm(self) -> str:
        """The paradigm's name."""
        return str(self.record.paradigm["name"])

    @property
    def stream(self) -> str:
        """The stream's name."""
        return str(self.record.stream["name"])

    @property
    def scale(self) -> str:
        """The scale's name."""
        return str(self.record.scale["name"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.record.seed

    @property
    def tasks(self) -> tuple[str, ...]:
        """The stream's tasks in their order."""
        return self.record.tasks

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites that are watched but never trained."""
        return self.record.suites

    @property
    def style(self) -> str:
        """The style that the paradigm trains and is headlined in."""
        return self.record.style

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles that tasks were observed in, the paradigm's own first."""
        return (self.style, *sorted({cell.style for cell in self.cells if cell.task in self.tasks} - {self.style}))

    @property
    def stages(self) -> tuple[str, ...]:
        """The rows that the run must have, base first."""
        return (BASE, *(stage.name for stage in self.record.stages))

    @property
    def task_digest(self) -> str:
        """Twelve hex digits over what was asked and how it was marked: data, scorers and engine of every column."""
        asked = {(cell.task, cell.style, cell.decoding, cell.data, cell.scorer, cell.engine) for cell in self.cells}
        return digest(sorted(asked))[:12]

    @property
    def group(self) -> str:
        """Twelve hex digits over what runs must share to be ranked together: stream, scale, base and what was asked.

        Where the model lies is not part of it: the digest of the base's weights is. Nor is any citation.
        """
        said = {name: _without_empty(value) for name, value in self.record.scale.items() if name not in APART}
        scale = _without_later(said)
        stream = {name: value for name, value in self.record.stream.items() if name != "cite"}
        return digest([stream, scale, self.record.base, self.task_digest])[:12]

    @property
    def recipe(self) -> str:
        """Twelve hex digits over the paradigm but its citation, and its rate: means are taken over equal ones only."""
        paradigm = _without_later({name: value for name, value in self.record.paradigm.items() if name != "cite"})
        learner, rates = self.record.paradigm.get("learner"), self.record.scale.get("rates")
        named = learner.get("name") if isinstance(learner, dict) else None
        return digest([paradigm, rates.get(named) if isinstance(rates, dict) else None])[:12]

    def matrix(self, style: str | None = None) -> AccuracyMatrix:
        """The accuracy matrix in a style; in the paradigm's own where none is named."""
        return from_cells(
            self.cells,
            style=style or self.style,
            tasks=self.tasks,
            general=self.suites,
            stages=[(stage.name, stage.tasks) for stage in self.record.stages],
        )

    def missing(self) -> list[str]:
        """The cells that the run was to have and lacks, as "stage/task/style"."""
        found = {(cell.stage, cell.task, cell.style) for cell in self.cells}
        return [
            f"{one.stage_name}/{one.name}/{one.style}"
            for one in self.record.observations
            if one.kind != "probe" and (one.stage, one.name, one.style) not in found
        ]


def _without_later(fields: Mapping[str, object]) -> dict[str, object]:
    """A noun's recorded fields without those that came later and are not set, nor named by a learner or selector."""
    found = {name: value for name, value in fields.items() if name not in LATER or value != LATER[name]}
    for name, part in found.items():
        if isinstance(part, dict) and isinstance(part.get("obeys"), list):
            found[name] = {**part, "obeys": [field for field in part["obeys"] if field not in LATER]}
    return found


def _without_empty(value: object) -> object:
    """A recorded value without the fields of its nouns that are empty: those came when no run had anything in them."""
    if not isinstance(value, dict):
        return value
    return {name: _without_empty(part) for name, part in value.items() if part != []}


def table_of(name: str, scorer: str) -> str:
    """The file of a table by a second scorer; the table's own name where there is none.

    >>> table_of("cells.csv", "single"), table_of("cells.csv", "")
    ('cells.single.csv', 'cells.csv')
    """
    return name.replace(".", f".{slug(scorer)}.", 1) if scorer else name


def second_scorers(folder: Path) -> list[str]:
    """The names of the second scorers that a run's folder has cells of. Raises UserError for what is no name."""
    return sorted(slug(path.name[len("cells.") : -len(".csv")]) for path in folder.glob("cells.*.csv"))


def read_parts(folder: Path, scorer: str = "") -> list[Detail]:
    """The further numbers of a run's cells; by a second scorer where one is named.

    Raises:
        UserError: where there are none, or the file is malformed.
    """
    record, file = read_record(folder), folder / table_of(DETAILS, scorer)
    if not file.exists():
        named = f" --scorer {scorer}" if scorer else ""
        raise UserError(
            f"{folder} has no {file.name}: `harness remark {record.id}{named}` makes it where a task has a breakdown"
        )
    return read_details(file)


def read_run(folder: Path, scorer: str = "") -> PublishedRun:
    """The record and the cells of a run's folder, published or not; by a second scorer where one is named.

    Raises:
        UserError: where the folder is no run's or a file of it is malformed.
    """
    record, file = read_record(folder), folder / table_of(CELLS, scorer)
    if not file.exists():
        mend = f"`harness remark {record.id} --scorer {scorer}` makes it" if scorer else "finish the run by its command"
        raise UserError(f"{folder} has no {file.name}: {mend}, or restore the file")
    cells = read_cells(file)
    if stranger := next((cell.run for cell in cells if cell.run != record.id), None):
        raise UserError(f"{file} holds cells of the run {stranger}: restore the file")
    return PublishedRun(record=record, cells=tuple(cells), scorer=scorer)


def published(results: Path, ids: Sequence[str] = ()) -> list[PublishedRun]:
    """The published runs of a results folder, sorted by id; or those named, in the order given.

    Raises:
        UserError: where a run that is named is not published, or a published one is malformed.
    """
    folder = results / RUNS
    if ids:
        known = {path.name for path in folder.glob("*") if (path / RECORD).is_file()}
        for name in ids:
            if slug(name) not in known:
                raise UserError(f"run {name!r} is not published in {results}: publish it, or use `harness leaderboard`")
        return [read_run(folder / name) for name in ids]
    return [read_run(path) for path in sorted(folder.glob("*")) if path.is_dir() and not path.name.startswith(".")]


def sound_runs(results: Path) -> tuple[list[PublishedRun], tuple[str, ...]]:
    """The published runs that can be read, sorted by id, and a line for each other folder: one hinders no others."""
    runs, damaged = [], []
    for path in sorted((results / RUNS).glob("*")):
        if path.is_dir() and not path.name.startswith("."):
            try:
                run = read_run(path)
                for style in run.styles:
                    run.matrix(style)
                runs.append(run)
            except UserError as fault:
                damaged.append(f"{cut(str(fault), 500)} (left out)")
    return runs, tuple(damaged)


__all__ = [
    "CELLS", "RECORD", "RUNS", "PublishedRun", "published", "read_costs", "read_parts", "read_run", "second_scorers",
    "sound_runs", "table_of",
]  # fmt: skip
