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
    Job,
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
class Session:
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
            session = Session(
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
            if not served(session):
                go(session, stages, base)
    return Finished(id=name, folder=folder, cells=tuple(session.cells))


def served(session: Session) -> bool:
    """Whether a finished run whose checkpoints were freed is whole without them: its cells are those of its rows."""
    stages = session.record.content["stages"]
    if session.record.content["finished"] is not True or all(session.store.has(stage["key"]) for stage in stages):
        return False
    try:
        cells = read_cells(session.folder / CELLS)
        for cell in cells:
            rows = from_parquet(Row, session.folder / "rows" / rows_name(cell.stage, cell.task, cell.style))
            if cell.score != mean([row.score for row in rows]):
                return False
    except (UserError, FileNotFoundError):
        return False  # what is missing or damaged is made again
    if len(cells) != session.total:
        return False
    session.listener.note("the run is finished and its checkpoints were freed: its cells are read from its folder")
    session.cells = cells
    return True


def rows_name(stage: int, task: str, style: str) -> str:
    """The file of a cell's rows in the run's own folder."""
    return f"{stage}-{task}-{style}.parquet"


def go(session: Session, stages: tuple[Stage, ...], base: Checkpoint) -> None:
    """The loop: the base row, then each stage from the weights of the one before it."""
    session.listener.stage(0, len(stages), "base")
    evaluate(session, 0, base)
    parent = base
    for index, stage in enumerate(stages, start=1):
        session.listener.stage(index, len(stages), stage.name)
        parent = train_stage(session, index, stage, parent, base)
        evaluate(session, index, parent)
    save_cells(session)
    session.record.finish()


def train_stage(session: Session, index: int, stage: Stage, parent: Checkpoint, base: Checkpoint) -> Checkpoint:
    """The checkpoint of a stage: from the store, where any run made it, or learned now."""
    job, inputs, reference = prepare(session, stage, parent, base)
    key = stage_key(inputs)
    job = replace(job, folder=session.store.partial(key) / "trainer")
    with session.store.guard():
        session.record.stage(
            index, key=key, seed=job.seed, parent=parent.weights, reference=reference, data=inputs["data"]
        )
    lock = session.store.stage_lock(key)
    if not lock.take():
        session.listener.note(f"waiting for process {lock.owner()}, which trains the same stage {stage.name}")
    with lock:
        made = session.store.checkpoint(key, parent.weights)
        session.record.begins(index, stage.name, shared=made is not None)
        if made is not None:
            session.listener.note(f"stage {stage.name} is in the store as {key[:12]}")
        else:
            disk.need_space(session.store.root, space_wanted(parent.path))
            made = select_and_train(session, key, job, parent, reference, inputs)
    verdicts = session.store.verdicts(key)
    if verdicts is not None:
        disk.write(session.folder / f"verdicts-{index}.parquet", to_parquet(Verdict, verdicts))
    session.record.learned(index, stage.name, made)
    return made


def prepare(
    session: Session, stage: Stage, parent: Checkpoint, base: Checkpoint
) -> tuple[Job, dict[str, Any], str | None]:
    """A stage's job, still without a folder; all that decides what it learns; and the reference's digest."""
    run = session.run
    examples = training_examples(run, stage, session.tasks)
    anchor = {"previous": parent, "base": base}[run.paradigm.reference] if run.paradigm.kl else None
    seed = stage_seed(run.seed, parent.weights, stage.name)
    job = Job(
        paradigm=run.paradigm,
        scale=run.scale,
        stage=stage,
        examples=tuple((session.tasks[name], example) for name in stage.tasks for example in examples[name]),
        epochs={name: run.stream.epochs[name] for name in stage.tasks},
        model=parent.path,
        reference=anchor.path if anchor else None,
        seed=seed,
        folder=session.store.root,
    )
    inputs = training_inputs(
        run.paradigm,
        run.scale,
        stage,
        tasks=session.tasks,
        epochs=job.epochs,
        data={name: data_print(run, examples[name]) for name in stage.tasks},
        parent=parent.weights,
        reference=anchor.weights if anchor else None,
        seed=seed,
    )
    return job, inputs, anchor.weights if anchor else None


def select_and_train(
    session: Session, key: str, job: Job, parent: Checkpoint, reference: str | None, inputs: dict[str, Any]
) -> Checkpoint:
    """Select and learn, resuming what an earlier process left; a filter that keeps nothing leaves the weights alone."""
    job.folder.mkdir(parents=True, exist_ok=True)
    watch = Watch(session.store.partial(key))
    verdicts = filtered(session, key, job, watch)
    dropped = {verdict.id for verdict in verdicts or () if not verdict.kept}
    kept = tuple(pair for pair in job.examples if pair[1].id not in dropped)

    def report(progress: Progress) -> None:
        watch.tick("seconds")
        session.listener.progress(progress)

    if kept:
        learned = session.run.paradigm.learn(replace(job, examples=kept, report=report))
        source, counts = learned.weights, (learned.optimiser_steps, learned.sampled_tokens, learned.trained_tokens)
    else:
        session.listener.note(f"the filter kept no example of {job.stage.name}: the stage learns nothing")
        source, counts = parent.path, (0, 0, 0)
    watch.tick("seconds", force=True)
    costs = Costs(
        items=len(job.examples),
        kept=len(kept),
        optimiser_steps=counts[0],
        sampled_tokens=counts[1],
        trained_tokens=counts[2],
        filter_rollouts=sum(verdict.rollouts for verdict in verdicts or ()),
        filter_sampled_tokens=sum(verdict.sampled_tokens for verdict in verdicts or ()),
        seconds=watch.seconds["seconds"],
        filter_seconds=watch.seconds["filter_seconds"],
    )
    return session.store.finish(
        key, source, stage=job.stage.name, parent=parent.weights, reference=reference, costs=costs, inputs=inputs
    )


def filtered(session: Session, key: str, job: Job, watch: Watch) -> list[Verdict] | None:
    """The filter's verdicts, one per example: kept from an earlier try, or made now; None without a filter."""
    select = session.run.paradigm.select
    if select is None:
        return None
    verdicts = session.store.verdicts(key)
    if verdicts is None:
        verdicts = list(select(job))
        if sorted(verdict.id for verdict in verdicts) != sorted(example.id for _, example in job.examples):
            raise ValueError(f"the filter of {session.run.paradigm.name} did not give one verdict for each example")
        watch.tick("filter_seconds", force=True)
        session.store.save_verdicts(key, verdicts)
    return verdicts


def evaluate(session: Session, index: int, checkpoint: Checkpoint) -> None:
    """A cell for each task and suite in each style; the model is loaded once, and only if a cell is missing."""
    engine: Engine | None = None
    for name, task in session.tasks.items():
        for style in session.styles.values():
            decoding = session.run.scale.decodings[style.name]
            examples, scale = session.tests[name], session.run.scale
            key = rows_key(checkpoint.weights, task, examples, session.prints[name], style, decoding, scale)
            rows = session.store.rows(key)
            fresh = rows is None
            if rows is None:
                begun = time.monotonic()
                engine = engine or session.engine(checkpoint.path, scale)
                rows = evaluate_cell(engine, task, examples, style, decoding, scale.eval_batch)
                session.store.save_rows(key, rows)
                session.record.evaluated(index, checkpoint.stage, time.monotonic() - begun)
            disk.write(
                session.folder / "rows" / rows_name(index, name, style.name),
                session.store.rows_bytes(key),
                derived=True,
            )
            cell = summarise(
                rows,
                run=session.id,
                stage=index,
                stage_name=checkpoint.stage,
                task=task,
                style=style,
                decoding=decoding,
                weights=checkpoint.weights,
                data=session.prints[name],
            )
            session.cells.append(cell)
            if fresh:
                save_cells(session)
            session.listener.cell(cell, len(session.cells), session.total)


def save_cells(session: Session) -> None:
    """Write cells.csv as far as the run is."""
    disk.write(session.folder / CELLS, write_cells(session.cells).encode(), derived=len(session.cells) < session.total)


def transformers_engine(folder: Path, scale: Scale) -> Engine:
    """The default engine, imported only when a model is needed."""
    from harness.asking.engines.transformers import TransformersEngine

    return TransformersEngine(folder, scale)


__all__ = ["EngineMaker", "Finished", "Listener", "Silent", "run", "run_id"]
