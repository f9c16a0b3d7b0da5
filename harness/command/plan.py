"""What a run will do and cost, before it does it: stages, steps, rollouts, tokens, evaluations, disk and time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness.command.check import in_words
from harness.core import Run, Stage, Task, UserError
from harness.results.cells import read_cells
from harness.run_inputs import asked_examples, run_id, run_styles, run_tasks, training_examples, training_items
from harness.scales import model_folder
from harness.store.checkpoints import CELLS, Store
from harness.store.lineage import MANIFEST

ROWS_BYTES = 40_000  # of one cell's rows at the twin's size, as parquet
LEAST_STEPS = 16  # shorter stages mostly show what it takes to load a library
LEAST_EVALUATION = 5.0  # seconds, likewise
RESUME_COPIES = 4  # weights, two moments of AdamW, and the copy being written: all fp32


@dataclass(frozen=True, kw_only=True)
class Units:
    """Seconds of one optimiser step by learner, of one filtered item, and of one evaluated item by style."""

    step: Mapping[str, float]
    filtered: float
    item: Mapping[str, float]
    source: str


# Seconds of one core for an update of 64 replies, a batch of 16, and a reply of up to 8 and up to 32 tokens. A filtered
# item is eight of the latter.
TWIN_UNITS = Units(
    step={"sft": 0.17, "grpo": 1.7},
    filtered=0.05,
    item={"direct": 0.004, "cot": 0.006},
    source="default costs of the twin, measured on one CPU core",
)
LOADING = 10.0  # seconds until torch, transformers and TRL are there
COSTLIEST = "cot"  # what a style that a paradigm brings along is counted as


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
    units, stored = units_of(run, out), _stored(run, out)
    tasks = run_tasks(run)
    stages = tuple(_stage(run, stage, tasks, units, stored) for stage in run.paradigm.stages(run.stream))
    items = {name: _test_items(run, task) for name, task in tasks.items()}
    rows = len(stages) + 1
    seconds = {style: units.item.get(style, units.item[COSTLIEST]) for style in run_styles(run)}
    cells = rows * len(tasks) * len(seconds)
    model_bytes, missing = _model_bytes(run)
    return Plan(
        title=f"{run.paradigm.name} on {run.stream.name}, scale {run.scale.name}, seed {run.seed}",
        stages=stages,
        cells=cells,
        cells_stored=len(list((out / run_id(run) / "rows").glob("*.parquet"))),
        cell_items=max(items.values()),
        evaluation_seconds=rows * sum(items.values()) * sum(seconds.values()),
        disk_bytes=model_bytes * (len(stages) + RESUME_COPIES) + cells * ROWS_BYTES,
        notes=(*_notes(run, units), *missing),
    )


def learner(run: Run) -> str:
    """The name under which a scale keeps a learner's rate: its function's, without ``learn_``."""
    return run.paradigm.learn.__name__.removeprefix("learn_")


def _notes(run: Run, units: Units) -> Iterator[str]:
    yield f"time: from {units.source}"
    if run.paradigm.select is not None:
        yield "the filter may drop items: steps and rollouts are upper bounds"
    if learner(run) not in units.step:
        yield f"learner {learner(run)} has no known cost: its stages are counted as sft's"
    if run.limit is not None:
        yield "with --limit this is a trial: it cannot be published"


def _stage(run: Run, stage: Stage, tasks: Mapping[str, Task], units: Units, stored: frozenset[str]) -> StagePlan:
    scale = run.scale
    if run.data is None:
        distinct = training_items(run, stage)
    else:  # how much official data there is shows only when it is read
        distinct = {name: len(examples) for name, examples in training_examples(run, stage, tasks).items()}
    shown = sum(count * run.stream.epochs[name] for name, count in distinct.items())
    kind = learner(run) if learner(run) in units.step else "sft"
    steps, rollouts = math.ceil(shown / scale.sft_batch), 0
    if kind == "grpo":
        updates = max(1, min(scale.updates_per_rollout_batch, shown // scale.prompts_per_update))
        steps = math.ceil(shown / (scale.prompts_per_update * updates)) * updates
        rollouts = steps * scale.prompts_per_update * scale.rollouts
    filtered = sum(distinct.values()) if run.paradigm.select is not None else 0
    rollouts += filtered * scale.rollouts
    there = stage.name in stored
    return StagePlan(
        name=stage.name,
        tasks=stage.tasks,
        items=shown,
        optimiser_steps=steps,
        rollouts=rollouts,
        sampled_tokens=rollouts * scale.decodings[run.paradigm.style.name].max_new_tokens,
        seconds=0.0 if there else steps * units.step[kind] + filtered * units.filtered,
        stored=there,
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


def _stored(run: Run, out: Path) -> frozenset[str]:
    """The stages that this very run, started before, has finished; what other runs made is found when it is needed."""
    record = _json(out / run_id(run) / "run.json")
    made, whole = Store(out).checkpoints, record.get("finished") is True  # a whole run needs no checkpoints
    stages = [stage for stage in record.get("stages", ()) if stage.get("key")]
    return frozenset(stage["name"] for stage in stages if whole or (made / stage["key"] / MANIFEST).is_file())


def units_of(run: Run, out: Path) -> Units:
    """What steps and items cost: medians over the runs of this scale in the store, else the twin's defaults."""
    found: dict[str, list[float]] = {}
    for path in sorted(out.glob("*/costs.json")):
        record, costs = _json(path.parent / "run.json"), _json(path)
        if record.get("run", {}).get("scale", {}).get("name") == run.scale.name:
            for kind, seconds in _measured(record, costs, path.parent / CELLS):
                found.setdefault(kind, []).append(seconds)
    if not found:
        return TWIN_UNITS
    middle = {kind: median(values) for kind, values in found.items()}
    slower = middle.get("evaluation", 1.0)
    return Units(
        step={kind: middle.get(kind, cost) for kind, cost in TWIN_UNITS.step.items()},
        filtered=middle.get("filter", TWIN_UNITS.filtered),
        item={style: cost * slower for style, cost in TWIN_UNITS.item.items()},
        source=f"earlier runs of scale {run.scale.name} in {out}",
    )


def _measured(record: dict[str, Any], costs: dict[str, Any], cells: Path) -> Iterator[tuple[str, float]]:
    """Seconds a step by learner, seconds a filtered item, and how much slower than the defaults evaluation was."""
    kind = str(record["run"]["paradigm"]["learn"]).rpartition(".")[2].removeprefix("learn_")
    usual: dict[str, float] = {}
    for cell in read_cells(cells) if cells.is_file() else ():
        usual[str(cell.stage)] = usual.get(str(cell.stage), 0.0) + cell.n * TWIN_UNITS.item.get(cell.style, 0.0)
    for index, stage in costs.get("stages", {}).items():
        if stage.get("optimiser_steps", 0) >= LEAST_STEPS and stage.get("seconds"):
            yield kind, stage["seconds"] / stage["optimiser_steps"]
        if stage.get("filter_seconds") and stage.get("items"):
            yield "filter", stage["filter_seconds"] / stage["items"]
        if stage.get("evaluation_seconds") and usual.get(index, 0.0) >= LEAST_EVALUATION:
            yield "evaluation", stage["evaluation_seconds"] / usual[index]


def _json(path: Path) -> dict[str, Any]:
    """A JSON file's mapping; empty where there is none to be read, for a plan is only an estimate."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
