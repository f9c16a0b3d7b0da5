"""What a run is called and what it will see: its id, its observations, the items of a stage. Light to import."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.asking.chat import Text
from harness.asking.evaluate import PICTURES_OF_OFFICIAL_DATA, pictures_digest
from harness.asking.marking import scorer_name
from harness.asking.styles import STYLES
from harness.core import (
    OWN_STYLE,
    SPLITS,
    Example,
    Observation,
    Paradigm,
    Probe,
    Run,
    Stage,
    Stream,
    Style,
    Suite,
    Task,
    UserError,
    broken,
    collecting,
    digest,
    plain,
    replace,
    slug,
)
from harness.data.lock import LockedSet, current_set
from harness.registry import all_of, typed
from harness.scales import model_folder
from harness.store.lineage import Checkpoint, part_inputs, ranks_inputs, style_inputs
from harness.values import cut
from harness.weights import weights_digest

MAX_SEED = 2**31 - 1
ALL = 10**9
_SLACK = 64 * 2**20


def run_tasks(run: Run) -> dict[str, Task]:
    """The stream's tasks and then its suites that are tasks of ours, by name, in the order of cells."""
    suites = [name for name in run.stream.general if name not in all_of("suite")]
    return {name: typed(Task, name) for name in dict.fromkeys((*run.stream.tasks, *suites))}


def run_suites(run: Run) -> dict[str, Suite]:
    """The stream's suites that outside libraries ask and mark, by name. Raises UserError where one is a task too."""
    found = {name: typed(Suite, name) for name in run.stream.general if name in all_of("suite")}
    for name in found:
        if name in all_of("task"):
            raise UserError(f"{name} is both a task and a suite, so their cells would be one: rename one of them")
    return found


WHICH_SUITES = ("native", "library", "both")


def with_suites(stream: Stream, which: str) -> Stream:
    """The stream with its general tasks marked by our scorers, by the suites that stand for them, or by both.

    Raises:
        UserError: where ``which`` is none of the three, or no suite stands for any of the stream's.
    """
    if which not in WHICH_SUITES:
        raise UserError(f"--suites {cut(which, 40)} is unknown: use one of {', '.join(WHICH_SUITES)}")
    if which == "native":
        return stream
    known = [suite for suite in all_of("suite").values() if isinstance(suite, Suite)]
    general: list[str] = []
    for name in stream.general:
        suites = [suite.name for suite in known if suite.stands_for == name]
        general += [*([name] if which == "both" or not suites else []), *suites]
    if general == list(stream.general):
        raise UserError(f"no library's suite stands for one of stream {stream.name}: leave out --suites")
    return replace(stream, general=tuple(general))


def run_probes(run: Run) -> dict[str, Probe]:
    """The stream's probes, by name."""
    return {name: typed(Probe, name) for name in run.stream.probes}


def run_styles(run: Run) -> dict[str, Style]:
    """The styles that every cell is asked in, by name: direct, cot, and the paradigm's own where it is another."""
    styles = {style.name: style for style in (*STYLES, run.paradigm.style)}
    for name in styles:
        if name not in run.scale.decodings:
            raise UserError(f"scale {run.scale.name} has no decoding for style {name}: add one to its decodings")
    return styles


def run_stages(run: Run) -> tuple[Stage, ...]:
    """The paradigm's stages of the stream. Raises UserError where they are none, or of tasks that the stream lacks."""
    stages = run.paradigm.stages(run.stream)
    called = f"the stages of {run.paradigm.name} on {run.stream.name}"
    if not isinstance(stages, tuple) or not stages or not all(isinstance(stage, Stage) for stage in stages):
        raise UserError(f"{called} are {cut(repr(stages), 60)}: give a tuple of one Stage or more")
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise UserError(f"{called} repeat a name ({', '.join(names)}): their seeds would be one; give each its own")
    for stage in stages:
        if foreign := set(stage.tasks) - set(run.stream.tasks):
            raise UserError(f"{called}: stage {stage.name} trains {sorted(foreign)[0]}, which the stream does not have")
    return stages


