"""Looking after a store: its runs, what they hold on disk, and what may be removed.

Only what carries our own manifest or record is ever removed. Whatever else lies in the folder is left and named.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.core import UserError
from harness.store import disk
from harness.store.checkpoints import PARTIAL, Store
from harness.store.lineage import MANIFEST, Manifest
from harness.store.record import RECORD, RunRecord, read_record
from harness.store.typed import decode
from harness.values import cut


@dataclass(frozen=True, kw_only=True)
class PartialMark:
    """What partial.json holds: whose unfinished stage the folder is."""

    schema: int
    key: str


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One run of a store: its record and folder, whether a process works on it, and its size without checkpoints."""

    record: RunRecord
    folder: Path
    working: bool
    bytes: int

    @property
    def id(self) -> str:
        """The run's name."""
        return self.record.id

    @property
    def finished(self) -> bool:
        """Whether all of it is done."""
        return self.record.finished

    @property
    def keys(self) -> tuple[str, ...]:
        """The checkpoints that it refers to."""
        return tuple(stage.key for stage in self.record.stages if stage.key)


def list_runs(store: Store) -> tuple[tuple[RunInfo, ...], tuple[str, ...]]:
    """The runs of the store, by id; and a line for each folder with a run.json that is damaged or not ours."""
    runs, strangers = [], []
    for folder in _folders(store.root):
        if not os.path.lexists(folder / RECORD):
            continue
        try:
            if folder.is_symlink():
                raise UserError(f"{folder} is a symbolic link: it is left as it is")
            runs.append(_info(folder))
        except UserError as fault:
            strangers.append(str(fault))
    return tuple(runs), tuple(strangers)


def _folders(root: Path) -> Iterator[Path]:
    """The visible folders of a place, sorted; none where there is no such place."""
    with disk.refusing_disk_faults(root):
        found = sorted(root.iterdir()) if root.is_dir() else []
    return (path for path in found if not path.name.startswith(".") and path.is_dir())


def _info(folder: Path) -> RunInfo:
    record = read_record(folder)
    working = disk.Lock(folder / "lock").held_elsewhere()
    return RunInfo(record=record, folder=folder, working=working, bytes=disk.size(folder))


def run_folder(store: Store, name: str) -> Path:
    """The folder of a run, by its id or its first letters.

    Raises UserError, naming the nearest id, where no run or more than one begins like that.
    """
    known = [folder.name for folder in _folders(store.root) if os.path.lexists(folder / RECORD)]
    fitting = [name] if name in known else [run_id for run_id in known if run_id.startswith(name)]
    if len(fitting) > 1:
        raise UserError(f"{len(fitting)} runs begin with {name!r}: write more of the id, such as {fitting[0]}")
    if not fitting:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"`harness runs list` names those in {store.root}"
        raise UserError(f"unknown run {name!r}: {hint}")
    return store.root / fitting[0]


def remove_run(store: Store, name: str) -> int:
    """Remove a run's folder, not its checkpoints, and give the bytes freed; refused while a process works on it."""
    folder = run_folder(store, name)
    with disk.refusing_disk_faults(folder):
        if folder.is_symlink():
            raise UserError(f"{folder} is a symbolic link, no run's folder: remove the link yourself")
        read_record(folder)  # what is no run of ours is not ours to remove
        lock = disk.Lock(folder / "lock")
        if not lock.take():
            raise UserError(f"process {lock.owner()} works on run {folder.name}: wait for it or stop it")
        with lock:
            freed = disk.size(folder)
            disk.discard(folder)
    return freed


def collect_garbage(store: Store, budget: int) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...]]:
    """Remove checkpoints until the store is within ``budget`` bytes.

    Gives the names removed with their bytes, and a line for each thing that is not ours. First go those that no run
    refers to, then those that only finished runs refer to, the oldest first. Never replies, nor what an unfinished or a
    running run refers to.
    """
    if budget < 0:
        raise UserError(f"a disk budget of {budget} bytes is negative: give 0 or more")
    if not store.checkpoints.is_dir():
        return (), ()
    removed: list[tuple[str, int]] = []
    with disk.refusing_disk_faults(store.root), store.guard():
        for place in (store.root, store.checkpoints, store.replies):
            disk.sweep(place)
        total = disk.size(store.root)
        candidates, strangers = _removable(store)
        for folder in candidates:
            if total <= budget:
                break
            lock = store.stage_lock(folder.name.removesuffix(".partial"))
            if not lock.take():
                continue
            with lock:
                removed.append((folder.name, disk.size(folder)))
                disk.discard(folder)
            total -= removed[-1][1]
    return tuple(removed), strangers


def _removable(store: Store) -> tuple[list[Path], tuple[str, ...]]:
    """Checkpoints in the order in which they may be removed, and a line for each folder that is no checkpoint."""
    runs, strangers = list_runs(store)
    needed = {key for run in runs if run.working or not run.finished for key in run.keys}
    used = {key for run in runs for key in run.keys}
    found, others = [], list(strangers)
    for path in _folders(store.checkpoints):
        if fault := _not_ours(path):
            others.append(f"{path} is no checkpoint of this project ({fault}): it is left as it is")
        elif path.name.removesuffix(".partial") not in needed:
            found.append(path)
    order = sorted(found, key=lambda path: (path.name.removesuffix(".partial") in used, path.stat().st_mtime, path))
    return order, tuple(others)


def _not_ours(folder: Path) -> str:
    """Why a folder is no checkpoint that we wrote; empty where it is one."""
    if folder.is_symlink():
        return "a symbolic link"
    partial = folder.name.endswith(".partial")
    try:
        if partial:
            key = decode(PartialMark, folder / PARTIAL, "it is not ours").key
        else:
            key = decode(Manifest, folder / MANIFEST, "it is not ours").key
    except FileNotFoundError:
        return f"it has no {PARTIAL if partial else MANIFEST}"
    except UserError as fault:
        return cut(str(fault))
    return "" if key == folder.name.removesuffix(".partial") else f"its manifest names {cut(key, 40)}"


__all__ = ["RunInfo", "collect_garbage", "list_runs", "remove_run", "run_folder"]
