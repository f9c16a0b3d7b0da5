"""What a stage's training is given and what it gives back. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.core import Example, Paradigm, Scale, Stage, Task
    from harness.observed import Progress


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a stage takes: optimiser steps, sampled replies, sampled tokens at most, and the dose.

    The dose is the sum of the learning rates over the updates.
    """

    steps: int = 0
    rollouts: int = 0
    sampled_tokens: int = 0
    dose: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """Which of the trainers' own reporters hears a stage: its name, the group of the run's stages, and a folder."""

    to: str
    group: str
    folder: Path


def unheard(progress: Progress) -> None:
    """The report of a job that nobody follows."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a learner or a selector gets for one stage.

    ``examples`` pairs each training example with its task; ``epochs`` says how often each task's are shown.
    ``folder`` keeps the trainer's resume state, which only a job of the same ``key`` reads; ``carry`` is what the stage
    before handed on; ``base`` is the model that the run starts from, on which an adapter stands (None: ``model``);
    ``devices`` is how many engines a selector may ask side by side, which moves no verdict;
    ``report`` shows progress; ``reporting`` moves no number.
    """

    paradigm: Paradigm
    scale: Scale
    stage: Stage
    examples: tuple[tuple[Task, Example], ...]
    epochs: Mapping[str, int]
    model: Path
    reference: Path | None
    seed: int
    folder: Path
    key: str = ""
    carry: Path | None = None
    base: Path | None = None
    devices: int = 1
    report: Callable[[Progress], None] = field(default=unheard, compare=False)
    reporting: Reporting | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a stage produced: the folder of weights, what it cost in steps and tokens, and what the next stage gets.

    ``carry`` is a folder of files (a replay buffer, Fisher information, an adapter), or None. ``log`` is a text that is
    kept with the checkpoint and decides nothing, such as what another trainer said.
    """

    weights: Path
    optimiser_steps: int
    sampled_tokens: int
    trained_tokens: int
    carry: Path | None = None
    log: Path | None = None
