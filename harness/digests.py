"""Digests of files: a large file's is made once, when it was written, and kept beside it.

``.<name>.sha256`` says what the file was: size, modification time, inode and SHA-256. A file that is another by any of
the first three is read again. Small files are read every time: it costs nothing, and nothing is taken for granted.
Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

LARGE = 2**30  # bytes from which a digest is kept: reading 33 GB takes about a minute
_SETTLED = 10**8  # nanoseconds; a file that was changed more recently may change again and look the same


def file_digest(file: Path) -> str:
    """SHA-256, in hex, of a file; a large one's as it is kept beside it, where the file is still the same."""
    return _kept(file) or _read(file)


def keep_digest(file: Path) -> None:
    """Read a large file that was just written, and keep its digest beside it; nothing for a small or a known one."""
    if file.stat().st_size < LARGE or _kept(file):
        return
    state = _state(file)
    content = {"file": state, "sha256": _read(file)}
    time.sleep(max(0, state["mtime"] + _SETTLED - time.time_ns()) / 1e9)
    if _state(file) == state:
        _write(beside(file), json.dumps(content, sort_keys=True))


def share_digest(source: Path, target: Path) -> None:
    """Take along what is kept beside a file to a second name of the same file."""
    if beside(source).is_file() and os.path.samefile(source, target):
        _write(beside(target), beside(source).read_text())


def beside(file: Path) -> Path:
    """Where a file's digest is kept."""
    return file.with_name(f".{file.name}.sha256")


def is_kept_digest(file: Path) -> bool:
    """Whether a file is one that ``beside`` names."""
    return file.name.startswith(".") and file.suffix == ".sha256"


def _kept(file: Path) -> str:
    """The digest that is kept beside a large file, where the file is still what it was; else nothing."""
    if file.stat().st_size < LARGE:
        return ""
    try:
        known = json.loads(beside(file).read_text())
    except (OSError, ValueError):
        return ""
    same = isinstance(known, dict) and known.get("file") == _state(file)
    return str(known.get("sha256", "")) if same else ""


def _write(file: Path, content: str) -> None:
    """Write a new file; a kill in the middle leaves what is no JSON, which is not believed."""
    file.unlink(missing_ok=True)
    with file.open("x") as handle:
        handle.write(content)


def _state(file: Path) -> dict[str, int]:
    found = file.stat()
    return {"size": found.st_size, "mtime": found.st_mtime_ns, "inode": found.st_ino}


def _read(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


__all__ = ["beside", "file_digest", "is_kept_digest", "keep_digest", "share_digest"]
