"""Is a set what the lock file says, whole, and countable? Offline: every byte is read again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from harness.asking.evaluate import open_pictures
from harness.core import Example, Task, UserError, collecting
from harness.data.lock import (
    LOCAL,
    LockedSet,
    differences,
    local_set,
    read_files,
    read_lock,
    set_files,
    set_of,
    write_set,
)
from harness.values import cut

AT_ONCE = 256  # items whose pictures are opened before the next ones are asked for


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A set that was looked at: what is wrong with it, what is worth a note, and how it is locked now, if it is."""

    name: str
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()
    locked: LockedSet | None = None


def verify(data: Path, task: Task, write: bool = False, pictures: bool = False) -> Verified:
    """Read a set again, compare it with the lock file, and count its items; ``pictures`` opens every picture too.

    A set that the lock file lacks is locked, where its counts are those published. ``write`` locks what is there,
    whatever it is.

    Raises:
        UserError: where the lock file itself cannot be read or written.
    """
    name = set_of(data, task)
    locked = read_lock(data).sets.get(name)
    try:
        files = read_files(set_files(data / name, task.sources), {}, afresh=True)
        faults = differences(name, locked.files, files) if locked else []
        if faults and not write:
            return Verified(name=name, faults=tuple(faults), locked=locked)
        splits = read_splits(task, data / name)
        rows = {split: read.broken for split, read in splits.items()}
        looked = splits if pictures else {}
        broken = {split: {**rows[split], **broken_pictures(read.examples, data)} for split, read in looked.items()}
    except UserError as fault:
        return Verified(name=name, faults=(_named(name, str(fault)),), locked=locked)
    counts = {split: read.count for split, read in splits.items()}
    unpublished = miscounted(name, task.counts, counts, "published are")
    accepted = locked is not None and bool(locked.counts)
    faults = miscounted(name, locked.counts, counts, "locked are") if locked and accepted else unpublished
    found = relocked(local_set(files), locked, counts, broken)
    notes = [*(unpublished if accepted or write else []), *_broken_lines(name, {**rows, **broken})]
    if faults and not write:
        return Verified(name=name, faults=tuple(faults), notes=tuple(notes), locked=locked)
    if found != locked:
        write_set(data, name, found)
    return Verified(name=name, faults=(), notes=tuple(notes), locked=found)


def relocked(
    found: LockedSet, locked: LockedSet | None, counts: Mapping[str, int], broken: Mapping[str, dict[str, str]]
) -> LockedSet:
    """What is found, with the source, revision and broken pictures that are known of the very same files."""
    same = locked is not None and locked.fingerprint == found.fingerprint
    known = locked.broken if locked and same else {}
    return replace(
        found,
        source=locked.source if locked and same else LOCAL,
        revision=locked.revision if locked and same else "",
        counts=dict(counts),
        broken={**known, **broken},
    )


@dataclass(frozen=True, kw_only=True)
class Split:
    """The items of a split as its loader gives them, and why each broken row cannot be one."""

    examples: Sequence[Example]
    broken: dict[str, str]

    @property
    def count(self) -> int:
        """The rows of the split, usable or not."""
        return len(self.examples) + len(self.broken)


def read_splits(task: Task, folder: Path) -> dict[str, Split]:
    """Each published split as the task's loader gives it. Raises UserError where one cannot be read at all."""
    if task.official is None:
        raise UserError(f"task {task.name} has no loader for official data")
    found = {}
    for split in task.counts:
        with collecting() as faults:
            examples = task.official(folder, split)
        found[split] = Split(examples=examples, broken={fault.item: cut(fault.reason) for fault in faults})
    return found


def miscounted(name: str, wanted: Mapping[str, int], found: Mapping[str, int], said: str) -> list[str]:
    """A line for each split with another number of items than wanted."""
    return [
        f"set {name}: {split} has {found.get(split, 0):,} items, {said} {count:,}"
        for split, count in wanted.items()
        if found.get(split, 0) != count
    ]


def remember_broken(data: Path, name: str, locked: LockedSet, split: str, broken: Mapping[str, str]) -> None:
    """Note in the lock file that all pictures of a split were opened, and which items are broken."""
    if os.access(data, os.W_OK) and read_lock(data).sets.get(name) == locked:
        write_set(data, name, replace(locked, broken={**locked.broken, split: dict(broken)}))


def broken_pictures(examples: Iterable[Example], data: Path) -> dict[str, str]:
    """The ids of items one of whose pictures does not open, each with the reason: 3 to 30 ms a picture and core.

    A reason names files within ``data``, so that it can stand in the lock file.
    """
    found = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        rest = iter(examples)
        while part := list(islice(rest, AT_ONCE)):
            for example, reason in zip(part, threads.map(_fault, part), strict=True):
                if reason:
                    found[example.id] = cut(reason.replace(f"{data}/", ""))
    return found


def _fault(example: Example) -> str:
    """Why an item's pictures do not open; empty where they do."""
    try:
        open_pictures(example)
    except UserError as fault:
        return str(fault)
    return ""


def _named(name: str, line: str) -> str:
    return line if line.startswith(f"set {name}") else f"set {name}: {line}"


def _broken_lines(name: str, broken: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [
        f"set {name}: {split}: {cut(item, 60)}: {reason}"
        for split, items in broken.items()
        for item, reason in items.items()
    ]


__all__ = ["Split", "Verified", "broken_pictures", "miscounted", "read_splits", "relocked", "remember_broken", "verify"]
