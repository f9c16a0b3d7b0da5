"""What a run will do and cost, before it does it: stages, steps, rollouts, tokens, evaluations, disk and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness.broken_items import settled
from harness.command.check import in_words
from harness.core import Observation, Run, Scale, Stage, Task, UserError, Work
from harness.run_inputs import (
    asked_examples,
    cells_of,
    observations,
    run_id,
    run_stages,
    run_suites,
    run_tasks,
    suite_examples,
    training_examples,
    training_items,
)
from harness.scales import model_folder
from harness.store.checkpoints import Store
from harness.store.housekeeping import RunInfo, list_runs
from harness.store.lineage import MANIFEST
from harness.store.record import RunRecord, read_costs, read_record
from harness.values import is_number

ROWS_BYTES = 40_000  # of one cell's replies and marks at the twin's size, as parquet
LEAST_STEPS = 16  # shorter stages mostly show what it takes to load a library
LEAST_EVALUATION = 5.0  # seconds, likewise
RESUME_COPIES = 4  # weights, two moments of AdamW, and the copy being written: all fp32
LOADING = 10.0  # seconds until torch, transformers and TRL are there


@dataclass(frozen=True, kw_only=True)
class Units:
    """Seconds by name: of a learner's step, of an example that is selected, of an item asked in a style."""

    seconds: Mapping[str, float]
    source: str

    def of(self, name: str) -> float:
        """What one unit of that name takes; the costliest known one where it was never measured."""
        return self.seconds.get(name, max(self.seconds.values(), default=0.0))

    def of_item(self, style: str, scale: Scale) -> float:
        """What an item asked in a style takes; as in the scale's costliest style where it was never measured."""
        known = [self.seconds[name] for name in scale.decodings if name in self.seconds]
        return self.seconds.get(style, max(known, default=self.of(style)))


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
    largest. ``evaluation_seconds`` are those of all cells.
    """

    title: str
    stages: tuple[StagePlan, ...]
    cells: int
    cells_stored: int
    cell_items: int
    evaluation_seconds: float
    disk_bytes: int
    notes: tuple[str, ...]

    @property
    def optimiser_steps(self) -> int:
        """Updates of all stages."""
        return sum(stage.optimiser_steps for stage in self.stages)

    @property
    def rollouts(self) -> int:
        """Sampled replies of all stages, the filter's included."""
        return sum(stage.rollouts for stage in self.stages)

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


def of(run: Run, out: Path) -> Plan:
    """The plan of a run whose store is ``out``: counts are exact, or upper bounds where something ends early.

    Raises:
        UserError: where the run cannot be, or its official data cannot be read.
    """
    settled(run, pictures=False)
    store, record = Store(out), _begun(run, out)
    units = units_of(run, store)
    tasks, cells = run_tasks(run), cells_of(observations(run))
    stages = tuple(_stage(run, stage, tasks, units, _stored(record, store)) for stage in run_stages(run))
    items = {name: _test_items(run, task) for name, task in tasks.items()}
    items |= {name: len(suite_examples(run, suite)) for name, suite in run_suites(run).items()}
    model_bytes, missing = _model_bytes(run)
    return Plan(
        title=f"{run.paradigm.name} on {run.stream.name}, scale {run.scale.name}, seed {run.seed}",
        stages=stages,
        cells=len(cells),
        cells_stored=_cells_there(cells, out / run_id(run) / "replies"),
        cell_items=max(items.values()),
        evaluation_seconds=sum(items[cell.name] * units.of_item(cell.style, run.scale) for cell in cells),
        disk_bytes=model_bytes * (len(stages) + RESUME_COPIES) + len(cells) * ROWS_BYTES,
        notes=(*_notes(run, units), *missing),
    )


def _cells_there(cells: tuple[Observation, ...], folder: Path) -> int:
    from harness.observe import file_name

    there = {path.name for path in folder.glob("*.parquet")}
    return sum(file_name(cell) in there for cell in cells)


def _notes(run: Run, units: Units) -> Iterator[str]:
    yield f"time: from {units.source}"
    if run.paradigm.select is not None:
        yield "the selector may drop items: steps and rollouts are upper bounds"
    for name in (run.paradigm.learner.name, *([run.paradigm.select.name] if run.paradigm.select else [])):
        if name not in units.seconds:
            yield f"{name} has no known cost: it is counted as the costliest that is known"
    if run.limit is not None:
        yield "with --limit this is a trial: it cannot be published"


