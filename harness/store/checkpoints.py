"""The store: checkpoints and generated rows addressed by what made them, and the folders of the runs.

``<out>/checkpoints/<key>/`` holds a finished stage, ``<key>.partial/`` what a killed one resumes from;
``<out>/cells/<key>.parquet`` the marked replies of one cell; ``<out>/<run id>/`` one run: run.json, costs.json,
cells.csv, rows/ and verdicts. Everything is written aside and renamed, a checkpoint's manifest last.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Row, UserError, Verdict
from harness.store import disk
from harness.store.lineage import (
    MANIFEST,
    Checkpoint,
    Costs,
    load_checkpoint,
    manifest,
    model_files,
    read_json,
    weights_digest,
)
from harness.store.tables import from_parquet, to_parquet

RECORD = "run.json"
CELLS = "cells.csv"


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One run of a store: its id and folder, whether it is finished, whether a process works on it, and its size.

    ``keys`` are the checkpoints it refers to; ``bytes`` are those of its folder without the checkpoints.
    """

    id: str
    folder: Path
    finished: bool
    working: bool
    keys: tuple[str, ...]
    bytes: int


class Store:
    """The folder given as ``--out``."""

    def __init__(self, root: Path) -> None:
        """Name the folder; it is made when something is written."""
        self.root = root
        self.checkpoints = root / "checkpoints"
        self.cells = root / "cells"

    @contextmanager
    def hold(self, run_id: str) -> Iterator[Path]:
        """Hold a run's lock and give its folder. Raises UserError where another process works on it."""
        folder = self.root / run_id
        lock = disk.Lock(folder / "lock")
        if not lock.take():
            raise UserError(
                f"another process works on run {run_id} (pid {lock.owner()}): wait until it ends, or give another --out"
            )
        with lock:
            for place in (self.root, self.checkpoints, self.cells, folder, folder / "rows"):
                place.mkdir(exist_ok=True)
                disk.sweep(place)
            yield folder

    def guard(self) -> disk.Lock:
        """The lock under which references to checkpoints are written, and under which gc removes what has none."""
        return disk.Lock(self.root / ".lock")

    def stage_lock(self, key: str) -> disk.Lock:
        """The lock under which a checkpoint is made, so that two runs that share a stage train it once."""
        return disk.Lock(self.checkpoints / f"{key}.lock")

    def partial(self, key: str) -> Path:
        """Where an unfinished stage keeps what it resumes from."""
        return self.checkpoints / f"{key}.partial"

    def has(self, key: str) -> bool:
        """Whether there is a folder for a finished checkpoint; ``checkpoint`` looks whether it is sound."""
        return (self.checkpoints / key).exists()

    def checkpoint(self, key: str, parent: str) -> Checkpoint | None:
        """A finished checkpoint, every byte checked, or None. Raises UserError where it is not what was written."""
        folder = self.checkpoints / key
        if not (folder / MANIFEST).is_file():
            if folder.exists():
                raise UserError(f"checkpoint {folder} has no {MANIFEST}: remove the folder to train the stage again")
            return None
        found = load_checkpoint(folder, key, parent)
        if self.partial(key).exists():  # the process was killed between the last two steps of finish()
            disk.discard(self.partial(key))
        return found

    def verdicts(self, key: str) -> list[Verdict] | None:
        """What the filter of a stage decided: of the finished checkpoint or of the partial one; None without any."""
        for folder in (self.checkpoints / key, self.partial(key)):
            if (folder / "verdicts.parquet").is_file():
                return from_parquet(Verdict, folder / "verdicts.parquet")
        return None

    def save_verdicts(self, key: str, verdicts: Sequence[Verdict]) -> None:
        """Keep a filter's verdicts with the partial checkpoint, so that a killed stage does not filter twice."""
        disk.write(self.partial(key) / "verdicts.parquet", to_parquet(Verdict, verdicts))

    def finish(
        self,
        key: str,
        source: Path,
        *,
        stage: str,
        parent: str,
        reference: str | None,
        costs: Costs,
        inputs: Mapping[str, Any],
    ) -> Checkpoint:
        """Make the model's files in ``source`` the checkpoint ``key``, then drop what the stage could resume from."""
        folder = self.checkpoints / key
        draft = disk.aside(folder)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        verdicts = self.partial(key) / "verdicts.parquet"
        for file in (*model_files(source), *([verdicts] if verdicts.is_file() else [])):
            _copy(file, draft / file.name, share=self.partial(key) in file.parents)
        made = Checkpoint(
            path=folder,
            weights=weights_digest(draft),
            key=key,
            stage=stage,
            parent=parent,
            reference=reference,
            costs=costs,
        )
        disk.write(draft / MANIFEST, manifest(made, inputs))
        draft.replace(folder)
        disk.flush(self.checkpoints)
        disk.discard(self.partial(key))
        return made

    def rows(self, key: str) -> list[Row] | None:
        """The cached rows of a cell, or None."""
        path = self.cells / f"{key}.parquet"
        return from_parquet(Row, path) if path.is_file() else None

    def rows_bytes(self, key: str) -> bytes:
        """The cached file of a cell, for a run's own folder."""
        return (self.cells / f"{key}.parquet").read_bytes()

    def save_rows(self, key: str, rows: Sequence[Row]) -> None:
        """Keep a cell's rows under the digest of what made them."""
        disk.write(self.cells / f"{key}.parquet", to_parquet(Row, rows))

    def list_runs(self) -> tuple[RunInfo, ...]:
        """The runs of the store, by id. Raises UserError where a record is damaged."""
        if not self.root.is_dir():
            return ()
        folders = sorted(path.parent for path in self.root.glob(f"*/{RECORD}") if not path.parent.name.startswith("."))
        return tuple(self._info(folder) for folder in folders)

    def _info(self, folder: Path) -> RunInfo:
        record = read_json(folder / RECORD, f"remove the folder {folder}")
        return RunInfo(
            id=folder.name,
            folder=folder,
            finished=record.get("finished") is True,
            working=disk.Lock(folder / "lock").held_elsewhere(),
            keys=tuple(stage["key"] for stage in record.get("stages", ()) if stage.get("key")),
            bytes=disk.size(folder),
        )

    def folder(self, name: str) -> Path:
        """The folder of a run, by its id or its first letters.

        Raises UserError, naming the nearest id, where no run or more than one begins like that.
        """
        known = [info.id for info in self.list_runs()]
        fitting = [name] if name in known else [run_id for run_id in known if run_id.startswith(name)]
        if len(fitting) > 1:
            raise UserError(f"{len(fitting)} runs begin with {name!r}: write more of the id, such as {fitting[0]}")
        if not fitting:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"`harness runs list` names those in {self.root}"
            raise UserError(f"unknown run {name!r}: {hint}")
        return self.root / fitting[0]

    def show(self, name: str) -> dict[str, Any]:
        """The record of a run (run.json), by its id or its first letters."""
        folder = self.folder(name)
        return read_json(folder / RECORD, f"remove the folder {folder}")

    def remove(self, name: str) -> int:
        """Remove a run's folder, not its checkpoints, and give the bytes freed; refused while a process works on it."""
        folder = self.folder(name)
        lock = disk.Lock(folder / "lock")
        with disk.refusing_disk_faults(folder):
            if not lock.take():
                raise UserError(f"process {lock.owner()} works on run {folder.name}: wait for it or stop it")
            with lock:
                freed = disk.size(folder)
                disk.discard(folder)
        return freed

    def gc(self, budget: int) -> tuple[tuple[str, int], ...]:
        """Remove checkpoints until the store is within ``budget`` bytes; gives the names removed and their bytes.

        First those that no run refers to, then those that only finished runs refer to, the oldest first. Never cells,
        nor what an unfinished or a running run refers to.
        """
        if budget < 0:
            raise UserError(f"a disk budget of {budget} bytes is negative: give 0 or more")
        if not self.checkpoints.is_dir():
            return ()
        removed = []
        with disk.refusing_disk_faults(self.root), self.guard():
            for place in (self.root, self.checkpoints, self.cells):
                disk.sweep(place)
            total = disk.size(self.root)
            for folder in self._removable():
                if total <= budget:
                    break
                lock = self.stage_lock(folder.name.removesuffix(".partial"))
                if not lock.take():
                    continue
                with lock:
                    removed.append((folder.name, disk.size(folder)))
                    disk.discard(folder)
                total -= removed[-1][1]
        return tuple(removed)

    def _removable(self) -> list[Path]:
        """Checkpoints in the order in which gc may remove them."""
        runs = self.list_runs()
        needed = {key for run in runs if run.working or not run.finished for key in run.keys}
        used = {key for run in runs for key in run.keys}
        found = [path for path in self.checkpoints.iterdir() if path.is_dir() and not path.name.startswith(".")]
        keys = {path: path.name.removesuffix(".partial") for path in found}
        free = [path for path in found if keys[path] not in needed]
        return sorted(free, key=lambda path: (keys[path] in used, path.stat().st_mtime, path.name))


def _copy(source: Path, target: Path, share: bool) -> None:
    """Copy a file, or only give it a second name (``share``) where the first is about to go; flushed either way."""
    if share:
        try:
            os.link(source, target)
        except OSError:  # a disk without hard links
            shutil.copyfile(source, target)
    else:
        shutil.copyfile(source, target)
    disk.flush(target)
