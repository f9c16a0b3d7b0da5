"""The journal of a run: a line for each thing as it happens, for whoever watches. No run ever reads it.

``<run>/journal.jsonl`` is only appended to, each line in one write, so that a reader needs no lock and meets at most
one line that is not whole: the last.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from harness.core import UserError
from harness.store import disk
from harness.values import cut

JOURNAL = "journal.jsonl"
BEGINS, STAGE, STEP, REPLIES, CELL, NOTE = "begins", "stage", "step", "replies", "cell", "note"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line: when (seconds since 1970), what, in which stage; the rest as the kind has it.

    ``begins``: a process works on the run from now on. ``stage``: its name and ``of`` how many. ``step``: the number of
    an optimiser step ``of`` the stage's, loss or reward, tokens trained on so far. ``replies``: those of ``name`` in
    ``style`` took so many ``seconds``. ``cell``: its ``score``. ``note``: a text.
    """

    at: float
    kind: str
    stage: int = 0
    name: str = ""
    style: str = ""
    step: int = 0
    of: int = 0
    loss: float | None = None
    reward: float | None = None
    tokens: int | None = None
    seconds: float | None = None
    score: float | None = None


class Journal:
    """Where a run's entries go."""

    def __init__(self, folder: Path) -> None:
        """The journal of the run in ``folder``; the file is made with its first line."""
        self.path = folder / JOURNAL

    def write(self, kind: str, **known: object) -> None:
        """One more line; fields that say nothing are left out."""
        entry = {"at": round(time.time(), 3), "kind": kind, **{k: v for k, v in known.items() if v not in (None, "")}}
        line = (json.dumps(entry) + "\n").encode()
        with disk.refusing_disk_faults(self.path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(self.path, flags, 0o644)
            try:
                if os.write(handle, line) < len(line):
                    raise UserError(f"{cut(str(self.path))} took half a line: is the disk full?")
            finally:
                os.close(handle)


def entries_of(folder: Path) -> list[Entry]:
    """What a run's journal says so far; nothing where it has none. Lines that are not whole are left out."""
    path, known = folder / JOURNAL, {field.name for field in fields(Entry)}
    if not path.is_file():
        return []
    found = []
    for line in disk.read(path).split(b"\n"):
        entry = _parsed(line)
        if isinstance(entry, dict) and {"at", "kind"} <= set(entry) <= known:
            found.append(Entry(**entry))
    return found


def steps_of(entries: Sequence[Entry], stage: int) -> list[Entry]:
    """The optimiser steps of a stage, without those that a killed process did and the next one did again."""
    kept: list[Entry] = []
    for entry in entries:
        if entry.kind == STEP and entry.stage == stage:
            while kept and kept[-1].step >= entry.step:
                kept.pop()
            kept.append(entry)
    return kept


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:  # the last line of a process that was killed, and a blank one
        return None


__all__ = [
    "BEGINS", "CELL", "JOURNAL", "NOTE", "REPLIES", "STAGE", "STEP", "Entry", "Journal", "entries_of", "steps_of",
]  # fmt: skip
