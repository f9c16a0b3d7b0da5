"""What a run is called and what it will see: its id, the items of a stage, the data behind them. Light to import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.asking.evaluate import PICTURES_OF_OFFICIAL_DATA, fingerprint
from harness.asking.styles import STYLES
from harness.core import SPLITS, Example, Run, Stage, Style, Task, UserError, digest, replace
from harness.registry import slug, typed
from harness.scales import model_folder
from harness.store.lineage import Checkpoint, weights_digest

MAX_SEED = 2**31 - 1
ALL = 10**9
# A resume state holds weights and two moments in fp32, and the next one is written before the last one is removed.
_STATE = 6
_SLACK = 64 * 2**20


def run_tasks(run: Run) -> dict[str, Task]:
    """The stream's tasks and then its suites, by name, in the order of cells."""
    return {name: typed(Task, name) for name in dict.fromkeys(run.stream.tasks + run.stream.general)}


def run_styles(run: Run) -> dict[str, Style]:
    """The styles that every cell is asked in, by name: direct, cot, and the paradigm's own where it is another."""
    styles = {style.name: style for style in (*STYLES, run.paradigm.style)}
    for name in styles:
        if name not in run.scale.decodings:
            raise UserError(f"scale {run.scale.name} has no decoding for style {name}: add one to its decodings")
    return styles


def run_id(run: Run) -> str:
    """The name of a run: what a reader wants to know first, and eight hex digits over all declared inputs.

    These are paradigm, stream, scale, seed, limit, split, whether there is official data, and the versions of tasks and
    paradigm; not the folder of the data, whose fingerprints the record keeps. Raises UserError for what cannot be.
    """
    if not 0 <= run.seed <= MAX_SEED:
        raise UserError(f"seed {run.seed} is out of range: use 0 to {MAX_SEED}")
    if run.limit is not None and run.limit < 1:
        raise UserError(f"limit {run.limit} leaves nothing to do: use 1 or more")
    if run.split not in SPLITS or run.split in ("train", "pretrain"):
        raise UserError(f"split {run.split!r} is not for evaluation: use test or validation")
    if run.scale.train_items is None and run.data is None:
        raise UserError(f"scale {run.scale.name} wants the official data: add --data FOLDER, or use --scale twin")
    parts = [slug(run.paradigm.name), slug(run.stream.name), slug(run.scale.name), f"s{run.seed}"]
    parts += [f"limit{run.limit}"] if run.limit is not None else []
    parts += ["validation"] if run.split == "validation" else []
    parts += ["data"] if run.data is not None else []
    versions = {name: task.version for name, task in run_tasks(run).items()}
    declared = digest([replace(run, data="official" if run.data else None), versions])
    return "-".join([*parts, declared[:8]])


def training_items(run: Run, stage: Stage) -> dict[str, int]:
    """How many training items of each task a stage sees, each counted once, before a filter.

    A scale's ``train_items`` are presentations, so a task of e epochs gets that many divided by e, at least one; a
    stage on several tasks gets what their own stages would. ``limit`` bounds the items of the whole stage.
    """
    share = ALL if run.limit is None else max(1, run.limit // len(stage.tasks))
    whole = ALL if run.scale.train_items is None else run.scale.train_items
    return {name: min(share, max(1, whole // run.stream.epochs[name])) for name in stage.tasks}


def training_examples(run: Run, stage: Stage, tasks: Mapping[str, Task]) -> dict[str, tuple[Example, ...]]:
    """The training items of a stage by task, each once."""
    return {name: _load(run, tasks[name], "train", count) for name, count in training_items(run, stage).items()}


def asked_examples(run: Run, task: Task) -> tuple[Example, ...]:
    """The items that a cell of the task is made of."""
    bounds = [bound for bound in (run.scale.test_items, run.limit) if bound is not None]
    return _load(run, task, run.split, min(bounds, default=ALL))


def _load(run: Run, task: Task, split: str, count: int) -> tuple[Example, ...]:
    """The first ``count`` items of a split. Raises UserError where there are none or two have one id."""
    folder = None if run.data is None else Path(run.data)
    if folder is not None and not folder.is_dir():
        raise UserError(f"data folder {folder} does not exist: give the folder that holds {task.name}/")
    if folder is None and task.twin_items is not None:
        count = min(count, task.twin_items)
    examples = task.load(split, count, folder)
    if len({example.id for example in examples}) != len(examples):
        raise UserError(f"two {split} items of {task.name} have one id: give every item an id of its own")
    return examples


def data_print(run: Run, examples: tuple[Example, ...]) -> str:
    """The fingerprint of examples: all pictures of a twin, the first 64 of official data."""
    return fingerprint(examples, None if run.data is None else PICTURES_OF_OFFICIAL_DATA)


def base_checkpoint(run: Run) -> Checkpoint:
    """The model that the run starts from."""
    folder = model_folder(run.scale)
    return Checkpoint(path=folder, weights=weights_digest(folder))


def space_wanted(model: Path) -> int:
    """The bytes that a stage from this model may need at most: checkpoint and resume states."""
    return _STATE * sum(file.stat().st_size for file in model.glob("*.safetensors")) + _SLACK
