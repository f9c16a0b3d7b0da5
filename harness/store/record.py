"""The record of a run: run.json says what was run, on what and from what; costs.json alone holds times and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core import Observation, Run, Stage, UserError, digest, plain, replace
from harness.registry import loaded_plugins
from harness.run_inputs import data_sets, declared, id_of
from harness.store import disk
from harness.store.environment import environment
from harness.store.lineage import Checkpoint
from harness.store.typed import SCHEMA, decode, dump
from harness.values import cut

RECORD = "run.json"
COSTS = "costs.json"


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A stage of a run: what it trains, what made its checkpoint, and the digest of the environment that did."""

    name: str
    tasks: tuple[str, ...]
    key: str | None = None
    seed: int | None = None
    parent: str | None = None
    reference: str | None = None
    weights: str | None = None
    environment: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What run.json holds. ``paradigm``, ``stream`` and ``scale`` are the nouns resolved to plain values.

    ``declared`` is what the id was made of: its digest ends the id, so that an edited record is found. ``scorers`` are
    the scorers of the cells, by task or suite; ``data`` the fingerprints of their items, ``sets`` source, revision and
    fingerprint of the official data; ``environments`` the
    environments by their digest; ``plugins`` the files that were loaded with their digests.
    """

    schema: int
    id: str
    declared: dict[str, Any]
    finished: bool
    paradigm: dict[str, Any]
    stream: dict[str, Any]
    scale: dict[str, Any]
    seed: int
    limit: int | None
    split: str
    official: bool
    style: str
    base: str
    scorers: dict[str, str]
    data: dict[str, str]
    stages: tuple[StageRecord, ...]
    observations: tuple[Observation, ...]
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    sets: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The stream's tasks in their order."""
        return tuple(self.stream["tasks"])

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites that are watched but never trained."""
        return tuple(self.stream["general"])


@dataclass(kw_only=True)
class CostsRecord:
    """What costs.json holds: by stage (0 is the base row) its name, the Costs of its training, and evaluation."""

    schema: int
    id: str
    stages: dict[str, dict[str, Any]]


def read_record(folder: Path) -> RunRecord:
    """The record of a run's folder.

    Raises:
        UserError: where the folder is no run's, or its record is damaged or another run's.
    """
    try:
        record = decode(RunRecord, folder / RECORD, f"remove the folder {folder}, or restore the file")
    except FileNotFoundError as fault:
        raise UserError(f"{folder} is no run's folder (it has no {RECORD}): name a folder of runs/") from fault
    if record.id != folder.name:
        raise UserError(f"{folder} holds the run {cut(repr(record.id))}: give the folder its run's name")
    if edited := _edited(record):
        raise UserError(
            f"{folder / RECORD} was edited ({edited} is not what the run's id was made of): restore the file, or remove"
            f" the folder {folder} and run again"
        )
    return record


def _edited(record: RunRecord) -> str:
    """The first field of a record that contradicts what its id was made of; empty where none does."""
    known, paradigm, stream, scale = record.declared, record.paradigm, record.stream, record.scale
    try:
        if id_of((paradigm["name"], stream["name"], scale["name"]), known) != record.id:
            return "a name, or what is declared,"
        select = known["select"] and known["select"]["name"]
        agreeing = {
            "seed": (record.seed, known["seed"]),
            "limit": (record.limit, known["limit"]),
            "split": (record.split, known["split"]),
            "official": (record.official, known["official"]),
            "ranks": (known.get("ranks", scale.get("ranks")), scale.get("ranks")),
            "style": ([record.style, paradigm["style"]["name"]], [known["own"]] * 2),
            "learner": (paradigm["learner"]["name"], known["learner"]["name"]),
            "select": (paradigm["select"] and paradigm["select"]["name"], select),
            "stages": ([[one.name, list(one.tasks)] for one in record.stages], [one[:2] for one in known["stages"]]),
            "stream": ([stream[name] for name in ("tasks", "epochs", "general", "probes")], known["stream"]),
            "scale": ({name: scale[name] for name in known["sizes"]}, known["sizes"]),
            "decodings": (
                {name: scale["decodings"][name]["max_new_tokens"] for name in known["decodings"]},
                known["decodings"],
            ),
        }
    except (KeyError, TypeError, IndexError, UserError):
        return "a field that is missing or of another kind"
    return next((name for name, (said, wanted) in agreeing.items() if said != wanted), "")


def read_costs(folder: Path) -> CostsRecord:
    """The costs of a run's folder. Raises UserError where they are damaged or missing."""
    try:
        return decode(CostsRecord, folder / COSTS, f"remove the file {folder / COSTS}, or restore it")
    except FileNotFoundError as fault:
        raise UserError(f"{folder} has no {COSTS}: run again to finish it") from fault


