"""The one loop, tried with an engine and learners that take no time, and then for real on the twins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import FAKE_PLUGIN
from fake_world import (
    COINS,
    FAKE,
    HALF,
    NONE,
    PREFIX,
    SLOW,
    STREAM,
    TASKS,
    fake_run,
    heard_by,
    learn,
    make_model,
    trained_by,
)

from harness import run_inputs
from harness.asking.styles import DIRECT
from harness.core import (
    Cell,
    Job,
    Mark,
    Progress,
    Reply,
    Stage,
    Stream,
    Trained,
    UserError,
    Verdict,
    joint,
    one_by_one,
    replace,
    stage_seed,
)
from harness.listener import Silent
from harness.results.cells import read_cells
from harness.runner import run, run_id
from harness.store.checkpoints import Store
from harness.store.housekeeping import list_runs
from harness.store.lineage import load_checkpoint
from harness.store.record import RunRecord, read_record
from harness.store.tables import from_parquet
from harness.weights import weights_digest

JOBS: list[Job] = []

pytestmark = pytest.mark.usefixtures("fake_plugin")


@pytest.fixture(autouse=True)
def _no_jobs() -> None:
    JOBS.clear()


def watched(job: Job) -> Trained:
    """Learn, and remember the job."""
    JOBS.append(job)
    return learn(job)


def fail_late(job: Job) -> Trained:
    """Fail at the second stage in a way that the user can mend."""
    if job.stage.name == "dice":
        raise UserError("fake diverged: lower its learning rate")
    return learn(job)


def none(stream: Stream) -> tuple[Stage, ...]:
    """No stage at all."""
    return ()


def twice(stream: Stream) -> tuple[Stage, ...]:
    """Two stages of one name."""
    return one_by_one(stream)[:1] * 2


def foreign(stream: Stream) -> tuple[Stage, ...]:
    """A stage on a task that is only watched."""
    return (Stage(name="odd", tasks=stream.general),)


def always_yes(reply: str) -> str:
    """A reader that hears what it wants."""
    return "yes"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@dataclass
class Hearer(Silent):
    """Keeps all that it hears."""

    heard: list[tuple[Any, ...]] = field(default_factory=list)

    def stage(self, index: int, total: int, name: str) -> None:
        """A stage begins."""
        self.heard.append(("stage", index, total, name))

    def progress(self, progress: Progress) -> None:
        """A step is done."""
        self.heard.append(("progress", progress.step, progress.steps))

    def cell(self, cell: Cell, done: int, total: int) -> None:
        """A cell is done."""
        self.heard.append(("cell", cell.task, cell.style, done, total))

    def note(self, text: str) -> None:
        """Something was said."""
        self.heard.append(("note", text))


def record_of(folder: Path) -> RunRecord:
    return read_record(folder)


def costs_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "costs.json").read_text())["stages"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_task_and_suite_is_asked_in_both_styles_after_every_stage_and_before_the_first(
    tmp_path: Path, model: Path
) -> None:
    journal: list[str] = []
    done = run(fake_run(model), tmp_path / "runs", engine=heard_by(journal))
    expected = [
        (stage, name, task, style)
        for stage, name in enumerate(("base", "coins", "dice", "cards"))
        for task in ("coins", "dice", "cards", "watched")
        for style in ("direct", "cot")
    ]
    assert [(cell.stage, cell.stage_name, cell.task, cell.style) for cell in done.cells] == expected
    assert read_cells(done.folder / "cells.csv") == list(done.cells)
    assert {cell.n for cell in done.cells} == {10}
    assert journal.count("load") == 4, "a model is loaded once per stage"
    assert journal.count("generate") == 32, "ten items are one part of four batches"
    assert journal.count("close") == 4
    for cell in done.cells:
        name = f"{cell.stage}-{cell.task}-{cell.style}.parquet"
        replies = from_parquet(Reply, done.folder / "replies" / name).records
        marks = from_parquet(Mark, done.folder / "marks" / name).records
        wanted = [f"{cell.task}/test/{n}" for n in range(10)]
        assert [one.example for one in replies] == [one.example for one in marks] == wanted
        assert cell.score == sum(one.score for one in marks) / 10
        assert cell.malformed == sum(one.malformed for one in marks) / 10
        assert cell.engine == "fake-v1@cpu"
    assert len({cell.score for cell in done.cells}) > 3, "the fake world would hide a mistake if all scores were equal"


def test_each_stage_starts_from_the_one_before_and_says_so(tmp_path: Path, model: Path) -> None:
    done = run(fake_run(model, seed=3), tmp_path / "runs")
    record, store = record_of(done.folder), Store(tmp_path / "runs")
    assert record.finished
    assert record.base == weights_digest(model)
    parent = record.base
    for index, stage in enumerate(record.stages, start=1):
        assert stage.parent == parent
        assert stage.seed == stage_seed(3, stage.name)
        assert stage.reference is None
        assert load_checkpoint(store.checkpoints / stage.key, stage.key, parent).weights == stage.weights
        assert {cell.weights for cell in done.cells if cell.stage == index} == {stage.weights}
        parent = stage.weights
    assert len({stage.weights for stage in record.stages}) == 3
    assert not list(store.checkpoints.glob("*.partial"))
    assert not list(store.checkpoints.rglob("optimizer.bin")), "only the model's files are kept"


@pytest.mark.parametrize(("reference", "expected"), [("previous", "parent"), ("base", "base")])
def test_the_kl_reference_is_the_declared_one_and_is_recorded(
    tmp_path: Path, model: Path, reference: str, expected: str
) -> None:
    anchored = trained_by(watched, kl=0.1, reference=reference)
    record = record_of(run(fake_run(model, anchored), tmp_path / "runs").folder)
    for stage in record.stages:
        assert stage.reference == (stage.parent if expected == "parent" else record.base)
    assert [job.reference for job in JOBS] == ([job.model for job in JOBS] if expected == "parent" else [model] * 3)


def test_a_second_run_is_served_from_the_store_and_changes_no_file(tmp_path: Path, model: Path) -> None:
    asked, out, journal = fake_run(model, SLOW, PREFIX), tmp_path / "runs", []
    first = run(asked, out, engine=heard_by(journal))
    before, worked = files(out), len(journal)
    heard = Hearer()
    second = run(asked, out, heard, engine=heard_by(journal))
    assert second.cells == first.cells
    assert len(journal) == worked, "nothing was generated again"
    assert not [item for item in heard.heard if item[0] == "progress"], "nothing was trained again"
    assert files(out) == before


def test_runs_that_share_first_stages_train_and_evaluate_them_once(tmp_path: Path, model: Path) -> None:
    journal: list[str] = []
    short = run(fake_run(model, stream=PREFIX), tmp_path / "runs", engine=heard_by(journal))
    heard, loads = Hearer(), journal.count("load")
    long = run(fake_run(model), tmp_path / "runs", heard, engine=heard_by(journal))
    assert short.id != long.id
    assert record_of(long.folder).stages[1].key == record_of(short.folder).stages[1].key
    trained = [item for item in heard.heard if item[0] == "progress"]
    assert len(trained) == 12, "only the third stage is new"
    assert journal.count("load") - loads == 4, "the new task is asked of every shared checkpoint"
    costs = costs_of(long.folder)
    assert [costs[n]["shared"] for n in ("1", "2", "3")] == [True, True, False]
    alone = run(fake_run(model), tmp_path / "alone")
    assert (alone.folder / "cells.csv").read_bytes() == (long.folder / "cells.csv").read_bytes()


def test_the_selector_decides_what_is_learned_and_its_verdicts_are_kept(tmp_path: Path, model: Path) -> None:
    picky = replace(FAKE, name="picky", select=HALF)
    done = run(fake_run(model, picky), tmp_path / "runs")
    costs = costs_of(done.folder)
    assert [costs[n]["items"] for n in ("1", "2", "3")] == [12, 6, 12]
    assert [costs[n]["kept"] for n in ("1", "2", "3")] == [6, 3, 6]
    assert [costs[n]["optimiser_steps"] for n in ("1", "2", "3")] == [6, 6, 6]
    assert costs["1"]["filter_rollouts"] == 12 * 8
    assert costs["1"]["filter_sampled_tokens"] == 12 * 16
    verdicts = from_parquet(Verdict, done.folder / "verdicts-2.parquet").records
    assert [verdict.id for verdict in verdicts] == [f"dice/train/{n}" for n in range(6)]
    assert [verdict.kept for verdict in verdicts] == [True, False] * 3


def test_a_selector_that_keeps_nothing_leaves_the_weights_alone(tmp_path: Path, model: Path) -> None:
    strict = replace(FAKE, name="strict", select=NONE)
    record = record_of(run(fake_run(model, strict), tmp_path / "runs").folder)
    assert {stage.weights for stage in record.stages} == {record.base}


def test_joint_training_is_one_stage_on_the_union(tmp_path: Path, model: Path) -> None:
    together = trained_by(watched, name="together", stages=joint)
    done = run(fake_run(model, together), tmp_path / "runs")
    assert sorted({(cell.stage, cell.stage_name) for cell in done.cells}) == [(0, "base"), (1, "joint")]
    (job,) = JOBS
    counts = {name: sum(task.name == name for task, _ in job.examples) for name in STREAM.tasks}
    assert counts == {"coins": 12, "dice": 6, "cards": 12}, "each task as often as in a stage of its own"
    assert dict(job.epochs) == {"coins": 1, "dice": 2, "cards": 1}


def test_presentations_are_items_times_epochs_and_limit_bounds_items(model: Path) -> None:
    asked = fake_run(model)
    two, three = Stage(name="dice", tasks=("dice",)), Stage(name="joint", tasks=("coins", "dice", "cards"))
    assert run_inputs.training_items(asked, two) == {"dice": 6}
    assert run_inputs.training_items(replace(asked, limit=4), two) == {"dice": 4}
    assert run_inputs.training_items(replace(asked, limit=8), three) == {"coins": 2, "dice": 2, "cards": 2}
    assert run_inputs.training_items(replace(asked, limit=1), three) == {"coins": 1, "dice": 1, "cards": 1}
    assert len(run_inputs.asked_examples(replace(asked, limit=3), TASKS["coins"])) == 3
    assert len(run_inputs.asked_examples(asked, TASKS["coins"])) == 10


def test_the_validation_split_is_asked_for_choosing(tmp_path: Path, model: Path) -> None:
    done = run(fake_run(model, stream=PREFIX, split="validation"), tmp_path / "runs")
    replies = from_parquet(Reply, done.folder / "replies" / "0-coins-direct.parquet").records
    assert replies[0].example == "coins/validation/0"
    assert "validation" in done.id


def test_the_id_covers_the_declared_inputs(model: Path) -> None:
    asked = fake_run(model)
    others = [
        replace(asked, seed=1),
        replace(asked, limit=4),
        replace(asked, split="validation"),
        replace(asked, data="/somewhere"),
        replace(asked, scale=replace(asked.scale, test_items=11)),
        replace(asked, paradigm=replace(FAKE, learner=replace(FAKE.learner, version=2))),
    ]
    ids = [run_id(item) for item in [asked, *others]]
    assert len(set(ids)) == len(ids)
    assert ids[0].startswith("fake-games-fake-s0-")
    assert "limit4" in ids[2]
    assert run_id(replace(asked, data="/elsewhere")) == run_id(others[3]), "where the data lies is not what it is"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"limit": 0}, "limit"),
        ({"split": "train"}, "split"),
        ({"data": "/no/such/folder"}, "does not exist"),
        ({"paradigm": replace(FAKE, stages=none)}, "give a tuple of one Stage or more"),
        ({"paradigm": replace(FAKE, stages=twice)}, "repeat a name"),
        ({"paradigm": replace(FAKE, stages=foreign)}, "which the stream does not have"),
    ],
)
def test_what_cannot_be_run_is_refused_and_leaves_nothing(
    tmp_path: Path, model: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        run(replace(fake_run(model), **change), tmp_path / "runs")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "runs").exists()


def test_a_scale_without_bounds_wants_official_data(tmp_path: Path, model: Path) -> None:
    asked = fake_run(model)
    with pytest.raises(UserError, match="--data"):
        run(replace(asked, scale=replace(asked.scale, train_items=None)), tmp_path / "runs")


def test_a_learner_that_fails_leaves_what_was_done(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "runs"
    with pytest.raises(UserError, match="diverged"):
        run(fake_run(model, trained_by(fail_late, name="late")), out)
    ((info,), strangers) = list_runs(Store(out))
    assert not strangers
    assert not info.finished
    assert not info.working
    assert {cell.stage for cell in read_cells(info.folder / "cells.csv")} == {0, 1}


def test_a_picture_that_does_not_open_is_refused(
    tmp_path: Path, model: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")

    def twin(split: str, index: int) -> Any:
        return replace(COINS.twin(split, index), images=(lambda: Image.open(broken),))

    monkeypatch.setattr(fake_plugin, "COINS", replace(COINS, twin=twin))
    with pytest.raises(UserError, match=r"coins/test/0 cannot be read"):
        run(fake_run(model), tmp_path / "runs")


def test_a_paradigm_with_a_style_of_its_own_is_asked_in_it_too(tmp_path: Path, model: Path) -> None:
    loud = replace(DIRECT, name="loud", read=always_yes)
    asked = fake_run(model, replace(FAKE, name="loud", style=loud), PREFIX)
    with pytest.raises(UserError, match="no decoding for style loud"):
        run(asked, tmp_path / "runs")
    decodings = {**asked.scale.decodings, "loud": asked.scale.decodings["direct"]}
    asked = replace(asked, scale=replace(asked.scale, decodings=decodings))
    done = run(asked, tmp_path / "runs")
    assert [cell.style for cell in done.cells[:3]] == ["direct", "cot", "loud"]
    assert all(cell.malformed == 0 for cell in done.cells if cell.style == "loud")
    marks = from_parquet(Mark, done.folder / "marks" / "0-coins-loud.parquet").records
    assert {one.read for one in marks} == {"yes"}


def test_the_listener_hears_stages_steps_and_cells(tmp_path: Path, model: Path) -> None:
    heard = Hearer()
    run(fake_run(model, stream=PREFIX), tmp_path / "runs", heard)
    assert [item for item in heard.heard if item[0] == "stage"] == [
        ("stage", 0, 2, "base"),
        ("stage", 1, 2, "coins"),
        ("stage", 2, 2, "dice"),
    ]
    assert ("progress", 12, 12) in heard.heard
    assert heard.heard[-1] == ("cell", "watched", "cot", 18, 18)


def test_the_record_says_what_numbers_depend_on_and_holds_no_times(tmp_path: Path, model: Path) -> None:
    done = run(fake_run(model, stream=PREFIX), tmp_path / "runs")
    record = record_of(done.folder)
    assert record.paradigm["learner"]["train"] == "fake_world.learn"
    assert record.scale["train_items"] == 12
    assert record.scorers == {"coins": "same-v1", "dice": "same-v1", "watched": "same-v1"}
    assert set(record.data) == {"coins", "dice", "watched"}
    ((name, here),) = record.environments.items()
    told = {"commit", "python", "packages", "cpu", "cpu_capability", "cores", "gpus", "threads", "omp_num_threads"}
    assert told <= set(here)
    assert here["packages"]["torch"]
    assert {stage.environment for stage in record.stages} == {name}
    assert list(record.plugins) == [str(FAKE_PLUGIN)]
    assert not [key for key in keys(json.loads((done.folder / "run.json").read_text())) if "second" in key]
    costs = costs_of(done.folder)
    assert costs["1"]["seconds"] >= 0
    assert costs["1"]["trained_tokens"] == 84
    assert costs["0"]["evaluation_seconds"] >= 0


def keys(value: Any, inside: str = "") -> Iterator[str]:
    """The path of every key of a JSON value, but for what a scale says about times."""
    for key, item in value.items() if isinstance(value, dict) else ():
        if (inside, key) != ("/scale", "seconds"):
            yield f"{inside}/{key}"
            yield from keys(item, f"{inside}/{key}")
