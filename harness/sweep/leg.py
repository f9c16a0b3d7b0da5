"""Doing one leg: ``harness run`` in processes of its own, its log, and what every executor tells of it."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.core import UserError
from harness.outside import Outside, last_lines
from harness.store import disk
from harness.sweep.legs import Leg

ROOM = ".sweep"  # in the store: logs, and what executors keep
NOT_BEGUN = -1  # a leg before it failed
LOST = -2  # its worker or node died more often than it is retried
_ENDED = re.compile(r"# ended with exit code (\d+)")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a sweep is done: the store, and the folder in which the commands are given."""

    out: Path
    folder: Path

    def log(self, run: str) -> Path:
        """The log of all legs of a run."""
        return self.out / ROOM / f"{run}.log"


# Hears of each leg that has ended, and its exit code, NOT_BEGUN or LOST.
Hear = Callable[[Leg, int], None]


def begin(leg: Leg, place: Place, where: str = "") -> Outside:
    """Start a leg, with a line that says where; two tries of legs of one run are never alive at once on one machine."""
    log = place.log(leg.run)
    with disk.refusing_disk_faults(log):
        log.parent.mkdir(parents=True, exist_ok=True)
    if log.parent.is_symlink():
        raise UserError(f"{log.parent} is a symbolic link, which the harness did not make: move it away to go on")
    note(log, f"{' '.join(leg.command)} on {socket.gethostname()}{where}")
    return Outside(
        (sys.executable, "-m", "harness.command.cli", *leg.command),
        log=log,
        lock=log.with_suffix(".lock"),
        folder=place.folder if place.folder.is_dir() else Path.cwd(),
    )


def do(leg: Leg, place: Place, where: str = "") -> int:
    """Do a leg to its end; the command's exit code."""
    with begin(leg, place, where) as running:
        while (code := running.wait(60)) is None:
            continue
    note(place.log(leg.run), f"ended with exit code {code}")
    return code


def note(log: Path, text: str) -> None:
    """Add a line about the command itself to a log."""
    with disk.refusing_disk_faults(log), open(log, "a", opener=_no_link) as file:
        file.write(f"# {text} at {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}\n")


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def last_code(log: Path) -> int | None:
    """The exit code that a log ends with; None where its command is at work, was killed, or never began."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("# ")]
    except OSError:
        return None
    found = _ENDED.match(lines[-1]) if lines else None
    return int(found[1]) if found else None


def in_words(leg: Leg, code: int, place: Place) -> str:
    """What became of a leg, in one line."""
    if code == NOT_BEGUN:
        return f"{leg.name}: not begun, what it needs failed"
    if code == LOST:
        return f"{leg.name}: its node or worker was lost too often"
    log = place.log(leg.run)
    if code == 0:
        return f"{leg.name}: done"
    lines = [line for line in last_lines(log, 6).split(" | ") if not line.startswith("# ")]
    return f"{leg.name}: exit code {code}: {lines[-1] if lines else ''} ({log})"


__all__ = ["LOST", "NOT_BEGUN", "ROOM", "Hear", "Place", "begin", "do", "in_words", "last_code", "note"]
