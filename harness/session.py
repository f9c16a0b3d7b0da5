"""What the loop works with while a run goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from harness.asking.engines import EngineKind
from harness.core import Cell, Detail, Observation, ProbeValue, Run, Stage
from harness.job import Reporting
from harness.listener import Listener
from harness.observe import View
from harness.processes import Worker
from harness.run_inputs import cells_of
from harness.store.checkpoints import Store
from harness.store.record import Recorder


@dataclass(kw_only=True)
class Session:
    """What the loop works with; ``cells``, ``details`` and ``probes`` grow in the order of their files."""

    run: Run
    id: str
    store: Store
    folder: Path
    recorder: Recorder
    listener: Listener
    kind: EngineKind
    view: View
    reporting: Reporting | None
    stages: tuple[Stage, ...]
    observations: tuple[Observation, ...]
    cells: list[Cell] = field(default_factory=list)
    details: list[Detail] = field(default_factory=list)
    probes: list[ProbeValue] = field(default_factory=list)
    worker: Worker | None = None
    thread: ThreadPoolExecutor | None = None
    looks: dict[int, Future[list[tuple[Observation, float]]]] = field(default_factory=dict)

    def of_stage(self, index: int) -> tuple[Observation, ...]:
        """What is looked at after a stage."""
        return tuple(one for one in self.observations if one.stage == index)

    @property
    def total(self) -> int:
        """How many cells the run has."""
        return len(cells_of(self.observations))
