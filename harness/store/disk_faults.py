"""What a disk refuses, in one line each, also where torch, safetensors, pyarrow or numpy say it in their own words."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.core import UserError
from harness.values import cut

_FULL = "no disk space left at {}: free some (harness runs gc), then run the same command again"
_DENIED = "no permission for {}: change its permissions or give another --out"
_NO_FOLDER = "{} is no folder: give another --out"
_FAILING = "the disk of {} fails to read or write: look after it, then run the same command again"
_LINES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "{} grows larger than its disk or this shell allows (ulimit -f): raise the limit or use another disk",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "no permission for {}: its disk is read-only, give another --out",
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EISDIR: "{} is a folder where a file is needed: move it away or give another --out",
    errno.ENXIO: "{} is no file: move it away or give another --out",
    errno.ELOOP: "{} is a symbolic link, or lies behind a loop of them: move it away or give another --out",
    errno.ENAMETOOLONG: "the name {} is too long for its disk: use shorter names or another --out",
    errno.EXDEV: "{} cannot be renamed (a mount or a layer of an image): give a folder on one disk",
    errno.ENOTEMPTY: "{} is used by another process: wait for it, then run the same command again",
    errno.EIO: _FAILING,
    errno.ESTALE: _FAILING,
    errno.ENOLCK: "the disk of {} knows no locks: give an --out on one that does",
    errno.EOPNOTSUPP: "the disk of {} knows no locks: give an --out on one that does",
}
_NUMBER = re.compile(r"\((?:os error|errno:?) (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)
# torch's and numpy's writers say only that a file did not become as long as it should
_CUT_SHORT = re.compile(r"PytorchStreamWriter|unexpected pos \d+ vs|iostream error|\d+ requested and \d+ written")


@contextmanager
def refusing_disk_faults(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses, wherever it shows, into one line for the user; other faults stay what they are.

    Raises:
        UserError: naming the file that the fault names, or else ``folder``, and what to do.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as fault:
        found = _line(fault, folder)
        if found is None:
            raise
        raise UserError(found) from fault


def _line(fault: Exception, folder: Path) -> str | None:
    """The refusal for a fault of the disk; None for any other."""
    number = fault.errno if isinstance(fault, OSError) else None
    where = fault.filename if isinstance(fault, OSError) else None
    if number is None:
        number = _number(fault)
    line = _LINES.get(number or 0)
    return line and line.format(cut(os.fsdecode(where or folder) if not isinstance(where, int) else str(where)))


def _number(fault: BaseException) -> int | None:
    """The errno of the disk in the words of a library, or in the fault that it was raised upon."""
    text = str(fault)
    if said := _NUMBER.search(text):
        return int(said[1] or said[2])
    if os.strerror(errno.ENOSPC) in text:
        return errno.ENOSPC
    if _CUT_SHORT.search(text):
        before = fault.__context__
        return (before.errno if isinstance(before, OSError) else None) or errno.ENOSPC
    return None


__all__ = ["refusing_disk_faults"]
