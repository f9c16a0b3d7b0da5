"""The lock file of a data folder: what the files of each set were when they were first seen, and where they came from.

It holds no path outside a set's own folder. Beside the digest of a file stand its size and time of change, so that a
file that nobody touched is not read again.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from harness.core import Source, Task, UserError, digest, plain, slug
from harness.registry import all_of
from harness.store import disk
from harness.store.typed import SCHEMA, decode, dump
from harness.values import cut

LOCK = "data.lock.json"
LOCAL = "local"
PICTURES = (".jpg", ".jpeg", ".png")
_SHA256, _REVISION = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """A file as it was read: its SHA-256 in hex, its bytes, and its time of change in ns."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class LockedSet:
    """A set as it was read: hub id (or "local") and 40-hex revision, files by their name within the set's folder.

    ``counts`` are the items of each split, where they were counted. ``broken`` holds, for each split whose pictures
    were all opened, the ids of items that cannot be used, with the reason.
    """

    source: str
    revision: str
    fingerprint: str
    counts: dict[str, int] = field(default_factory=dict)
    broken: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, LockedFile] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataLock:
    """What the lock file holds: its sets by name."""

    schema: int = SCHEMA
    sets: dict[str, LockedSet] = field(default_factory=dict)


def read_lock(data: Path) -> DataLock:
    """The lock of a data folder; one without sets where there is no file.

    Raises:
        UserError: where it is damaged, or names a file outside its set.
    """
    advice = "restore it, or remove it and give `harness data verify --data FOLDER`"
    try:
        found = decode(DataLock, data / LOCK, advice)
    except FileNotFoundError:
        return DataLock()
    for name, locked in found.sets.items():
        if fault := _unsound(name, locked):
            raise UserError(f"{data / LOCK} is damaged ({fault}): {advice}")
    return found


def _unsound(name: str, locked: LockedSet) -> str:
    """Why a set of a lock file cannot be one that was written here; empty where it can."""
    try:
        slug(name)
    except UserError:
        return f"{cut(repr(name), 40)} is no set's name"
    for path, file in locked.files.items():
        if not is_plain(path):
            return f"{name} names the file {cut(repr(path), 60)}"
        if not _SHA256.fullmatch(file.sha256) or file.size < 0:
            return f"{name}: the digest or size of {cut(path, 60)} is none"
    if locked.revision and not _REVISION.fullmatch(locked.revision):
        return f"{name}: revision {cut(repr(locked.revision), 50)} is none"
    if locked.fingerprint != fingerprint(locked.files):
        return f"{name}: its fingerprint is not that of its files"
    return ""


def is_plain(path: str) -> bool:
    """Whether a text is the relative name of a file that stays below its folder, on one printable line.

    >>> is_plain("data/test-0.parquet"), is_plain("../x"), is_plain("/etc/passwd"), is_plain("a/./b"), is_plain("")
    (True, False, False, False, False)
    """
    parts = path.split("/")
    return path.isprintable() and "\\" not in path and not {"", ".", ".."} & set(parts) and ":" not in parts[0]


def write_set(data: Path, name: str, locked: LockedSet) -> None:
    """Put a set into the lock file; the other sets stay as they are in the file at this moment."""
    with disk.refusing_disk_faults(data / LOCK), disk.Lock(data / f".{LOCK}"):
        sets = {**read_lock(data).sets, name: locked}
        ordered = {one: replace(sets[one], files=dict(sorted(sets[one].files.items()))) for one in sorted(sets)}
        disk.write(data / LOCK, dump(plain(DataLock(sets=ordered))))


def fingerprint(files: Mapping[str, LockedFile]) -> str:
    """SHA-256, in hex, over the names and digests of files; 64 hex digits that name a set's content."""
    return digest(sorted((name, file.sha256) for name, file in files.items()))


def set_files(folder: Path, sources: Iterable[Source]) -> dict[str, Path]:
    """The files of a set by their names: those that fit a pattern of one of the sources, all of them without patterns.

    Hidden files and folders are nobody's data. Links are followed, each folder once.

    Raises:
        UserError: where the folder is not there, or a name cannot stand in the lock file.
    """
    if not folder.is_dir():
        raise UserError(
            f"set {folder.name}: expected the folder {folder}, found none: `harness data fetch {folder.name}`"
        )
    patterns = [pattern for source in sources for pattern in source.files]
    found, seen = {}, set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = Path(place).stat()
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        for name in names:
            file = Path(place, name)
            path = file.relative_to(folder).as_posix()
            if name.startswith(".") or (patterns and not any(_fits(path, pattern) for pattern in patterns)):
                continue
            if not is_plain(path):
                raise UserError(
                    f"set {folder.name}: the file name {cut(ascii(path), 80)} is unprintable: rename the file"
                )
            found[path] = file
    return dict(sorted(found.items()))