class Recorder:
    """The two files of a run, opened by the process that holds the run's lock."""

    def __init__(self, folder: Path, record: RunRecord, costs: CostsRecord) -> None:
        """Take the contents of both files; ``open_record`` reads or begins them."""
        self.folder = folder
        self.record = record
        self.costs = costs

    def stage(self, index: int, **known: Any) -> None:
        """Note what is known of a stage: its key, seed, parent and reference first, its weights when it is trained."""
        stages = list(self.record.stages)
        stages[index - 1] = replace(stages[index - 1], **known)
        self._note(stages=tuple(stages))

    def begins(self, index: int, name: str, shared: bool) -> None:
        """Note whether the stage's checkpoint was there (``shared``) when this run first came to need it."""
        entry = self._cost_of(index, name)
        if "shared" not in entry:
            entry["shared"] = shared
            self._write_costs()

    def trained(self, index: int, name: str, checkpoint: Checkpoint) -> None:
        """Note what a stage cost, the digest of its weights, and the environment that made it."""
        self._cost_of(index, name).update(plain(checkpoint.costs))
        self._write_costs()
        made_in = self.environment(checkpoint.environment)
        self.stage(index, weights=checkpoint.weights, environment=made_in)

    def environment(self, found: Mapping[str, Any]) -> str:
        """Note an environment; its digest."""
        name = digest(found)[:12]
        if name not in self.record.environments:
            self._note(environments={**self.record.environments, name: dict(found)})
        return name

    def evaluated(self, index: int, name: str, seconds: float) -> None:
        """Add the seconds that a cell took to its stage."""
        entry = self._cost_of(index, name)
        entry["evaluation_seconds"] = round(entry.get("evaluation_seconds", 0.0) + seconds, 3)
        self._write_costs(derived=True)

    def marked(self, scorers: Mapping[str, str]) -> None:
        """Note by which scorers the cells are marked now."""
        self._note(scorers=dict(scorers))

    def finish(self) -> None:
        """Mark the run as complete."""
        self._note(finished=True)

    def _cost_of(self, index: int, name: str) -> dict[str, Any]:
        return self.costs.stages.setdefault(str(index), {"name": name})

    def _note(self, **changed: Any) -> None:
        self.record = replace(self.record, **changed)
        disk.write(self.folder / RECORD, dump(plain(self.record)))

    def _write_costs(self, derived: bool = False) -> None:
        disk.write(self.folder / COSTS, dump(plain(self.costs)), derived=derived)


def open_record(
    folder: Path,
    run_id: str,
    run: Run,
    *,
    stages: Sequence[Stage],
    observations: Sequence[Observation],
    scorers: Mapping[str, str],
    data: Mapping[str, str],
    base: str,
) -> Recorder:
    """Begin a run's record, or continue it.

    Raises UserError where the run was begun from another base model or on other test data.
    """
    other = "move the run away with `harness runs rm`, or give another --out"
    costs = CostsRecord(schema=SCHEMA, id=run_id, stages={})
    if (folder / RECORD).exists() or (folder / RECORD).is_symlink():
        record = read_record(folder)
        if record.base != base:
            raise UserError(
                f"run {run_id} began from base {record.base[:12]}, but the model is now {base[:12]}:"
                f" put it back, or {other}"
            )
        changed = [name for name, value in data.items() if record.data.get(name) != value]
        if changed:
            raise UserError(f"run {run_id} began on other data of {changed[0]}: put the data back, or {other}")
        if (folder / COSTS).exists():
            costs = read_costs(folder)
    else:
        record = RunRecord(
            schema=SCHEMA,
            id=run_id,
            declared=declared(run),
            finished=False,
            paradigm=plain(run.paradigm),
            stream=plain(run.stream),
            scale=plain(run.scale),
            seed=run.seed,
            limit=run.limit,
            split=run.split,
            official=run.data is not None,
            style=run.paradigm.style.name,
            base=base,
            scorers=dict(scorers),
            data=dict(data),
            stages=tuple(StageRecord(name=stage.name, tasks=stage.tasks) for stage in stages),
            observations=tuple(observations),
        )
    recorder = Recorder(folder, replace(record, plugins=loaded_plugins(), sets=data_sets(run)), costs)
    recorder.environment(environment())
    recorder._note()
    return recorder


__all__ = [
    "COSTS", "RECORD", "CostsRecord", "Recorder", "RunRecord", "StageRecord", "open_record", "read_costs",
    "read_record",
]  # fmt: skip
