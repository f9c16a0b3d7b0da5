"""Who hears how a run goes on, what is written down of it, and the watch that adds up a stage's seconds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Protocol

from harness.core import Cell, Observation, Progress
from harness.store import disk
from harness.store.journal import BEGINS, CELL, NOTE, REPLIES, STAGE, STEP, Journal

_EVERY = 5.0


class Listener(Protocol):
    """What wants to hear how a run goes on."""

    def stage(self, index: int, total: int, name: str) -> None:
        """Stage ``index`` of ``total`` begins; 0 is the base row."""
        ...

    def progress(self, progress: Progress) -> None:
        """One optimiser step of the present stage."""
        ...

    def replies(self, observation: Observation, seconds: float) -> None:
        """The replies of an observation were generated, and took so long; its cell comes later."""
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

    def replies(self, observation: Observation, seconds: float) -> None:
        """Nothing."""

    def cell(self, cell: Cell, done: int, total: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class Written:
    """Writes what it hears into a run's journal, which ``harness watch`` reads, and passes it on."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        """Begin, or go on with, the journal of the run in ``folder``."""
        self._journal = Journal(folder)
        self._listener = listener
        self._stage = 0
        self._journal.write(BEGINS)

    def stage(self, index: int, total: int, name: str) -> None:
        """A stage begins."""
        self._stage = index
        self._journal.write(STAGE, stage=index, name=name, of=total)
        self._listener.stage(index, total, name)

    def progress(self, progress: Progress) -> None:
        """A step."""
        measured = {"loss": progress.loss, "reward": progress.reward, "tokens": progress.tokens}
        self._journal.write(STEP, stage=self._stage, step=progress.step, of=progress.steps, **measured)
        self._listener.progress(progress)

    def replies(self, observation: Observation, seconds: float) -> None:
        """The replies of an observation."""
        named = {"stage": observation.stage, "name": observation.name, "style": observation.style}
        self._journal.write(REPLIES, **named, seconds=round(seconds, 3))
        self._listener.replies(observation, seconds)

    def cell(self, cell: Cell, done: int, total: int) -> None:
        """A cell."""
        self._journal.write(CELL, stage=cell.stage, name=cell.task, style=cell.style, score=cell.score)
        self._listener.cell(cell, done, total)

    def note(self, text: str) -> None:
        """A text."""
        self._journal.write(NOTE, stage=self._stage, name=text)
        self._listener.note(text)


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
