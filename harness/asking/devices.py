"""Engines side by side: one on each device, in a process of its own; on one device the engine is in this process.

A long list of prompts is asked in parts whose composition is a function of the list alone, so that the replies do not
depend on how many devices there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from harness.asking.engines import Engine, EngineKind
from harness.core import Scale
from harness.processes import Say, Worker, unheard

Part = TypeVar("Part")
Answer = TypeVar("Answer")


class Engines:
    """The engines of one kind that have a model loaded; each is opened when it is first asked."""

    def __init__(
        self, kind: EngineKind, folder: Path, scale: Scale, devices: int = 1, say: Callable[[str], None] = unheard
    ) -> None:
        """Name kind, model and scale; an engine that takes all devices itself is opened once.

        ``say`` is told before an engine is opened whose opening takes long.
        """
        self._open, self._say = (kind, folder, scale), say
        self._devices = 1 if kind.takes_all_devices else max(1, devices)
        self._engine: Engine | None = None
        self._workers: list[Worker] = []
        self._threads: ThreadPoolExecutor | None = None
        self._free: SimpleQueue[int] = SimpleQueue()  # devices; one that still works for an earlier call is not there

    def each(self, ask: Callable[[Engine, Part], Answer], parts: Sequence[Part]) -> Iterator[Answer]:
        """What ``ask(engine, part)`` gives for each part, in their order; on several devices ``ask`` is sent by name.

        Raises:
            UserError: what ``ask`` refuses.
        """
        if self._devices == 1:
            kind, folder, scale = self._open
            for part in parts:
                if self._engine is None and kind.opening:
                    self._say(kind.opening)
                self._engine = self._engine or kind.open(folder, scale)
                yield ask(self._engine, part)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max_workers=self._devices)
        if not self._workers:
            self._workers = [Worker() for _ in range(self._devices)]
            self._free = SimpleQueue()
            for device in range(self._devices):
                self._free.put(device)

        def asked(part: Part) -> Any:
            device = self._free.get()
            try:
                return self._workers[device].call(_asked, (device, *self._open, ask, part))
            finally:
                self._free.put(device)

        yield from self._threads.map(asked, parts)

    def close(self) -> None:
        """Free the models and end the processes; closing again changes nothing."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        for worker in self._workers:
            worker.close()
        self._workers = []
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None

    def __enter__(self) -> Engines:
        """Use the engines for a block."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Free them."""
        self.close()


_opened: list[Engine] = []  # of a process of its own: none, or the one that its parent asks


def _asked(given: tuple[int, EngineKind, Path, Scale, Callable[[Engine, Any], Any], Any], say: Say) -> Any:
    """Ask in a process of its own, which sees one device; its engine is opened at the first time."""
    device, kind, folder, scale, ask, part = given
    if not _opened:
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        # Read by CUDA when it is first used, which is in open().
        os.environ["CUDA_VISIBLE_DEVICES"] = shown.split(",")[device].strip() if shown else str(device)
        _opened.append(kind.open(folder, scale))
    return ask(_opened[0], part)


__all__ = ["Engines"]