def observations(run: Run) -> tuple[Observation, ...]:
    """All that is looked at, in the order of cells.csv: after base and stages, tasks and suites, then probes."""
    names = ["base", *(stage.name for stage in run_stages(run))]
    tasks, suites, styles = run_tasks(run), run_suites(run), run_styles(run)
    found = []
    for index, stage in enumerate(names):
        for name in dict.fromkeys((*run.stream.tasks, *run.stream.general)):
            place: dict[str, Any] = {"stage": index, "stage_name": stage, "name": name}
            if name in tasks:
                for style in styles:
                    decoding = run.scale.decodings[style].name
                    found.append(Observation(**place, kind="task", style=style, decoding=decoding))
            else:
                found.append(
                    Observation(
                        **place, kind="suite", style=OWN_STYLE, decoding=suites[name].decoding_at(run.scale).name
                    )
                )
        if index:
            found += [Observation(stage=index, stage_name=stage, kind="probe", name=p) for p in run.stream.probes]
    return tuple(found)


def cells_of(found: tuple[Observation, ...]) -> tuple[Observation, ...]:
    """The observations that become cells: all but probes."""
    return tuple(one for one in found if one.kind != "probe")


def run_id(run: Run) -> str:
    """The name of a run: what a reader wants to know first, and eight hex digits over all that moves its numbers.

    These are stream, stages, learner and selector with the fields that they obey, styles, sizes of training and
    evaluation, seed, limit, split, whether there is official data, and the scorers; no citation and no path. The record
    keeps the fingerprints of base and data. Raises UserError for what cannot be.
    """
    if type(run.seed) is not int or not 0 <= run.seed <= MAX_SEED:
        raise UserError(f"seed {run.seed!r} is out of range: use 0 to {MAX_SEED}")
    if run.limit is not None and (type(run.limit) is not int or run.limit < 1):
        raise UserError(f"limit {run.limit!r} leaves nothing to do: use 1 or more")
    if run.split not in SPLITS or run.split in ("train", "pretrain"):
        raise UserError(f"split {run.split!r} is not for evaluation: use test or validation")
    if run.scale.train_items is None and run.data is None:
        raise UserError(f"scale {run.scale.name} wants the official data: add --data FOLDER, or use --scale twin")
    return id_of((run.paradigm.name, run.stream.name, run.scale.name), declared(run))


def id_of(names: tuple[str, str, str], known: Mapping[str, Any]) -> str:
    """A run's id from the names of paradigm, stream and scale, and from what it was ``declared`` to be."""
    parts = [*map(slug, names), f"s{known['seed']}"]
    parts += [f"limit{known['limit']}"] if known["limit"] is not None else []
    parts += ["validation"] if known["split"] == "validation" else []
    parts += ["data"] if known["official"] else []
    return "-".join([*parts, digest(known)[:8]])


def declared(run: Run) -> dict[str, Any]:
    """What a run's id is made of."""
    paradigm, scale = run.paradigm, run.scale
    learner = paradigm.learner
    if learner.name not in scale.rates and "rates" in learner.obeys:
        raise UserError(f"scale {scale.name} has no learning rate for learner {learner.name}: add one to its rates")
    given = Path(scale.model)
    sizes = ("precision", "train_items", "test_items", "eval_batch", "min_pixels", "max_pixels", "max_prompt_tokens")
    tasks = {name: [scorer_name(task), task.suffix, task.twin] for name, task in run_tasks(run).items()}
    nouns: dict[str, Suite | Probe] = {**run_suites(run), **run_probes(run)}
    others = {name: noun.version for name, noun in nouns.items()}
    select = part_inputs(paradigm.select, paradigm, scale, learner.name) if paradigm.select else None
    found: dict[str, Any] = {
        "learner": part_inputs(learner, paradigm, scale, learner.name),
        "select": select,
        "reference": paradigm.reference if paradigm.kl else None,
        "stages": [[stage.name, stage.tasks, stage.shares] for stage in run_stages(run)],
        "stream": [run.stream.tasks, run.stream.epochs, run.stream.general, run.stream.probes],
        "styles": {name: style_inputs(style, marks=True) for name, style in run_styles(run).items()},
        "decodings": {name: scale.decodings[name].max_new_tokens for name in run_styles(run)},
        "own": paradigm.style.name,
        "model": given.name if given.is_dir() else scale.model,
        "engine": scale.engine,
        "sizes": {name: getattr(scale, name) for name in sizes},
        "tasks": {name: [*entry[:2], _twin_name(entry[2])] for name, entry in tasks.items()},
        "others": others,
        "seed": run.seed,
        "limit": run.limit,
        "split": run.split,
        "official": run.data is not None,
        **ranks_inputs(paradigm, scale),
    }
    if run.left_out:
        found["left_out"] = run.left_out
    resolved: dict[str, Any] = plain(found)
    return resolved


