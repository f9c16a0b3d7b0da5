"""What a run will do and cost, before it does it: stages, steps, rollouts, tokens, evaluations, disk and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.broken_items import settled
from harness.budget.hardware import Hardware, this_machine
from harness.command import counts, price
from harness.command.check import in_words, room
from harness.command.price import Price
from harness.command.units import Units, units_of
from harness.core import Observation, Run, Stage, Task, UserError, Work
from harness.run_inputs import cells_of, observations, run_id, run_stages, run_tasks
from harness.store.checkpoints import Store
from harness.store.lineage import MANIFEST
from harness.store.record import RunRecord, read_record

LOADING = 10.0  # seconds until torch, transformers and TRL are there


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage: training presentations, updates, rollouts (the filter's included), tokens at most, and seconds."""

    name: str
    tasks: tuple[str, ...]
    items: int
    optimiser_steps: int
    rollouts: int
    sampled_tokens: int
    seconds: float
    stored: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run's stages and totals.

    ``cells`` counts evaluations, ``cells_stored`` those that the run has done before, ``cell_items`` the items of the
    largest, ``asked`` the replies of all of them. ``evaluation_seconds`` are those of all cells. ``price`` says what
    the model takes on the hardware; None where it is neither here nor known. ``timed`` says whether time is known.
    """

    title: str
    stages: tuple[StagePlan, ...]
    cells: int
    cells_stored: int
    cell_items: int
    asked: int
    evaluation_seconds: float
    disk_bytes: int
    checkpoint_bytes: int
    notes: tuple[str, ...]
    hardware: Hardware
    price: Price | None
    timed: bool = True

    @property
    def optimiser_steps(self) -> int:
        """Updates of all stages."""
        return sum(stage.optimiser_steps for stage in self.stages)

    @property
    def rollouts(self) -> int:
        """Sampled replies of all stages, the filter's included."""
        return sum(stage.rollouts for stage in self.stages)

    @property
    def sampled_tokens(self) -> int:
        """Tokens of these replies, at most."""
        return sum(stage.sampled_tokens for stage in self.stages)

    @property
    def device_hours(self) -> float:
        """Hours of all cards, or of the processor, for what is left."""
        return self.wall_seconds / 3600 * self.hardware.count

    @property
    def seconds(self) -> float:
        """Training and evaluation together."""
        return sum(stage.seconds for stage in self.stages) + self.evaluation_seconds

    @property
    def evaluation_left(self) -> float:
        """Seconds of the cells that are still to be made."""
        return self.evaluation_seconds * (1 - self.cells_stored / self.cells)

    @property
    def wall_seconds(self) -> float:
        """What a user waits: what is left to train and to evaluate, and the loading of the libraries."""
        return LOADING + self.seconds - self.evaluation_seconds + self.evaluation_left

    @property
    def disk(self) -> str:
        """The disk space in words."""
        return in_words(self.disk_bytes)


def of(run: Run, out: Path, hardware: Hardware | None = None) -> Plan:
    """The plan of a run whose store is ``out``: counts are exact, or upper bounds where something ends early.

    Without ``hardware`` it is this machine's. Official data that is not here is counted as published.

    Raises:
        UserError: where the run cannot be, or its official data cannot be read.
    """
    hardware = hardware or this_machine()
    priced, unknown = _priced(run, hardware)
    missing = counts.missing(run)
    if not missing and (run.data is None or priced is None or priced.here):
        settled(run, pictures=False)
    named = run.data is not None or not missing
    store, record = Store(out), _begun(run, out) if named else None
    units = units_of(run, store, priced)
    tasks, cells = run_tasks(run), cells_of(observations(run))
    stages = tuple(_stage(run, stage, tasks, units, _stored(record, store)) for stage in run_stages(run))
    items, styles = counts.asked(run), tuple(run.scale.decodings)
    return Plan(
        title=f"{run.paradigm.name} on {run.stream.name}, scale {run.scale.name}, seed {run.seed}",
        stages=stages,
        cells=len(cells),
        cells_stored=_cells_there(cells, out / run_id(run) / "replies") if named else 0,
        cell_items=max(items.values()),
        asked=sum(items[cell.name] for cell in cells),
        evaluation_seconds=sum(items[cell.name] * units.of_item(cell.style, styles, cell.name) for cell in cells),
        disk_bytes=price.disk(run.paradigm, priced.shape, len(stages), len(cells)) if priced else 0,
        checkpoint_bytes=price.checkpoint(run.paradigm, priced.shape) if priced else 0,
        notes=(*_notes(run, units, missing), *unknown),
        hardware=hardware,
        price=priced,
        timed=bool(units.seconds),
    )


