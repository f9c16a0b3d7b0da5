"""Publishing: a finished run goes to results/runs/<id>/, with all that its numbers can be computed from again.

Nothing of the run's folder is believed: its replies are marked again and must give its cells, and the checkpoints that
are still there must be those that its record names.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core import UserError, Verdict, digest, plain, stage_seed
from harness.results.cells import read_cells, write_cells
from harness.results.details import DETAILS, write_details
from harness.results.leaderboard import rebuild
from harness.results.probes import PROBES, read_probes, write_probes
from harness.results.published import CELLS, RUNS, PublishedRun, read_run, second_scorers, table_of
from harness.results.remark import Kept, Marked, kept
from harness.results.seal import SEAL, sealed
from harness.store import disk
from harness.store.checkpoints import Store
from harness.store.lineage import load_checkpoint
from harness.store.record import COSTS, RECORD, read_costs
from harness.store.tables import from_parquet
from harness.store.typed import dump

REPLIES = "replies.parquet"
MARKS = "marks.parquet"
VERDICTS = "verdicts.parquet"


def publish(store: Store, run_folder: Path, results: Path, data: Path | None = None) -> Path:
    """Put a finished run into ``results/runs/<id>/`` and rebuild ``results/leaderboard.csv``; returns the new folder.

    The folder takes the old one's place at once, or not at all. A run that is published already is refreshed where its
    cells are the same.

    Raises:
        UserError: where the folder is no run's, the run is limited, unfinished, on another split than test, or made
            from a tree with uncommitted changes; where its replies do not give its cells, or its checkpoints are not
            the record's; or where other numbers are published under its id.
    """
    run = read_run(run_folder)
    refuse_unfit(run)
    target = results / RUNS / run.id
    if (target / CELLS).is_file() and (target / CELLS).read_bytes() != write_cells(run.cells).encode():
        raise UserError(f"{target} holds other numbers of the run {run.id}: remove that folder to publish these")
    costs = read_costs(run_folder)
    environments = dict(run.record.environments)
    environments |= environments_of(refuse_other_checkpoints(store, run))
    replies = kept(run_folder, run.record, data)
    found = replies.marked()
    refuse_other_cells(run, found)
    environments |= environments_of([one.replies.about.get("environment", {}) for one in found])
    refuse_unclean(run, environments)
    files: dict[str, bytes] = {
        REPLIES: replies_table(found),
        MARKS: marks_table(found),
        CELLS: write_cells(run.cells).encode(),
        COSTS: dump(plain(costs)),
        RECORD: dump(without_places({**plain(run.record), "environments": environments})),
        VERDICTS: verdicts_table(run_folder, run) or b"",
        PROBES: probes_table(run_folder, run) or b"",
        DETAILS: details_table(found),
    }
    for scorer in second_scorers(run_folder):
        files |= second_tables(run_folder, scorer, replies)
    files = {name: content for name, content in files.items() if content}
    files[SEAL] = sealed(run.id, files)
    with disk.refusing_disk_faults(results):
        target.parent.mkdir(parents=True, exist_ok=True)
        disk.sweep(results)
        draft = disk.draft_folder(target)
        try:
            for name, content in files.items():
                disk.write(draft / name, content)
            disk.replace_folder(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        rebuild(results)
    return target


def refuse_unfit(run: PublishedRun) -> None:
    """Raise UserError where a run may not stand beside whole runs: limited, off the test split, or unfinished."""
    record = run.record
    if record.limit is not None:
        raise UserError(f"run {run.id} is limited: only whole runs are published")
    if record.split != "test":
        raise UserError(f"run {run.id} is on the {record.split} split: only runs on the test split are published")
    if not record.finished:
        raise UserError(f"run {run.id} is not finished: give the same command again to continue it, then publish")
    if missing := run.missing():
        raise UserError(
            f"run {run.id} lacks {len(missing)} cells ({missing[0]} first): give the same command again to continue it"
        )
    for style in run.styles:
        run.matrix(style)


def refuse_other_checkpoints(store: Store, run: PublishedRun) -> list[Mapping[str, Any]]:
    """The environments of the checkpoints that are still there.

    Raises:
        UserError: where one is not the one that the record names, or a stage does not follow from the one before it.
    """
    parent, found = run.record.base, []
    for stage in run.record.stages:
        if not stage.key or stage.parent != parent or not stage.weights:
            raise UserError(f"stage {stage.name} of {run.id} does not follow from the one before it: run again")
        if stage.seed != stage_seed(run.seed, stage.name):
            raise UserError(f"stage {stage.name} of {run.id} has the seed of another run: run again")
        if stage.environment not in run.record.environments:
            raise UserError(f"stage {stage.name} of {run.id} does not say in which environment it was made: run again")
        if store.has(stage.key):
            made = load_checkpoint(store.checkpoints / stage.key, stage.key, parent)
            if made.weights != stage.weights:
                raise UserError(f"stage {stage.name} of {run.id} has other weights in the store than in its record")
            found.append(made.environment)
        parent = stage.weights
    return found


def refuse_other_cells(run: PublishedRun, found: Sequence[Marked]) -> None:
    """Raise UserError where the cells, or what the record says of them, are not those that the replies give."""
    mend = "give the run's command again, or `harness remark` after a scorer's change"
    if len(run.cells) != len(found):
        raise UserError(f"run {run.id} has {len(run.cells)} cells, but replies of {len(found)}: {mend}")
    for cell, one in zip(run.cells, found, strict=True):
        if cell != one.cell:
            name = f"{cell.stage_name}/{cell.task}/{cell.style}"
            other = [field for field in plain(cell) if getattr(cell, field) != getattr(one.cell, field)]
            raise UserError(
                f"the cell {name} of {run.id} does not follow from its replies ({', '.join(other)} differ): {mend}"
            )
    scorers, data = ({one.cell.task: getattr(one.cell, name) for one in found} for name in ("scorer", "data"))
    for what, said, seen in (("scorers", run.record.scorers, scorers), ("data", run.record.data, data)):
        if said != seen:
            raise UserError(f"the record of {run.id} names other {what} than its cells: {mend}")


def second_tables(run_folder: Path, scorer: str, replies: Kept) -> dict[str, bytes]:
    """The cells and details of a run by a second scorer, by their files' names.

    Raises:
        UserError: where the cells in the run's folder are not those that the replies give.
    """
    name, found = table_of(CELLS, scorer), replies.marked(scorer)
    cells = [one.cell for one in found]
    if read_cells(run_folder / name) != cells:
        raise UserError(
            f"{run_folder / name} does not follow from the replies:"
            f" `harness remark {run_folder.name} --scorer {scorer}` makes it again"
        )
    return {name: write_cells(cells).encode(), table_of(DETAILS, scorer): details_table(found)}


def details_table(found: Sequence[Marked]) -> bytes:
    """The further numbers of a run's cells, made anew; nothing without any."""
    return write_details([detail for one in found for detail in one.details])