def _twin_name(twin: Any) -> str:
    """The module of a generator: a plugin's changes when its file does; the items themselves are in the keys."""
    return str(getattr(twin, "__module__", ""))


def training_items(run: Run, stage: Stage) -> dict[str, int]:
    """How many training items of each task a stage sees, each counted once, before a selection.

    A scale's ``train_items`` are presentations, so a task of e epochs gets that many divided by e, times the stage's
    share of the task, at least one; a stage on several tasks gets what their own stages would. ``limit`` bounds the
    items of the whole stage. A scale without ``train_items`` takes all that there are: of these a share is known only
    when they are loaded (``load_share``).
    """
    share = ALL if run.limit is None else max(1, run.limit // len(stage.tasks))
    whole = ALL if run.scale.train_items is None else run.scale.train_items
    found = {}
    for name in stage.tasks:
        items = whole // run.stream.epochs[name]
        found[name] = min(share, max(1, int(items * stage.shares.get(name, 1.0))))
    return found


def training_examples(run: Run, stage: Stage, tasks: Mapping[str, Task]) -> dict[str, tuple[Example, ...]]:
    """The training items of a stage by task, each once."""
    return {name: load_share(run, tasks[name], stage, count) for name, count in training_items(run, stage).items()}


def load_share(run: Run, task: Task, stage: Stage, count: int) -> tuple[Example, ...]:
    """At most ``count`` training items of a task in a stage, and of all its items no more than the stage's share."""
    examples = load_items(run, task, "train", count)
    share = stage.shares.get(task.name, 1.0)
    if share == 1 or run.scale.train_items is not None:
        return examples
    found = len(examples) if count >= ALL else len(load_items(run, task, "train", ALL))
    most = max(1, int(found * share))
    return examples if len(examples) <= most else load_items(run, task, "train", most)


def asked_examples(run: Run, task: Task) -> tuple[Example, ...]:
    """The items that a cell of the task is made of."""
    bounds = [bound for bound in (run.scale.test_items, run.limit) if bound is not None]
    return load_items(run, task, run.split, min(bounds, default=ALL))


def suite_examples(run: Run, suite: Suite) -> tuple[Example, ...]:
    """The prompts of a suite, as many as a cell has items, without those that the run leaves out.

    Raises UserError where it gives more.
    """
    bounds = [bound for bound in (run.scale.test_items, run.limit) if bound is not None]
    count = min(bounds, default=ALL)
    found = tuple(suite.ask(None if run.data is None else Path(run.data), count))
    if len(found) > count:
        raise UserError(f"suite {suite.name} gives {len(found)} prompts where {count} are asked for: mend it")
    kept = tuple(example for example in found if (suite.name, example.id) not in run.left_out)
    return _sound(f"the prompts of suite {suite.name}", kept)


def prompt_of(example: Example) -> Text:
    """A suite's own prompt: its question, or that after the turns before it."""
    return (*example.turns, ("user", example.question)) if example.turns else example.question


def load_items(run: Run, task: Task, split: str, count: int) -> tuple[Example, ...]:
    """``count`` items of a split, without those that the run leaves out.

    Raises UserError where there are none, one is not what an item is, or a file is not what the lock file says.
    """
    folder = None if run.data is None else Path(run.data)
    if folder is not None and not folder.is_dir():
        raise UserError(f"data folder {folder} does not exist: give the folder that holds {task.name}/")
    if folder is None and task.twin_items is not None:
        count = min(count, task.twin_items)
    if folder is not None and task.official is not None:
        current_set(folder, task, write=False)
    left_out = {item for name, item in run.left_out if name == task.name}
    with collecting() if left_out else nullcontext(()) as faults:
        examples = task.load(split, count, folder)
    for fault in faults:
        if fault.item not in left_out:
            broken(fault)
    if left_out:
        examples = tuple(example for example in examples if example.id not in left_out)
    return _sound(f"the {split} items of {task.name}", examples)


def _sound(what: str, examples: tuple[Example, ...]) -> tuple[Example, ...]:
    """The examples, each one looked at: texts are texts, there is a gold answer, ids are different."""
    for number, example in enumerate(examples):
        if not isinstance(example, Example):
            raise UserError(f"{what}: number {number} is {cut(repr(example), 60)}, no Example")
        texts = (example.id, example.question, example.group, example.rationale, *example.answers, *example.choices)
        if not all(isinstance(text, str) for text in texts) or not example.id:
            raise UserError(f"{what}: number {number} ({cut(repr(example.id), 60)}) holds a text that is none")
        if not isinstance(example.answers, tuple) or not example.answers:
            raise UserError(f"{what}: {cut(example.id, 60)} has no gold answer: give a tuple that begins with it")
    if len({example.id for example in examples}) != len(examples):
        raise UserError(f"{what}: two have one id: give every item an id of its own")
    return examples


def pictures_of(run: Run, name: str, examples: tuple[Example, ...]) -> str:
    """The digest of examples' pictures, of a twin all of them.

    Of official data it is the fingerprint of the set's files, and how the loader opens the pictures of the first 64
    items.
    """
    if run.data is None:
        return pictures_digest(examples)
    first = pictures_digest(examples, PICTURES_OF_OFFICIAL_DATA)
    locked = locked_set(run, name)
    return digest([locked.fingerprint, first]) if locked else first


def locked_set(run: Run, name: str) -> LockedSet | None:
    """The set of a task, or of the task that a suite stands for, as it is now in the folder of official data.

    It is compared with the lock file, or locked now. None for a twin, and for a suite that stands for no task. Raises
    UserError where a file is another.
    """
    task = task_of(name)
    return None if run.data is None or task is None else current_set(Path(run.data), task)


def task_of(name: str) -> Task | None:
    """The task of a name, or the one that the suite of that name stands for; None where it stands for none."""
    if name in all_of("suite"):
        name = typed(Suite, name).stands_for
    return typed(Task, name) if name else None


def data_sets(run: Run) -> dict[str, dict[str, str]]:
    """Source, revision and fingerprint of each set of official data that the run reads; none for twins."""
    tasks = {**run_tasks(run), **{name: task_of(name) for name in run_suites(run)}}
    found = {task.name: locked_set(run, task.name) for task in tasks.values() if task is not None}
    return {
        name: {"source": one.source, "revision": one.revision, "fingerprint": one.fingerprint}
        for name, one in found.items()
        if one is not None
    }


def base_checkpoint(run: Run) -> Checkpoint:
    """The model that the run starts from."""
    folder = model_folder(run.scale)
    return Checkpoint(path=folder, weights=weights_digest(folder))


def space_wanted(paradigm: Paradigm, base: Path) -> int:
    """The bytes that a stage on this model may need at most: checkpoint and resume states, in fp32.

    Both are of all weights, or of an adapter, whose checkpoint may be merged.
    """
    from harness.budget import shape, storage

    model, adapter = shape.of_folder(base), paradigm.adapter
    trained = model.adapter(adapter.rank, adapter.targets) if adapter and model.known else model.parameters
    kept = trained if adapter and adapter.keep == "adapter" else model.parameters
    return storage.of(kept, trained, checkpoints=0, cells=0) + _SLACK


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The items of one column of cells: examples, the digest of their pictures, and their fingerprint."""

    examples: tuple[Example, ...]
    pictures: str
    data: str
