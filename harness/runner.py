"""The one loop: the base row, then for each stage select, train, keep, and look at every task, suite and probe."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness import processes
from harness.asking.devices import Engines
from harness.asking.engines import EngineKind
from harness.asking.evaluate import cell_of
from harness.broken_items import settled
from harness.core import (
    Cell,
    Mark,
    Observation,
    ProbeValue,
    Run,
    Stage,
    UserError,
    digest,
)
from harness.job import Reporting
from harness.listener import Listener, Silent, Written
from harness.observe import Look, file_name, generate, kept_replies, look, view_of
from harness.registry import typed
from harness.results.cells import write_cells
from harness.results.details import DETAILS, details_of, write_details
from harness.results.probes import PROBES, write_probes
from harness.run_inputs import (
    base_checkpoint,
    cells_of,
    observations,
    run_id,
    run_probes,
    run_stages,
)
from harness.session import Session
from harness.store import disk
from harness.store.checkpoints import CELLS, Store
from harness.store.lineage import Checkpoint
from harness.store.record import open_record
from harness.store.tables import to_parquet
from harness.train_stage import train_stage
from harness.training.ranks import refuse_missing, refuse_unequal
from harness.values import cut

BASE = "base"  # the row before the first stage
AT_HAND = 2  # the observation that an observer is at, and its next one


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished run: its id, its folder, and its cells in the order of cells.csv."""

    id: str
    folder: Path
    cells: tuple[Cell, ...]


def run(
    run: Run,
    out: Path,
    listener: Listener | None = None,
    engine: EngineKind | None = None,
    until: str = "",
    report_to: str = "",
) -> Finished:
    """Do a run, or continue it, or serve it from the store; equal runs end with the same cells.csv.

    ``engine`` is another engine than the one that the scale names. ``until`` names a stage, or "base", with whose cells
    this call ends; the run is then unfinished, and a further call continues it. ``report_to`` names a reporter of the
    trainers' ("tensorboard", "wandb"), which writes into the run's folder. Raises UserError, with nothing
    half-written, for what the user can mend.
    """
    name = run_id(run)
    store = Store(out)
    with disk.refusing_disk_faults(out):
        kind = engine or typed(EngineKind, run.scale.engine)
        stages, looked = run_stages(run), observations(run)
        last = stage_number(stages, until)
        refuse_unequal(run.paradigm, run.scale)
        settled(run)
        base = base_checkpoint(run)
        view = view_of(run, kind)
        with store.hold(name) as folder:
            recorder = open_record(
                folder,
                name,
                run,
                stages=stages,
                observations=looked,
                scorers={column: view.scorer(column) for column in view.asked},
                data={column: asked.data for column, asked in view.asked.items()},
                base=base.weights,
            )
            session = Session(
                run=run,
                id=name,
                store=store,
                folder=folder,
                recorder=recorder,
                listener=_written(folder, recorder.record.finished, listener or Silent()),
                kind=kind,
                view=view,
                reporting=Reporting(to=report_to, group=name, folder=folder) if report_to else None,
                stages=stages,
                observations=looked,
            )
            if not served(session):
                go(session, base, len(stages) if recorder.record.finished else last)
    return Finished(id=name, folder=folder, cells=tuple(session.cells))


def stage_number(stages: tuple[Stage, ...], until: str) -> int:
    """The number of the stage of this name, 0 for the base; of the last one where there is no name.

    Raises:
        UserError: where there is no such stage.
    """
    names = [BASE, *(stage.name for stage in stages)]
    if until and until not in names:
        raise UserError(f"--until {cut(until, 40)} is no stage of this run: use one of {', '.join(names)}")
    return names.index(until) if until else len(stages)


def _written(folder: Path, finished: bool, listener: Listener) -> Listener:
    """The listener, and the run's journal before it; a run that is finished and only looked through adds nothing."""
    return listener if finished else Written(folder, listener)


def served(session: Session) -> bool:
    """Whether a finished run whose checkpoints were freed is whole without them: its replies make its cells."""
    record = session.recorder.record
    if not record.finished or all(stage.key and session.store.has(stage.key) for stage in record.stages):
        return False
    try:
        weights = [record.base, *(str(stage.weights) for stage in record.stages)]
        for observation in cells_of(session.observations):
            add_cell(session, observation, weights[observation.stage])
    except UserError:  # replies that are missing or damaged are made again, from weights that are made again
        session.cells.clear()
        session.details.clear()
        return False
    save_cells(session)
    session.listener.note("the run is finished and its checkpoints were freed: its cells are made from its replies")
    return True


def go(session: Session, base: Checkpoint, last: int) -> None:
    """The loop: each stage up to number ``last`` from the weights of the one before it, and a look at each, base first.

    With an observer the replies of a stage are generated beside the training of the next one, and its cells are made
    when that is done; without one they are made before it begins.
    """
    refuse_missing(session.run.paradigm, session.run.scale)
    if session.run.scale.observers:
        session.worker, session.thread = processes.Worker(), ThreadPoolExecutor(max_workers=1)
    checkpoints = [base]
    try:
        session.listener.stage(0, len(session.stages), BASE)
        begin_look(session, 0, base, base)
        for index, stage in enumerate(session.stages[:last], start=1):
            session.listener.stage(index, len(session.stages), stage.name)
            checkpoints.append(train_stage(session, index, stage, checkpoints[-1], base))
            if session.worker is not None:
                end_look(session, index - 1, checkpoints[index - 1], base)
            begin_look(session, index, checkpoints[index], base)
        if session.worker is not None:
            end_look(session, last, checkpoints[-1], base)
    finally:
        if session.thread is not None and session.worker is not None:
            session.worker.close()
            session.thread.shutdown(wait=True, cancel_futures=True)
    save_cells(session)
    if last == len(session.stages):
        session.recorder.finish()


