"""One stage of a run: its job, what decides it, selection and training, and the checkpoint that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.core import Example, Job, Progress, Stage, Task, Trained, Verdict, replace, stage_seed
from harness.listener import Watch
from harness.run_inputs import pictures_of, space_wanted, training_examples
from harness.session import Session
from harness.store import disk
from harness.store.environment import device_kind, environment
from harness.store.lineage import Checkpoint, Costs, stage_key, training_inputs
from harness.store.tables import to_parquet
from harness.training.launch import select, train


def train_stage(session: Session, index: int, stage: Stage, parent: Checkpoint, base: Checkpoint) -> Checkpoint:
    """The checkpoint of a stage: from the store, where any run made it, or trained now."""
    job, inputs, reference = prepare(session, stage, parent, base)
    key = stage_key(inputs)
    job = replace(job, key=key, folder=session.store.partial(key) / "trainer")
    with session.store.guard():
        session.recorder.stage(index, key=key, seed=job.seed, parent=parent.weights, reference=reference)
    lock = session.store.stage_lock(key)
    if not lock.take():
        session.listener.note(f"waiting for process {lock.owner()}, which trains the same stage {stage.name}")
    with lock:
        made = session.store.checkpoint(key, parent.weights)
        session.recorder.begins(index, stage.name, shared=made is not None)
        if made is not None:
            session.listener.note(f"stage {stage.name} is in the store as {key[:12]}")
        else:
            disk.need_space(session.store.root, space_wanted(session.run.paradigm, base.path))
            made = select_and_train(session, key, job, parent, reference, inputs)
    session.store.place(made, base.path)
    verdicts = session.store.verdicts(key)
    if verdicts is not None:
        disk.write(session.folder / f"verdicts-{index}.parquet", to_parquet(Verdict, verdicts, {"stage": key}))
    session.recorder.trained(index, stage.name, made)
    return made


def prepare(
    session: Session, stage: Stage, parent: Checkpoint, base: Checkpoint
) -> tuple[Job, dict[str, Any], str | None]:
    """A stage's job, still without a folder; all that decides what it trains; and the reference's digest."""
    run, tasks = session.run, session.view.tasks
    examples = training_examples(run, stage, tasks)
    anchor = {"previous": parent, "base": base}[run.paradigm.reference] if run.paradigm.kl else None
    job = Job(
        paradigm=run.paradigm,
        scale=run.scale,
        stage=stage,
        examples=tuple((tasks[name], example) for name in stage.tasks for example in examples[name]),
        epochs={name: run.stream.epochs[name] for name in stage.tasks},
        model=parent.path,
        reference=anchor.path if anchor else None,
        seed=stage_seed(run.seed, stage.name),
        folder=session.store.root,
        carry=parent.carried,
        base=base.path,
        devices=max(1, run.scale.ranks),
        reporting=session.reporting,
    )
    inputs = training_inputs(
        run,
        stage,
        examples={name: (tasks[name], examples[name]) for name in stage.tasks},
        pictures={name: pictures_of(run, name, examples[name]) for name in stage.tasks},
        parent=parent,
        reference=anchor.weights if anchor else None,
        seed=job.seed,
        device=device_kind(),
    )
    return job, inputs, anchor.weights if anchor else None


def select_and_train(
    session: Session, key: str, job: Job, parent: Checkpoint, reference: str | None, inputs: dict[str, Any]
) -> Checkpoint:
    """Select and train, resuming what an earlier process left; where nothing is kept, the weights stay as they are."""
    watch = Watch(session.store.begin(key))
    job.folder.mkdir(parents=True, exist_ok=True)
    verdicts = selected(session, key, job, watch)
    dropped = {(verdict.task, verdict.id) for verdict in verdicts if not verdict.kept}
    kept = tuple(pair for pair in job.examples if (pair[0].name, pair[1].id) not in dropped)

    def report(progress: Progress) -> None:
        watch.tick("seconds")
        session.listener.progress(progress)

    if kept:
        trained = train(replace(job, examples=kept, report=report))
    else:
        session.listener.note(f"the selector kept no example of {job.stage.name}: the stage trains nothing")
        trained = Trained(
            weights=parent.path, optimiser_steps=0, sampled_tokens=0, trained_tokens=0, carry=parent.carried
        )
    watch.tick("seconds", force=True)
    costs = Costs(
        items=len(job.examples),
        kept=len(kept),
        optimiser_steps=trained.optimiser_steps,
        sampled_tokens=trained.sampled_tokens,
        trained_tokens=trained.trained_tokens,
        dose=dose_of(job, kept) if kept else 0.0,
        filter_rollouts=sum(verdict.rollouts for verdict in verdicts),
        filter_sampled_tokens=sum(verdict.sampled_tokens for verdict in verdicts),
        seconds=watch.seconds["seconds"],
        filter_seconds=watch.seconds["filter_seconds"],
    )
    return session.store.finish(
        key,
        trained,
        stage=job.stage.name,
        parent=parent.weights,
        reference=reference,
        costs=costs,
        inputs=inputs,
        environment=environment(),
    )


def dose_of(job: Job, kept: Sequence[tuple[Task, Example]]) -> float:
    """The sum of the learning rates over the updates on the kept examples."""
    shown = sum(job.epochs[task.name] for task, _ in kept)
    return job.paradigm.learner.work(shown, job.paradigm, job.scale).dose


def selected(session: Session, key: str, job: Job, watch: Watch) -> Sequence[Verdict]:
    """The selector's verdicts, one per example: kept from an earlier try, or made now; none without a selector."""
    if session.run.paradigm.select is None:
        return ()
    verdicts = session.store.verdicts(key)
    if verdicts is None:
        if session.kind.opening:
            session.listener.note(session.kind.opening)
        verdicts = select(job)
        watch.tick("filter_seconds", force=True)
        session.store.save_verdicts(key, verdicts, environment())
    return verdicts