def _fits(path: str, pattern: str) -> bool:
    """Whether a file is one of a pattern, in its folder or in another: users unpack where they like."""
    wanted, name = pattern.rpartition("/")[2], path.rpartition("/")[2]
    if wanted == "*":
        return fnmatchcase(path, pattern) or name.lower().endswith(PICTURES)
    anywhere = not wanted.startswith("*") or path == name
    return fnmatchcase(path, pattern) or (anywhere and fnmatchcase(name, wanted))


def read_files(
    files: Mapping[str, Path], known: Mapping[str, LockedFile], afresh: bool = False
) -> dict[str, LockedFile]:
    """Each file as it is now; one whose size and time of change are known is not read again, unless ``afresh``.

    Raises:
        UserError: where a file cannot be read.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        read = threads.map(lambda name: _read_file(files[name], None if afresh else known.get(name)), files)
        return dict(zip(files, read, strict=True))


def _read_file(file: Path, known: LockedFile | None) -> LockedFile:
    with disk.refusing_disk_faults(file):
        status = file.stat() if file.exists() else None
        if status is None or not stat.S_ISREG(status.st_mode):
            raise UserError(f"{cut(str(file))} is no file: move it away")
        if known is not None and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
            return known
        sha256 = _sha256(file, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return LockedFile(sha256=sha256, size=status.st_size, mtime_ns=status.st_mtime_ns)


@lru_cache(maxsize=2**17)
def _sha256(file: Path, size: int, mtime_ns: int, ctime_ns: int) -> str:
    """The digest of a file, read once by a process as long as nobody touches it."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def differences(name: str, locked: Mapping[str, LockedFile], found: Mapping[str, LockedFile]) -> list[str]:
    """A line for each file that is missing, truncated, changed or additional: which set, expected, found."""
    lines = []
    for path in sorted({*locked, *found}):
        was, now = locked.get(path), found.get(path)
        if was is None:
            lines.append(f"set {name}: {path}: expected no such file, found one of {found[path].size:,} bytes")
        elif now is None:
            lines.append(f"set {name}: {path}: expected {was.size:,} bytes, found no file")
        elif now.size != was.size:
            lines.append(f"set {name}: {path}: expected {was.size:,} bytes, found {now.size:,}")
        elif now.sha256 != was.sha256:
            lines.append(f"set {name}: {path}: expected SHA-256 {was.sha256[:12]}, found {now.sha256[:12]}")
    return lines


def local_set(files: Mapping[str, LockedFile], source: str = LOCAL, revision: str = "") -> LockedSet:
    """A set as it is found, still without counts."""
    return LockedSet(source=source, revision=revision, fingerprint=fingerprint(files), files=dict(files))


def set_of(data: Path, task: Task) -> str:
    """The set that a task reads: its own, or that of a task with the same source where only this one has a folder."""
    if not (data / task.name).is_dir() and task.sources:
        for name, other in all_of("task").items():
            if isinstance(other, Task) and other.sources[:1] == task.sources[:1] and (data / name).is_dir():
                return name
    return task.name


def current_set(data: Path, task: Task, write: bool = True) -> LockedSet | None:
    """A task's set as the lock file says, after its files were compared with it: in moments, where none was touched.

    A set that the lock file lacks is read and, where the folder can be written, locked; with ``write`` off it is left,
    and None comes back. A folder that cannot be written is read anew by every process.

    Raises:
        UserError: where a file is missing, truncated, changed or additional.
    """
    name = set_of(data, task)
    locked = read_lock(data).sets.get(name)
    if locked is None and not write:
        return None
    known = locked.files if locked else {}
    found = read_files(set_files(data / name, task.sources), known)
    if locked and (lines := differences(name, known, found)):
        more = f" (and {len(lines) - 1} more files)" if len(lines) > 1 else ""
        raise UserError(
            f"{lines[0]}{more}: put the data back, or accept what is there by `harness data verify {name} --write`"
        )
    current = replace(locked, files=found) if locked else local_set(found)
    if current != locked and os.access(data, os.W_OK):
        write_set(data, name, current)
    return current


__all__ = [
    "LOCAL", "LOCK", "DataLock", "LockedFile", "LockedSet", "current_set", "differences", "fingerprint", "is_plain",
    "local_set", "read_files", "read_lock", "set_files", "set_of", "write_set",
]  # fmt: skip
