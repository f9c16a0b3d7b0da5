"""Writing so that a kill leaves the old or the new, locks that vanish with their process, and faults of a disk.

What is prepared stands beside its place as a draft, whose name tells host, boot and process; no symbolic link is
followed where something is written, locked or removed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import socket
import stat
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType

from harness.core import UserError
from harness.store.disk_faults import refusing_disk_faults
from harness.values import cut

_DRAFT = re.compile(r"\.(?P<name>.+)\.(?P<kind>aside|old)-(?P<host>\w+)-(?P<boot>\w+)-(?P<pid>\d+)")
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux' renameat2
_HERE = -100  # AT_FDCWD


def aside(path: Path) -> Path:
    """The name beside ``path`` under which this process prepares it."""
    return _draft(path, "aside")


def _draft(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{_host()}-{_boot()}-{os.getpid()}")


@cache
def _host() -> str:
    """Twelve hex digits for this machine: many are called localhost, so its machine-id counts too."""
    return hashlib.sha256(f"{socket.gethostname()}\n{_system_text('/etc/machine-id')}".encode()).hexdigest()[:12]


@cache
def _boot() -> str:
    """Eight hex digits for this start of the machine, after which process numbers begin anew; "unknown" without."""
    return _system_text("/proc/sys/kernel/random/boot_id")[:8] or "unknown"


def _system_text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def flush(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> bytes:
    """The bytes of a file. Raises UserError where something else has its name, such as a pipe that would never end."""
    handle = _open(path, os.O_RDONLY)
    with os.fdopen(handle, "rb") as file:
        return file.read()


def _open(path: Path, flags: int) -> int:
    """Open a regular file and nothing else; a pipe is not waited for."""
    with refusing_disk_faults(path):
        handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise UserError(f"{cut(str(path))} is no file: move it away, then give the same command again")
        return handle


def write(path: Path, content: bytes, derived: bool = False) -> None:
    """Write a file aside and rename it into place; nothing happens where it already holds the content.

    The bytes are flushed before the name appears, unless the file is ``derived``: what a resumed run makes again anyway
    need not outlive a power cut. Raises UserError where a link, a folder or a pipe has its name.
    """
    found = _kind(path)
    if found not in (0, stat.S_IFREG):
        raise _not_ours(path, found)
    if found and path.stat().st_size == len(content) and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = aside(path)
    draft.unlink(missing_ok=True)  # of an earlier process with our number, of which nothing may be written into
    try:
        with os.fdopen(_open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW), "wb") as handle:
            handle.write(content)
            if not derived:
                handle.flush()
                os.fsync(handle.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _kind(path: Path) -> int:
    """What has a path's name itself, links not followed: stat.S_IFREG, S_IFDIR, S_IFLNK, ...; 0 where nothing has."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except FileNotFoundError:
        return 0


def _not_ours(path: Path, kind: int) -> UserError:
    """The refusal of what we never put there."""
    words = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFIFO: "a pipe"}
    return UserError(
        f"{cut(str(path))} is {words.get(kind, 'a device')}, which the harness did not make: move it away"
        " to go on, or give another folder"
    )


def draft_folder(path: Path) -> Path:
    """An empty folder beside ``path`` in which this process prepares it."""
    draft = aside(path)
    _remove(draft)
    draft.mkdir(parents=True)
    return draft


def discard(path: Path) -> None:
    """Remove a folder: first its name, so that no reader meets half of it, then its files.

    Raises:
        UserError: where a link or a file has the name, which is then left as it is.
    """
    kind = _kind(path)
    if kind == stat.S_IFDIR:
        draft = aside(path)
        _remove(draft)
        path.replace(draft)
        shutil.rmtree(draft)
    elif kind:
        raise _not_ours(path, kind)


def _remove(draft: Path) -> None:
    """Remove a draft, if it is there; of a link the link itself."""
    if _kind(draft) == stat.S_IFDIR:
        shutil.rmtree(draft)
    else:
        draft.unlink(missing_ok=True)


