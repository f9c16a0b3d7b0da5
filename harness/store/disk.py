"""Writing so that a kill leaves the old file or the new one, locks that vanish with their process, and disk faults."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from harness.core import UserError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


def aside(path: Path) -> Path:
    """The name beside ``path`` under which this process prepares it."""
    return path.with_name(f".{path.name}.aside-{os.getpid()}")


def flush(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: bytes, derived: bool = False) -> None:
    """Write a file aside and rename it into place; nothing happens where it already holds the content.

    The bytes are flushed before the name appears, unless the file is ``derived``: what a resumed run makes again anyway
    need not outlive a power cut.
    """
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = aside(path)
    try:
        with draft.open("wb") as handle:
            handle.write(content)
            if not derived:
                handle.flush()
                os.fsync(handle.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Remove a folder: first its name, so that no reader meets half of it, then its files."""
    if path.exists():
        draft = aside(path)
        shutil.rmtree(draft, ignore_errors=True)
        path.replace(draft)
        shutil.rmtree(draft)


def sweep(folder: Path) -> None:
    """Remove what processes that are gone were preparing in a folder."""
    for draft in folder.glob(".*.aside-*"):
        pid = draft.name.rpartition("-")[2]
        if pid.isdigit() and not _alive(int(pid)):
            if draft.is_dir():
                shutil.rmtree(draft, ignore_errors=True)
            else:
                draft.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    """Whether a process of this number exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def size(path: Path) -> int:
    """The bytes of a file or of all files in a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        try:
            total += item.stat().st_size if item.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def need_space(folder: Path, wanted: int) -> None:
    """Refuse to start what would not fit: ``wanted`` bytes against the free ones of the folder's disk."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise UserError(
            f"the disk of {folder} has {free / 1e6:.0f} MB free, but this stage needs about {wanted / 1e6:.0f} MB:"
            " free some (harness runs gc) or give another --out"
        )


@contextmanager
def refusing_disk_faults(folder: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission, wherever it shows, into one line for the user."""
    try:
        yield
    except UserError:
        raise
    except OSError as fault:
        where = fault.filename or folder
        if fault.errno in _NO_SPACE:
            raise _full(where) from fault
        if fault.errno in _NO_PERMISSION:
            raise UserError(f"no permission for {where}: change its permissions or give another --out") from fault
        if fault.errno in (errno.ENOTDIR, errno.EEXIST):
            raise UserError(f"{where} is no folder: give another --out") from fault
        raise
    except Exception as fault:
        # torch and safetensors report a full disk as exceptions of their own
        if "No space left" in str(fault) or "os error 28" in str(fault):
            raise _full(folder) from fault
        raise


def _full(where: object) -> UserError:
    """The refusal for a full disk."""
    return UserError(f"no disk space left at {where}: free some (harness runs gc), then run the same command again")


class Lock:
    """An advisory lock on a file that holds its owner's process number; the system frees it when the process ends."""

    def __init__(self, path: Path) -> None:
        """Name the lock file; nothing is taken yet."""
        self.path = path
        self._handle: int | None = None

    def take(self, wait: bool = False) -> bool:
        """Take the lock, waiting for it if asked; False where another process holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        tries = 3  # a look by held_elsewhere() takes the lock for an instant
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(handle)
                tries -= 1
                if not tries:
                    return False
                time.sleep(0.05)
                continue
            if self._still_there(handle):
                break
            os.close(handle)  # the file was removed while we opened it: a lock on it would guard nothing
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        self._handle = handle
        return True

    def _still_there(self, handle: int) -> bool:
        """Whether the opened file is the one that the path names."""
        try:
            return os.stat(self.path).st_ino == os.fstat(handle).st_ino
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back; the file stays, so that no two processes lock different files."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def owner(self) -> str:
        """The process number that the file names; "unknown" where it names none."""
        try:
            return self.path.read_text().strip() or "unknown"
        except FileNotFoundError:
            return "unknown"

    def held_elsewhere(self) -> bool:
        """Whether another holder has the lock now."""
        if not self.path.exists():
            return False
        try:
            handle = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def __enter__(self) -> Lock:
        """Hold the lock, waiting for it."""
        if self._handle is None:
            self.take(wait=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        """Release the lock."""
        self.release()
