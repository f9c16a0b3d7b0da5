"""Published runs, read back from results/runs/<id>/: what leaderboard and figures are made of. Light to import."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Cell, UserError, digest
from harness.registry import slug
from harness.results.cells import read_cells
from harness.results.matrix import BASE, AccuracyMatrix, from_cells

RUNS = "runs"
CELLS = "cells.csv"
RECORD = "run.json"
COSTS = "costs.json"
ITEMS = "items.parquet"


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """A run's record (run.json) and its cells, with the names that tables and figures need."""

    id: str
    record: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def paradigm(self) -> str:
        """The paradigm's name."""
        return str(self.record["run"]["paradigm"]["name"])

    @property
    def stream(self) -> str:
        """The stream's name."""
        return str(self.record["run"]["stream"]["name"])

    @property
    def scale(self) -> str:
        """The scale's name."""
        return str(self.record["run"]["scale"]["name"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.record["run"]["seed"])

    @property
    def tasks(self) -> tuple[str, ...]:
        """The stream's tasks in their order."""
        return tuple(self.record["run"]["stream"]["tasks"])

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites that are watched but never trained."""
        return tuple(self.record["run"]["stream"]["general"])

    @property
    def style(self) -> str:
        """The style that the paradigm trains and is headlined in."""
        style = self.record["run"]["paradigm"]["style"]
        return str(style["name"] if isinstance(style, dict) else style)

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles that cells were observed in, the paradigm's own first."""
        return (self.style, *sorted({cell.style for cell in self.cells} - {self.style}))

    @property
    def stages(self) -> tuple[str, ...]:
        """The rows that the run must have, base first."""
        names = [str(stage["name"] if isinstance(stage, dict) else stage) for stage in self.record["stages"]]
        return (BASE, *(name for name in names if name != BASE))

    @property
    def task_digest(self) -> str:
        """Twelve hex digits over what was asked: the hand-raised versions of tasks and suites, and their test data."""
        data = {name: sorted({cell.data for cell in self.cells if cell.task == name}) for name in self._columns}
        versions = {name: self.record["task_versions"].get(name) for name in self._columns}
        return digest([versions, data])[:12]

    @property
    def group(self) -> str:
        """Twelve hex digits over what runs must share to be ranked together: stream, scale, base and tasks.

        Where the model lies is not part of it: the digest of the base's weights is.
        """
        scale = {name: value for name, value in self.record["run"]["scale"].items() if name not in ("model", "cite")}
        return digest([self.record["run"]["stream"], scale, self.record["base_digest"], self.task_digest])[:12]

    @property
    def recipe(self) -> str:
        """Twelve hex digits over the whole paradigm, so that means are taken over equal ones only."""
        return digest(self.record["run"]["paradigm"])[:12]

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*self.tasks, *self.suites)

    def matrix(self, style: str | None = None) -> AccuracyMatrix:
        """The accuracy matrix in a style; in the paradigm's own where none is named."""
        return from_cells(
            self.cells, style=style or self.style, tasks=self.tasks, general=self.suites, stages=self.stages
        )

    def missing(self, styles: Sequence[str]) -> list[str]:
        """The cells that a whole run has and this one lacks, as "stage/task/style"."""
        found = {(cell.stage, cell.task, cell.style) for cell in self.cells}
        return [
            f"{name}/{column}/{style}"
            for i, name in enumerate(self.stages)
            for column in self._columns
            for style in styles
            if (i, column, style) not in found
        ]


def read_run(folder: Path) -> PublishedRun:
    """The record and the cells of a run's folder, published or not.

    Raises:
        UserError: where the folder is no run's or a file of it is malformed.
    """
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no run's folder (it has no {RECORD}): name a folder of runs/") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / RECORD} cannot be read ({type(error).__name__}): restore it") from error
    if fault := _fault(record):
        raise UserError(f"{folder / RECORD} is no run's record ({fault}): restore it or run again")
    if record["id"] != folder.name:
        raise UserError(f"{folder} holds the run {record['id']!r}: give the folder its run's name")
    if not (folder / CELLS).is_file():
        raise UserError(f"{folder} has no {CELLS}: finish the run by its command, or restore the file")
    cells = read_cells(folder / CELLS)
    if stranger := next((cell.run for cell in cells if cell.run != record["id"]), None):
        raise UserError(f"{folder / CELLS} holds cells of the run {stranger}: restore the file")
    return PublishedRun(id=slug(record["id"]), record=record, cells=tuple(cells))


def published(results: Path, ids: Sequence[str] = ()) -> list[PublishedRun]:
    """The published runs of a results folder, sorted by id; or those named, in the order given.

    Raises:
        UserError: where a run that is named is not published, or a published one is malformed.
    """
    folder = results / RUNS
    if ids:
        known = {path.name for path in folder.glob("*") if (path / RECORD).is_file()}
        for name in ids:
            if name not in known:
                raise UserError(f"run {name!r} is not published in {results}: publish it, or use `harness leaderboard`")
        return [read_run(folder / name) for name in ids]
    return [read_run(path) for path in sorted(folder.glob("*")) if path.is_dir() and not path.name.startswith(".")]


_SHAPE: tuple[tuple[tuple[str, ...], type | tuple[type, ...]], ...] = (
    (("id",), str),
    (("base_digest",), str),
    (("task_versions",), dict),
    (("stages",), list),
    (("run", "seed"), int),
    (("run", "paradigm", "name"), str),
    (("run", "paradigm", "style"), (str, dict)),
    (("run", "stream", "name"), str),
    (("run", "stream", "tasks"), list),
    (("run", "stream", "general"), list),
    (("run", "scale", "name"), str),
)


def _fault(record: Any) -> str:
    """What a record lacks, in words; empty where it has all that is read here."""
    for path, kind in _SHAPE:
        value = record
        for key in path:
            if not isinstance(value, dict) or key not in value:
                return f"no {'.'.join(path)}"
            value = value[key]
        if not isinstance(value, kind):
            return f"{'.'.join(path)} is of another type"
    return ""


__all__ = ["CELLS", "COSTS", "ITEMS", "RECORD", "RUNS", "PublishedRun", "published", "read_run"]
