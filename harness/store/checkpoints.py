"""The store: checkpoints and replies addressed by what made them, and the folders of the runs.

``<out>/checkpoints/<key>/`` holds a finished stage, ``<key>.partial/`` what a killed one resumes from;
``<out>/replies/<key>.parquet`` the replies of one cell; ``<out>/<run id>/`` one run: run.json, costs.json, cells.csv,
replies/, marks/ and verdicts. Everything is written aside and renamed, a checkpoint's manifest last.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.core import Reply, Trained, UserError, Verdict, digest
from harness.digests import keep_digest, share_digest
from harness.lora import PLACE, is_adapter
from harness.store import disk
from harness.store.lineage import (
    CARRY,
    MANIFEST,
    Checkpoint,
    Costs,
    carry_digest,
    load_checkpoint,
    manifest,
)
from harness.store.parts import Parts
from harness.store.tables import Table, from_parquet, to_parquet
from harness.store.typed import SCHEMA, dump
from harness.weights import model_files, weights_digest

CELLS = "cells.csv"
PARTIAL = "partial.json"  # says that an unfinished stage's folder is ours


class Store:
    """The folder given as ``--out``."""

    def __init__(self, root: Path) -> None:
        """Name the folder; it is made when something is written."""
        self.root = root
        self.checkpoints = root / "checkpoints"
        self.replies = root / "replies"

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
            for place in (self.root, self.checkpoints, self.replies, folder, folder / "replies", folder / "marks"):
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

    def begin(self, key: str) -> Path:
        """The folder of an unfinished stage, marked as ours."""
        disk.write(self.partial(key) / PARTIAL, dump({"schema": SCHEMA, "key": key}))
        return self.partial(key)

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

    def verdicts(self, key: str) -> Sequence[Verdict] | None:
        """What the selector of a stage decided: of the finished checkpoint or of the partial one; None without any."""
        for folder in (self.checkpoints / key, self.partial(key)):
            if (folder / "verdicts.parquet").is_file():
                return from_parquet(Verdict, folder / "verdicts.parquet", {"stage": key}).records
        return None

    def save_verdicts(self, key: str, verdicts: Sequence[Verdict], environment: Mapping[str, Any]) -> None:
        """Keep a selector's verdicts with the partial checkpoint, so that a killed stage does not select twice."""
        content = to_parquet(Verdict, verdicts, {"stage": key}, {"environment": environment})
        disk.write(self.partial(key) / "verdicts.parquet", content)

    def finish(
        self,
        key: str,
        trained: Trained,
        *,
        stage: str,
        parent: str,
        reference: str | None,
        costs: Costs,
        inputs: Mapping[str, Any],
        environment: Mapping[str, Any],
    ) -> Checkpoint:
        """Make the model's files that a stage left the checkpoint ``key``, then drop what it could resume from."""
        folder = self.checkpoints / key
        draft = disk.draft_folder(folder)
        verdicts = self.partial(key) / "verdicts.parquet"
        beside = [file for file in (verdicts, trained.log) if file is not None and file.is_file()]
        for file in (*model_files(trained.weights), *beside):
            _copy(file, draft / file.name, share=self.partial(key) in file.parents)
            keep_digest(draft / file.name)
        for file in sorted(trained.carry.rglob("*")) if trained.carry else ():
            if file.is_file():
                target = draft / CARRY / file.relative_to(trained.carry or file)
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(file, target, share=False)
        made = Checkpoint(
            path=folder,
            weights=weights_digest(draft),
            key=key,
            stage=stage,
            parent=parent,
            reference=reference,
            carry=carry_digest(draft),
            costs=costs,
            environment=environment,
        )
        disk.write(draft / MANIFEST, manifest(made, inputs))
        draft.replace(folder)
        disk.flush(self.checkpoints)
        disk.discard(self.partial(key))
        return made

    def place(self, made: Checkpoint, base: Path) -> None:
        """Note beside an adapter where its base lies now. No digest covers that: whoever loads it checks the base."""
        content, file = dump({"folder": str(base.absolute())}), made.path / PLACE
        if is_adapter(made.path) and not (file.is_file() and file.read_bytes() == content):
            disk.write(file, content)

    def replies_file(self, key: Mapping[str, Any]) -> Path:
        """Where the replies of a cell are kept, by all that decides them."""
        return self.replies / f"{digest(key)[:32]}.parquet"

    def parts_of_replies(self, key: Mapping[str, Any]) -> Parts[Reply]:
        """Where the replies of a cell are kept while it is asked."""
        return Parts(Reply, self.replies_file(key).with_suffix(".parts"), key)

    def load_replies(self, key: Mapping[str, Any]) -> Table[Reply] | None:
        """The kept replies of a cell, checked to be its own, or None."""
        path = self.replies_file(key)
        return from_parquet(Reply, path, key) if path.is_file() else None

    def save_replies(self, key: Mapping[str, Any], replies: Sequence[Reply], environment: Mapping[str, Any]) -> None:
        """Keep a cell's replies under what made them, with the environment that did."""
        disk.write(self.replies_file(key), to_parquet(Reply, replies, key, {"environment": environment}))


def _copy(source: Path, target: Path, share: bool) -> None:
    """Copy a file, or only give it a second name (``share``) where the first is about to go; flushed either way."""
    if share:
        try:
            os.link(source, target)
            share_digest(source, target)
        except OSError:  # a disk without hard links
            shutil.copyfile(source, target)
    else:
        shutil.copyfile(source, target)
    disk.flush(target)
