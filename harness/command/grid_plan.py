"""What a grid of runs will do and take: as its runs one by one, with what they share counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.budget import storage
from harness.budget.hardware import Hardware, this_machine
from harness.command import plan
from harness.command.check import room
from harness.command.plan import LOADING, Plan
from harness.core import Run
from harness.sweep.legs import chain


@dataclass(frozen=True, kw_only=True)
class GridPlan:
    """The plans of a grid's runs, and totals in which a stage that several runs share, and its cells, count once.

    ``stages`` are all of them, ``distinct`` those to be trained or found in the store.
    """

    plans: tuple[Plan, ...]
    stages: int
    distinct: int
    optimiser_steps: int
    rollouts: int
    sampled_tokens: int
    asked: int
    seconds: float
    disk_bytes: int

    @property
    def hardware(self) -> Hardware:
        """What all runs are planned on."""
        return self.plans[0].hardware

    @property
    def device_hours(self) -> float:
        """Hours of all cards, or of the processor, one run after another."""
        return self.seconds / 3600 * self.hardware.count


def of(runs: Sequence[Run], out: Path, hardware: Hardware | None = None) -> GridPlan:
    """The plan of a grid on one machine, its runs one after another.

    Raises:
        UserError: where one of the runs cannot be.
    """
    hardware = hardware or this_machine()
    plans = tuple(plan.of(run, out, hardware) for run in runs)
    seen: dict[str, tuple[int, int, int, float]] = {}
    looks: dict[str, tuple[int, float]] = {}
    kept: dict[str, int] = {}
    for run, one in zip(runs, plans, strict=True):
        base, *rows = chain(run)
        share = len(rows) + 1
        for row in (base, *rows):  # of two runs one may watch more after a stage that they share
            looks[row] = max(looks.get(row, (0, 0.0)), (one.asked // share, one.evaluation_left / share))
        for row, stage in zip(rows, one.stages, strict=True):
            seen[row] = stage.optimiser_steps, stage.rollouts, stage.sampled_tokens, stage.seconds
            kept[row] = one.checkpoint_bytes
    return GridPlan(
        plans=plans,
        stages=sum(len(one.stages) for one in plans),
        distinct=len(seen),
        optimiser_steps=sum(found[0] for found in seen.values()),
        rollouts=sum(found[1] for found in seen.values()),
        sampled_tokens=sum(found[2] for found in seen.values()),
        asked=sum(found[0] for found in looks.values()),
        seconds=sum(found[3] for found in seen.values())
        + sum(found[1] for found in looks.values())
        + LOADING * len(plans),
        disk_bytes=sum(kept.values())
        + max(one.disk_bytes - len(one.stages) * one.checkpoint_bytes for one in plans)
        + storage.ROWS * sum(one.cells for one in plans[1:]),
    )


def refuse(planned: GridPlan, out: Path) -> None:
    """Raise UserError where one of the runs cannot fit, or the disk of ``out`` is too small for all of them."""
    for one in planned.plans:
        plan.refuse(one, out)
    if planned.hardware.here:
        room(out, planned.disk_bytes)


__all__ = ["GridPlan", "of", "refuse"]