def _stage(run: Run, stage: Stage, tasks: Mapping[str, Task], units: Units, stored: frozenset[str]) -> StagePlan:
    scale, paradigm = run.scale, run.paradigm
    if run.data is None:
        distinct = training_items(run, stage)
    else:  # how much official data there is shows only when it is read
        distinct = {name: len(examples) for name, examples in training_examples(run, stage, tasks).items()}
    shown = sum(count * run.stream.epochs[name] for name, count in distinct.items())
    work = paradigm.learner.work(shown, paradigm, scale)
    items, sampled, seconds = sum(distinct.values()), Work(), work.steps * units.of(paradigm.learner.name)
    if paradigm.select is not None:
        sampled = paradigm.select.work(items, paradigm, scale)
        seconds += items * units.of(paradigm.select.name)
    return StagePlan(
        name=stage.name,
        tasks=stage.tasks,
        items=shown,
        optimiser_steps=work.steps,
        rollouts=work.rollouts + sampled.rollouts,
        sampled_tokens=work.sampled_tokens + sampled.sampled_tokens,
        seconds=0.0 if stage.name in stored else seconds,
        stored=stage.name in stored,
    )


def _test_items(run: Run, task: Task) -> int:
    """The items of one cell of a task or suite."""
    if run.data is not None:
        return len(asked_examples(run, task))
    bounds = [bound for bound in (run.limit, run.scale.test_items, task.twin_items) if bound is not None]
    return min(bounds)


def _model_bytes(run: Run) -> tuple[int, tuple[str, ...]]:
    """The size of the model's weights; 0 and a note where they are not here, for a plan may be made before."""
    try:
        return sum(path.stat().st_size for path in model_folder(run.scale).glob("*.safetensors")), ()
    except UserError as error:
        return 0, (f"disk without checkpoints: {error}",)


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


def units_of(run: Run, store: Store) -> Units:
    """What steps and items cost: medians over the runs of this scale in the store, else what the scale says."""
    found: dict[str, list[float]] = {}
    for info in list_runs(store)[0]:
        if info.record.scale.get("name") == run.scale.name:
            for kind, seconds in _measured(run, info):
                found.setdefault(kind, []).append(seconds)
    if not found:
        return Units(seconds=run.scale.seconds, source=f"what scale {run.scale.name} declares, measured on one core")
    middle = {kind: median(values) for kind, values in found.items()}
    slower = middle.pop("evaluation", 1.0)
    styles = {style: run.scale.seconds[style] * slower for style in run.scale.decodings if style in run.scale.seconds}
    source = f"earlier runs of scale {run.scale.name} in {store.root}"
    return Units(seconds={**run.scale.seconds, **styles, **middle}, source=source)


def _measured(run: Run, info: RunInfo) -> Iterator[tuple[str, float]]:
    """Seconds a step by learner and a selected item by selector; how much slower than declared evaluation was."""
    try:
        costs = read_costs(info.folder)
    except UserError:
        return
    select = info.record.paradigm.get("select") or {}
    usual: dict[str, float] = {}
    asked = info.record.scale.get("test_items") or 0
    for cell in cells_of(info.record.observations):
        usual[str(cell.stage)] = usual.get(str(cell.stage), 0.0) + asked * run.scale.seconds.get(cell.style, 0.0)
    for index, stage in costs.stages.items():
        steps, seconds, items, evaluation, selecting = (
            _number(stage, name)
            for name in ("optimiser_steps", "seconds", "items", "evaluation_seconds", "filter_seconds")
        )
        if steps >= LEAST_STEPS and seconds:
            yield str(info.record.paradigm["learner"]["name"]), seconds / steps
        if selecting and items:
            yield str(select.get("name")), selecting / items
        if info.finished and evaluation and usual.get(index, 0.0) >= LEAST_EVALUATION:
            yield "evaluation", evaluation / usual[index]


def _number(stage: Mapping[str, object], name: str) -> float:
    """A number of a stage's costs; 0 where there is none, or something that is no number."""
    value = stage.get(name)
    return float(value) if isinstance(value, (int, float)) and is_number(value) else 0.0
