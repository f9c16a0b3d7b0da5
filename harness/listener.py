"""Who hears how a run goes on, and the watch that adds up a stage's seconds over interruptions."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Protocol

from harness.core import Cell, Progress
from harness.store import disk

_EVERY = 5.0


class Listener(Protocol):
    """What wants to hear how a run goes on."""

    def stage(self, index: int, total: int, name: str) -> None:
        """Stage ``index`` of ``total`` begins; 0 is the base row."""
        ...

    def progress(self, progress: Progress) -> None:
        """One optimiser step of the present stage."""
        ...

    def cell(self, cell: Cell, done: int, total: int) -> None:
        """A cell is finished; ``done`` of ``total`` cells of the run are."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line, such as a stage that was served from the store."""
        ...


class Silent:
    """The listener that does nothing."""

    def stage(self, index: int, total: int, name: str) -> None:
        """Nothing."""

    def progress(self, progress: Progress) -> None:
        """Nothing."""

    def cell(self, cell: Cell, done: int, total: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class Watch:
    """Seconds of a stage, kept beside its resume state at most every five seconds; a kill loses no more than that."""

    def __init__(self, folder: Path) -> None:
        """Go on from what an earlier process noted in ``folder``."""
        self._path = folder / "seconds.json"
        self.seconds = {"seconds": 0.0, "filter_seconds": 0.0}
        if self._path.is_file():
            self.seconds.update(json.loads(self._path.read_bytes() or b"{}"))
        self._last = time.monotonic()

    def tick(self, kind: str, force: bool = False) -> None:
        """Count the time since the last tick as ``kind``: "seconds" of learning or "filter_seconds"."""
        now = time.monotonic()
        if force or now - self._last >= _EVERY:
            self.seconds[kind] = round(self.seconds[kind] + now - self._last, 3)
            self._last = now
            disk.write(self._path, json.dumps(self.seconds).encode(), derived=True)