def refuse_unclean(run: PublishedRun, environments: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError where a part of the run was made from uncommitted code, or does not say from which."""
    for name, environment in environments.items():
        if not environment or digest(environment)[:12] != name:
            raise UserError(f"a part of {run.id} does not say in which environment it was made: run again")
        if str(environment.get("commit")).endswith("+"):
            raise UserError(
                f"a part of {run.id} was made from uncommitted code (commit {str(environment['commit'])[:12]}+):"
                " commit, remove its checkpoints and replies, and run again"
            )


def environments_of(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Environments by their digest."""
    return {digest(environment)[:12]: dict(environment) for environment in found}


def replies_table(found: Sequence[Marked]) -> bytes:
    """All replies of a run: stage, task, style, example, group, text, tokens, truncated."""
    rows = [
        (*_place(one), reply.example, reply.group, reply.text, reply.tokens, reply.truncated)
        for one in found
        for reply in one.replies.records
    ]
    names = ("stage", "task", "style", "example", "group", "text", "tokens", "truncated")
    return _table(names, ("int16", "text", "text", "text", "text", "string", "int32", "bool_"), rows)


def marks_table(found: Sequence[Marked]) -> bytes:
    """All marks of a run: stage, task, style, example, group, read, score (float64), malformed."""
    rows = [
        (*_place(one), mark.example, reply.group, mark.read, mark.score, mark.malformed)
        for one in found
        for mark, reply in zip(one.marks, one.replies.records, strict=True)
    ]
    names = ("stage", "task", "style", "example", "group", "read", "score", "malformed")
    return _table(names, ("int16", "text", "text", "text", "text", "string", "float64", "bool_"), rows)


def verdicts_table(run_folder: Path, run: PublishedRun) -> bytes | None:
    """All verdicts of a run's selector: stage, task, id, kept, correct, rollouts, sampled_tokens; None without one.

    Raises:
        UserError: where those of a stage are missing, damaged or another stage's.
    """
    if not run.record.paradigm["select"]:
        return None
    rows = []
    for index, stage in enumerate(run.record.stages, start=1):
        path = run_folder / f"verdicts-{index}.parquet"
        if not path.exists():
            raise UserError(f"{path} is missing: give the run's command again to restore it")
        verdicts = from_parquet(Verdict, path, {"stage": stage.key}).records
        rows += [(index, *plain(verdict).values()) for verdict in verdicts]
    names = ("stage", "task", "id", "kept", "correct", "rollouts", "sampled_tokens")
    return _table(names, ("int16", "text", "text", "bool_", "int32", "int32", "int32"), rows)


def probes_table(run_folder: Path, run: PublishedRun) -> bytes | None:
    """The values of a run's probes; None without any.

    Raises:
        UserError: where they are not those of the run's weights, or one is missing.
    """
    weights = [run.record.base, *(stage.weights for stage in run.record.stages)]
    wanted = [
        (run.id, one.stage, one.stage_name, one.name, weights[0], weights[one.stage])
        for one in run.record.observations
        if one.kind == "probe"
    ]
    if not wanted:
        return None
    values = read_probes(run_folder / PROBES)
    if [(one.run, one.stage, one.stage_name, one.probe, one.before, one.after) for one in values] != wanted:
        raise UserError(f"{run_folder / PROBES} is not of this run's weights: give the run's command again")
    return write_probes(values).encode()


def _place(one: Marked) -> tuple[int, str, str]:
    return one.observation.stage, one.observation.name, one.observation.style


def _table(names: Sequence[str], kinds: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> bytes:
    """Rows as parquet, compressed as well as can be; "text" is text that repeats."""
    import pyarrow
    import pyarrow.parquet

    repeats = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = [repeats if kind == "text" else getattr(pyarrow, kind)() for kind in kinds]
    columns = [pyarrow.array(column, type=kind) for column, kind in zip(zip(*rows, strict=True), types, strict=True)]
    target = io.BytesIO()
    table = pyarrow.Table.from_arrays(columns, names=list(names))
    pyarrow.parquet.write_table(table, target, compression="zstd", compression_level=19)
    return target.getvalue()


def without_places(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without folders of the machine that ran it: of model and plugins the last part of the path is kept.

    >>> without_places({"scale": {"model": "/somewhere/base"}, "plugins": {"/a/my.py": "1f"}})
    {'scale': {'model': 'base'}, 'plugins': {'my.py': '1f'}}
    """
    model = str(record["scale"]["model"])
    return {
        **record,
        "scale": {**record["scale"], "model": Path(model).name if Path(model).is_absolute() else model},
        "plugins": {Path(path).name: content for path, content in record["plugins"].items()},
    }


__all__ = ["MARKS", "REPLIES", "VERDICTS", "marks_table", "publish", "refuse_unfit", "replies_table", "without_places"]