def replace_folder(draft: Path, target: Path) -> None:
    """Put a prepared folder (``draft_folder(target)``) in the place of an old one, or in an empty place.

    A reader meets the old folder or the new one at any moment, after a kill too: the two change names at once. On a
    disk that cannot do that (some network disks) the old one steps aside first, and ``sweep`` brings it back.

    Raises:
        UserError: where a link or a file has the target's name.
    """
    if draft != aside(target):
        raise ValueError(f"{draft} is no draft of {target}: a kill would leave the old folder under that name for good")
    sweep(target.parent)
    for folder, _, _ in os.walk(draft):
        flush(Path(folder))
    kind = _kind(target)
    if kind not in (0, stat.S_IFDIR):
        raise _not_ours(target, kind)
    if not kind:
        draft.replace(target)
    elif not _exchange(draft, target):
        old = _draft(target, "old")
        target.replace(old)
        draft.replace(target)
        flush(target.parent)
        shutil.rmtree(old)
    flush(target.parent)
    _remove(draft)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change names in one step; False where system or disk cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def sweep(folder: Path) -> None:
    """Remove what processes of this host that are gone were preparing in a folder; what they had put aside comes back.

    Another host's drafts are its own, for none can tell here whether its processes live; links are not ours either.
    """
    for draft in sorted(folder.glob(".*-*-*-*")):
        named = _DRAFT.fullmatch(draft.name)
        if named is None or named["host"] != _host() or draft.is_symlink():
            continue
        if named["boot"] == _boot() and _alive(int(named["pid"])):
            continue
        with suppress(FileNotFoundError, PermissionError):  # another process sweeps too; another user's stay
            if named["kind"] == "old" and not _kind(folder / named["name"]):
                draft.replace(folder / named["name"])
            else:
                _remove(draft)


def _alive(pid: int) -> bool:
    """Whether a process of this number exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def size(path: Path) -> int:
    """The bytes of a file or of all files in a folder; links, and what vanishes or may not be seen, count nothing."""
    total = 0
    for item in (path, *(Path(folder) / name for folder, _, names in os.walk(path) for name in names)):
        with suppress(FileNotFoundError, PermissionError):
            found = item.lstat()
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def need_space(folder: Path, wanted: int, what: str = "this stage") -> None:
    """Refuse to start what would not fit: ``wanted`` bytes against the free ones of the folder's disk."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise UserError(
            f"the disk of {folder} has {free / 1e6:.0f} MB free, but {what} needs about {wanted / 1e6:.0f} MB:"
            " free some (harness runs gc) or give another --out"
        )


class Lock:
    """An advisory lock on a file that holds its owner's process number; the system frees it when the process ends.

    A link, a folder or a pipe in the file's place is refused by a UserError, and nothing is written through it.
    """

    def __init__(self, path: Path) -> None:
        """Name the lock file; nothing is taken yet."""
        self.path = path
        self._handle: int | None = None

    def take(self, wait: bool = False) -> bool:
        """Take the lock, waiting for it if asked; False where another process holds it."""
        tries = 3  # a look by held_elsewhere() takes the lock for an instant
        with refusing_disk_faults(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                handle = _open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                    if self._still_there(handle):
                        os.ftruncate(handle, 0)
                        os.write(handle, str(os.getpid()).encode())
                        self._handle, handle = handle, -1
                        return True
                except BlockingIOError:
                    tries -= 1
                    if not tries:
                        return False
                    time.sleep(0.05)
                finally:
                    if handle >= 0:
                        os.close(handle)

    def _still_there(self, handle: int) -> bool:
        """Whether the opened file is the one that the path names; a lock on one that was removed guards nothing."""
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(handle))
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
            handle = _open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return "unknown"
        with os.fdopen(handle, "rb") as file:
            number = file.read(20)
        return number.decode() if number.isdigit() else "unknown"

    def held_elsewhere(self) -> bool:
        """Whether another holder has the lock now; needs no more than to read the file."""
        try:
            handle = _open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
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


__all__ = [
    "Lock",
    "aside",
    "discard",
    "draft_folder",
    "flush",
    "need_space",
    "read",
    "refusing_disk_faults",
    "replace_folder",
    "size",
    "sweep",
    "write",
]