def refuse(planned: Plan, out: Path) -> None:
    """Raise UserError where memory cannot suffice, or the disk of ``out`` where the run is meant for this machine."""
    if planned.price is not None:
        price.refuse_memory(planned.price, planned.title)
    if planned.hardware.here:
        room(out, planned.disk_bytes)


def _priced(run: Run, hardware: Hardware) -> tuple[Price | None, tuple[str, ...]]:
    """What the model takes there; none and a note where it is unknown, for a plan may be made before it is here."""
    try:
        price.shape_of(run.scale)
    except UserError as error:
        return None, (f"no memory, no disk of checkpoints and no time: {error}",)
    return price.of(run.paradigm, run.scale, hardware, counts.is_official(run)), ()


def _cells_there(cells: tuple[Observation, ...], folder: Path) -> int:
    from harness.observe import file_name

    there = {path.name for path in folder.glob("*.parquet")}
    return sum(file_name(cell) in there for cell in cells)


def _notes(run: Run, units: Units, missing: tuple[str, ...]) -> Iterator[str]:
    if units.source:
        yield f"time: from {units.source}"
    if missing:
        yield f"not here, and counted as published: {', '.join(missing)}"
    if run.paradigm.select is not None:
        yield "the selector may drop items: steps and rollouts are upper bounds"
    for name in (run.paradigm.learner.name, *([run.paradigm.select.name] if run.paradigm.select else [])):
        if units.seconds and not units.knows(name):
            yield f"{name} has no known cost: it is counted as the costliest that is known"
    if run.limit is not None:
        yield "with --limit this is a trial: it cannot be published"


def _stage(run: Run, stage: Stage, tasks: Mapping[str, Task], units: Units, stored: frozenset[str]) -> StagePlan:
    scale, paradigm = run.scale, run.paradigm
    distinct = counts.training(run, stage, tasks)
    shown = {name: count * run.stream.epochs[name] for name, count in distinct.items()}
    presented = sum(shown.values())
    work = paradigm.learner.work(presented, paradigm, scale)
    # an update's cost is that of its tasks' items, each task with its part of the stage
    step = sum(units.of(paradigm.learner.name, name) * count / presented for name, count in shown.items())
    items, sampled, seconds = sum(distinct.values()), Work(), work.steps * step
    if paradigm.select is not None:
        sampled = paradigm.select.work(items, paradigm, scale)
        seconds += sum(count * units.of(paradigm.select.name, name) for name, count in distinct.items())
    return StagePlan(
        name=stage.name,
        tasks=stage.tasks,
        items=presented,
        optimiser_steps=work.steps,
        rollouts=work.rollouts + sampled.rollouts,
        sampled_tokens=work.sampled_tokens + sampled.sampled_tokens,
        seconds=0.0 if stage.name in stored else seconds,
        stored=stage.name in stored,
    )


def _begun(run: Run, out: Path) -> RunRecord | None:
    """The record of this very run, if it was begun and can be read: a plan is only an estimate."""
    try:
        return read_record(out / run_id(run))
    except UserError:
        return None


def _stored(record: RunRecord | None, store: Store) -> frozenset[str]:
    """The stages that this very run, started before, has finished; what other runs made is found when it is needed."""
    if record is None:
        return frozenset()
    stages = [stage for stage in record.stages if stage.key]
    made = store.checkpoints
    return frozenset(stage.name for stage in stages if record.finished or (made / str(stage.key) / MANIFEST).is_file())


__all__ = ["Plan", "StagePlan", "of", "refuse"]
