"""The one loop: base row, then for each stage select, learn, keep, and ask every task and suite in both styles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.asking.engines import Engine
from harness.asking.evaluate import evaluate_cell, mean, rows_key, summarise
from harness.core import (
    Cell,
    Example,
    Lesson,
    Progress,
    Row,
    Run,
    Scale,
    Stage,
    Style,
    Task,
    UserError,
    Verdict,
    stage_seed,
)
from harness.listener import Listener, Silent, Watch
from harness.results.cells import read_cells, write_cells
from harness.run_inputs import (
    asked_examples,
    base_checkpoint,
    data_print,
    run_id,
    run_styles,
    run_tasks,
    space_wanted,
    training_examples,
)
from harness.store import disk
from harness.store.checkpoints import CELLS, Store
from harness.store.lineage import Checkpoint, Costs, stage_key, training_inputs
from harness.store.record import Record, open_record
from harness.store.tables import from_parquet, to_parquet

EngineMaker = Callable[[Path, Scale], Engine]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished run: its id, its folder, and its cells in the order of cells.csv."""

    id: str
    folder: Path
    cells: tuple[Cell, ...]


@dataclass(kw_only=True)
class Desk:
    """What the loop works with; ``cells`` grows in the order of cells.csv."""

    run: Run
    id: str
    store: Store
    folder: Path
    record: Record
    listener: Listener
    engine: EngineMaker
    tasks: Mapping[str, Task]
    styles: Mapping[str, Style]
    tests: Mapping[str, tuple[Example, ...]]
    prints: Mapping[str, str]
    total: int
    cells: list[Cell] = field(default_factory=list)


def run(run: Run, out: Path, listener: Listener | None = None, engine: EngineMaker | None = None) -> Finished:
    """Do a run, or continue it, or serve it from the store; equal runs end with the same cells.csv.

    ``engine`` makes the engine that generates from a folder of weights; transformers by default. Raises UserError, with
    nothing half-written, for what the user can mend.
    """
    name = run_id(run)
    store = Store(out)
    listener = listener or Silent()
    with disk.refusing_disk_faults(out):
        stages = run.paradigm.stages(run.stream)
        tasks, styles = run_tasks(run), run_styles(run)
        base = base_checkpoint(run)
        tests = {key: asked_examples(run, task) for key, task in tasks.items()}
        prints = {key: data_print(run, examples) for key, examples in tests.items()}
        with store.hold(name) as folder:
            desk = Desk(
                run=run,
                id=name,
                store=store,
                folder=folder,
                record=open_record(folder, name, run, stages, tasks, prints, base.weights),
                listener=listener,
                engine=engine or transformers_engine,
                tasks=tasks,
                styles=styles,
                tests=tests,
                prints=prints,
                total=(len(stages) + 1) * len(tasks) * len(styles),
            )
            if not served(desk):
                go(desk, stages, base)
    return Finished(id=name, folder=folder, cells=tuple(desk.cells))


def served(desk: Desk) -> bool:
    """Whether a finished run whose checkpoints were freed is whole without them: its cells are those of its rows."""
    stages = desk.record.content["stages"]
    if desk.record.content["finished"] is not True or all(desk.store.has(stage["key"]) for stage in stages):
        return False
    try:
        cells = read_cells(desk.folder / CELLS)
        for cell in cells:
            rows = from_parquet(Row, desk.folder / "rows" / rows_name(cell.stage, cell.task, cell.style))
            if cell.score != mean([row.score for row in rows]):
                return False
    except (UserError, FileNotFoundError):
        return False  # what is missing or damaged is made again
    if len(cells) != desk.total:
        return False
    desk.listener.note("the run is finished and its checkpoints were freed: its cells are read from its folder")
    desk.cells = cells
    return True


def rows_name(stage: int, task: str, style: str) -> str:
    """The file of a cell's rows in the run's own folder."""
    return f"{stage}-{task}-{style}.parquet"


def go(desk: Desk, stages: tuple[Stage, ...], base: Checkpoint) -> None:
    """The loop: the base row, then each stage from the weights of the one before it."""
    desk.listener.stage(0, len(stages), "base")
    evaluate(desk, 0, base)
    parent = base
    for index, stage in enumerate(stages, start=1):
        desk.listener.stage(index, len(stages), stage.name)
        parent = study(desk, index, stage, parent, base)
        evaluate(desk, index, parent)
    save_cells(desk)
    desk.record.finish()


def study(desk: Desk, index: int, stage: Stage, parent: Checkpoint, base: Checkpoint) -> Checkpoint:
    """The checkpoint of a stage: from the store, where any run made it, or learned now."""
    lesson, inputs, reference = prepare(desk, stage, parent, base)
    key = stage_key(inputs)
    lesson = replace(lesson, folder=desk.store.partial(key) / "trainer")
    with desk.store.guard():
        desk.record.stage(
            index, key=key, seed=lesson.seed, parent=parent.weights, reference=reference, data=inputs["lessons"]
        )
    lock = desk.store.stage_lock(key)
    if not lock.take():
        desk.listener.note(f"waiting for process {lock.owner()}, which trains the same stage {stage.name}")
    with lock:
        made = desk.store.checkpoint(key, parent.weights)
        desk.record.begins(index, stage.name, shared=made is not None)
        if made is not None:
            desk.listener.note(f"stage {stage.name} is in the store as {key[:12]}")
        else:
            disk.need_space(desk.store.root, space_wanted(parent.path))
            made = learn(desk, key, lesson, parent, reference, inputs)
    verdicts = desk.store.verdicts(key)
    if verdicts is not None:
        disk.write(desk.folder / f"verdicts-{index}.parquet", to_parquet(Verdict, verdicts))
    desk.record.learned(index, stage.name, made)
    return made