def begin_look(session: Session, index: int, checkpoint: Checkpoint, base: Checkpoint) -> None:
    """Let the observer generate the replies of a stage; without an observer this process looks at once."""
    if session.worker is None or session.thread is None:
        end_look(session, index, checkpoint, base)
        return
    asked = Look(
        run=session.run,
        engine=session.kind,
        out=session.store.root,
        model=checkpoint.path,
        weights=checkpoint.weights,
        observations=cells_of(session.of_stage(index)),
    )
    session.looks[index] = session.thread.submit(_looked, session.worker, asked)


def _looked(worker: processes.Worker, asked: Look) -> list[tuple[Observation, float]]:
    """What the observer asked, and the seconds that each took; this thread writes nothing."""
    heard: list[tuple[Observation, float]] = []
    worker.call(look, asked, heard.append)
    return heard


def end_look(session: Session, index: int, checkpoint: Checkpoint, base: Checkpoint) -> None:
    """The cells and probes of a stage; what the observer has not come to, or left undone, is generated here."""
    if index in session.looks:
        make_replies(session, index, checkpoint, beside=session.looks[index])
        for observation, seconds in session.looks.pop(index).result():
            session.recorder.evaluated(index, checkpoint.stage, seconds)
            session.listener.replies(observation, seconds)
    make_replies(session, index, checkpoint)
    for observation in session.of_stage(index):
        if observation.kind == "probe":
            add_probe(session, observation, checkpoint, base)
        else:
            cell = add_cell(session, observation, checkpoint.weights)
            session.listener.cell(cell, len(session.cells), session.total)
    save_cells(session)


def make_replies(
    session: Session, index: int, checkpoint: Checkpoint, beside: Future[list[tuple[Observation, float]]] | None = None
) -> None:
    """Generate in this process what the store lacks of a stage's replies: all, or the last ones ``beside`` an observer.

    The observer goes forwards and this process backwards, until as few are left as the observer has at hand.
    """
    wanted = cells_of(session.of_stage(index))

    def heard(observation: Observation, seconds: float) -> None:
        session.recorder.evaluated(index, checkpoint.stage, seconds)
        session.listener.replies(observation, seconds)

    generate(
        session.view,
        session.store,
        wanted if beside is None else _last_ones(session, wanted, checkpoint.weights, beside),
        checkpoint.weights,
        Engines(session.kind, checkpoint.path, session.view.scale, session.run.scale.ranks, session.listener.note),
        heard,
    )


def _last_ones(
    session: Session,
    wanted: tuple[Observation, ...],
    weights: str,
    beside: Future[list[tuple[Observation, float]]],
) -> Iterator[Observation]:
    """The last of the observations that have no replies yet, as long as a third one is left."""
    files = {one: session.store.replies_file(session.view.key(weights, one)) for one in wanted}
    while not beside.done():
        left = [one for one, file in files.items() if not file.is_file()]
        if len(left) <= AT_HAND:
            return
        yield left[-1]


def add_cell(session: Session, observation: Observation, weights: str) -> Cell:
    """The cell of an observation, from its replies as they are kept; replies and marks go into the run's own folder."""
    view = session.view
    found = kept_replies(view, session.store, weights, observation)
    marks = view.marks(observation, found.records)
    name = file_name(observation)
    content = view_file(session, weights, observation)
    disk.write(session.folder / "replies" / name, content, derived=True)
    bound = {"replies": digest(found.bound), "scorer": view.scorer(observation.name), "style": observation.style}
    disk.write(session.folder / "marks" / name, to_parquet(Mark, marks, bound), derived=True)
    session.recorder.environment(found.about.get("environment", {}))
    cell = cell_of(
        found.records,
        marks,
        observation,
        run=session.id,
        scorer=view.scorer(observation.name),
        engine=view.engine,
        weights=weights,
        data=view.asked[observation.name].data,
    )
    session.cells.append(cell)
    session.details += details_of(cell, view.parts(observation, marks))
    return cell


def view_file(session: Session, weights: str, observation: Observation) -> bytes:
    """The kept file of an observation's replies."""
    return session.store.replies_file(session.view.key(weights, observation)).read_bytes()


def add_probe(session: Session, observation: Observation, checkpoint: Checkpoint, base: Checkpoint) -> None:
    """Measure a probe between the base and a stage."""
    probe = run_probes(session.run)[observation.name]
    examples = {name: asked.examples for name, asked in session.view.asked.items()}
    session.probes.append(
        ProbeValue(
            run=session.id,
            stage=observation.stage,
            stage_name=observation.stage_name,
            probe=probe.name,
            version=probe.version,
            unit=probe.unit,
            value=probe.measure(base.path, checkpoint.path, examples),
            before=base.weights,
            after=checkpoint.weights,
        )
    )
    disk.write(session.folder / PROBES, write_probes(session.probes).encode(), derived=True)


def save_cells(session: Session) -> None:
    """Write cells.csv, and details.csv where there are some, as far as the run is."""
    whole = len(session.cells) == session.total
    if details := write_details(session.details):
        disk.write(session.folder / DETAILS, details, derived=not whole)
    disk.write(session.folder / CELLS, write_cells(session.cells).encode(), derived=not whole)


__all__ = ["Finished", "Listener", "Silent", "run", "run_id"]