def prepare(
    desk: Desk, stage: Stage, parent: Checkpoint, base: Checkpoint
) -> tuple[Lesson, dict[str, Any], str | None]:
    """A stage's lesson, still without a folder; all that decides what it learns; and the reference's digest."""
    run = desk.run
    examples = training_examples(run, stage, desk.tasks)
    anchor = {"previous": parent, "base": base}[run.paradigm.reference] if run.paradigm.kl else None
    seed = stage_seed(run.seed, parent.weights, stage.name)
    lesson = Lesson(
        paradigm=run.paradigm,
        scale=run.scale,
        stage=stage,
        examples=tuple((desk.tasks[name], example) for name in stage.tasks for example in examples[name]),
        epochs={name: run.stream.epochs[name] for name in stage.tasks},
        model=parent.path,
        reference=anchor.path if anchor else None,
        seed=seed,
        folder=desk.store.root,
    )
    inputs = training_inputs(
        run.paradigm,
        run.scale,
        stage,
        tasks=desk.tasks,
        epochs=lesson.epochs,
        data={name: data_print(run, examples[name]) for name in stage.tasks},
        parent=parent.weights,
        reference=anchor.weights if anchor else None,
        seed=seed,
    )
    return lesson, inputs, anchor.weights if anchor else None


def learn(
    desk: Desk, key: str, lesson: Lesson, parent: Checkpoint, reference: str | None, inputs: dict[str, Any]
) -> Checkpoint:
    """Select and learn, resuming what an earlier process left; a filter that keeps nothing leaves the weights alone."""
    lesson.folder.mkdir(parents=True, exist_ok=True)
    watch = Watch(desk.store.partial(key))
    verdicts = filtered(desk, key, lesson, watch)
    dropped = {verdict.id for verdict in verdicts or () if not verdict.kept}
    kept = tuple(pair for pair in lesson.examples if pair[1].id not in dropped)

    def report(progress: Progress) -> None:
        watch.tick("seconds")
        desk.listener.progress(progress)

    if kept:
        learned = desk.run.paradigm.learn(replace(lesson, examples=kept, report=report))
        source, counts = learned.weights, (learned.optimiser_steps, learned.sampled_tokens, learned.trained_tokens)
    else:
        desk.listener.note(f"the filter kept no example of {lesson.stage.name}: the stage learns nothing")
        source, counts = parent.path, (0, 0, 0)
    watch.tick("seconds", force=True)
    costs = Costs(
        items=len(lesson.examples),
        kept=len(kept),
        optimiser_steps=counts[0],
        sampled_tokens=counts[1],
        trained_tokens=counts[2],
        filter_rollouts=sum(verdict.rollouts for verdict in verdicts or ()),
        filter_sampled_tokens=sum(verdict.sampled_tokens for verdict in verdicts or ()),
        seconds=watch.seconds["seconds"],
        filter_seconds=watch.seconds["filter_seconds"],
    )
    return desk.store.finish(
        key, source, stage=lesson.stage.name, parent=parent.weights, reference=reference, costs=costs, inputs=inputs
    )


def filtered(desk: Desk, key: str, lesson: Lesson, watch: Watch) -> list[Verdict] | None:
    """The filter's verdicts, one per example: kept from an earlier try, or made now; None without a filter."""
    select = desk.run.paradigm.select
    if select is None:
        return None
    verdicts = desk.store.verdicts(key)
    if verdicts is None:
        verdicts = list(select(lesson))
        if sorted(verdict.id for verdict in verdicts) != sorted(example.id for _, example in lesson.examples):
            raise ValueError(f"the filter of {desk.run.paradigm.name} did not give one verdict for each example")
        watch.tick("filter_seconds", force=True)
        desk.store.save_verdicts(key, verdicts)
    return verdicts


def evaluate(desk: Desk, index: int, checkpoint: Checkpoint) -> None:
    """A cell for each task and suite in each style; the model is loaded once, and only if a cell is missing."""
    engine: Engine | None = None
    for name, task in desk.tasks.items():
        for style in desk.styles.values():
            decoding = desk.run.scale.decodings[style.name]
            examples, scale = desk.tests[name], desk.run.scale
            key = rows_key(checkpoint.weights, task, examples, desk.prints[name], style, decoding, scale)
            rows = desk.store.rows(key)
            fresh = rows is None
            if rows is None:
                begun = time.monotonic()
                engine = engine or desk.engine(checkpoint.path, scale)
                rows = evaluate_cell(engine, task, examples, style, decoding, scale.eval_batch)
                desk.store.save_rows(key, rows)
                desk.record.evaluated(index, checkpoint.stage, time.monotonic() - begun)
            disk.write(
                desk.folder / "rows" / rows_name(index, name, style.name), desk.store.rows_bytes(key), derived=True
            )
            cell = summarise(
                rows,
                run=desk.id,
                stage=index,
                stage_name=checkpoint.stage,
                task=task,
                style=style,
                decoding=decoding,
                weights=checkpoint.weights,
                data=desk.prints[name],
            )
            desk.cells.append(cell)
            if fresh:
                save_cells(desk)
            desk.listener.cell(cell, len(desk.cells), desk.total)


def save_cells(desk: Desk) -> None:
    """Write cells.csv as far as the run is."""
    disk.write(desk.folder / CELLS, write_cells(desk.cells).encode(), derived=len(desk.cells) < desk.total)


def transformers_engine(folder: Path, scale: Scale) -> Engine:
    """The default engine, imported only when a model is needed."""
    from harness.asking.engines.transformers import TransformersEngine

    return TransformersEngine(folder, scale)


__all__ = ["EngineMaker", "Finished", "Listener", "Silent", "run", "run_id"]
