"""A learner reads what it declares, gets its share of each task, and hands on what the next stage's key knows of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from fake_world import (
    COINS,
    FAKE,
    HALF,
    PREFIX,
    STEPS,
    every_other,
    fake_run,
    learn,
    learn_and_hand_on,
    make_model,
    trained_by,
    with_replay,
)
from hypothesis import given
from hypothesis import strategies as st

from baselines.rft import RFT
from baselines.sft import SFT
from harness.asking.styles import DIRECT
from harness.core import Example, Job, Paradigm, Stage, Task, Trained, UserError, Verdict, joint, replace
from harness.registry import typed
from harness.run_inputs import training_examples, training_items
from harness.runner import run
from harness.store.record import RunRecord, read_record
from harness.store.tables import from_parquet

pytestmark = pytest.mark.usefixtures("fake_plugin")
JOBS: list[Job] = []


@pytest.fixture(autouse=True)
def _no_jobs() -> None:
    JOBS.clear()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


def record_of(model: Path, out: Path, paradigm: Paradigm) -> RunRecord:
    return read_record(run(fake_run(model, paradigm), out).folder)


def unchanged(job: Job) -> Trained:
    return Trained(weights=job.model, optimiser_steps=0, sampled_tokens=0, trained_tokens=0)


def reads_top_p(job: Job) -> Trained:
    """Read a field of the scale that is not declared."""
    assert job.scale.top_p
    return unchanged(job)


def reads_kl(job: Job) -> Trained:
    """Read a field of the paradigm that is not declared."""
    assert job.paradigm.kl >= 0
    return unchanged(job)


def selects_by_seconds(job: Job) -> Sequence[Verdict]:
    """Read a field of the scale that is not declared, while selecting."""
    assert job.scale.max_pixels
    return every_other(job)


@pytest.mark.parametrize(
    ("paradigm", "words"),
    [
        (trained_by(reads_top_p), "learner fake reads scale.top_p"),
        (replace(FAKE, learner=replace(STEPS, train=reads_kl, obeys=frozenset({"style"}))), "reads paradigm.kl"),
        (replace(FAKE, select=replace(HALF, choose=selects_by_seconds)), "selector half reads scale.max_pixels"),
    ],
)
def test_what_reads_a_field_that_it_does_not_obey_is_refused(
    tmp_path: Path, model: Path, paradigm: Paradigm, words: str
) -> None:
    with pytest.raises(UserError, match=f"{words}, which it does not obey: add the field to its obeys") as refused:
        run(fake_run(model, paradigm, PREFIX), tmp_path / "runs")
    assert "\n" not in str(refused.value)


FIELDS = ("kl", "rate", "reference")


@given(field=st.sampled_from(FIELDS), obeyed=st.sets(st.sampled_from([*FIELDS, "style"])))
def test_a_field_that_the_learner_does_not_obey_cannot_be_set(field: str, obeyed: set[str]) -> None:
    value = {"kl": 10.0, "rate": 2.0, "reference": "base"}[field]
    learner = replace(STEPS, obeys=frozenset(obeyed))
    if field in obeyed:
        assert getattr(Paradigm(name="p", learner=learner, style=DIRECT, **{field: value}), field) == value
        return
    with pytest.raises(UserError, match=f"sets {field} to .*, which learner fake does not read"):
        Paradigm(name="p", learner=learner, style=DIRECT, **{field: value})


def test_sft_takes_no_kl_and_no_reference_and_a_reference_is_one_of_two() -> None:
    with pytest.raises(UserError, match=r"sets kl to 10\.0"):
        replace(SFT, name="sft-kl", kl=10.0)
    with pytest.raises(UserError, match="sets reference to 'base'"):
        replace(SFT, name="sft-base", reference="base")
    with pytest.raises(UserError, match="reference is 'bace', wanted is one of previous, base"):
        replace(RFT, name="rft-bace", reference="bace")


def gives_a_number(job: Job) -> Trained:
    return 3  # type: ignore[return-value]


def one_verdict_less(job: Job) -> Sequence[Verdict]:
    return every_other(job)[1:]


def one_verdict_twice(job: Job) -> Sequence[Verdict]:
    found = every_other(job)
    return [found[0], *found[:-1]]


def no_verdicts(job: Job) -> Sequence[Verdict]:
    return [True for _ in job.examples]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("paradigm", "words"),
    [
        (trained_by(gives_a_number), "learner fake returns int: its train must return a Trained"),
        *(
            (replace(FAKE, select=replace(HALF, choose=choose)), "selector half does not give one Verdict for each")
            for choose in (one_verdict_less, one_verdict_twice, no_verdicts)
        ),
    ],
)
def test_a_learner_or_selector_that_gives_something_else_is_refused(
    tmp_path: Path, model: Path, paradigm: Paradigm, words: str
) -> None:
    with pytest.raises(UserError, match=words) as refused:
        run(fake_run(model, paradigm, PREFIX), tmp_path / "runs")
    assert "\n" not in str(refused.value)


def watched(job: Job) -> Trained:
    JOBS.append(job)
    return learn(job)


def test_a_stage_shows_each_task_by_its_share(tmp_path: Path, model: Path) -> None:
    record = record_of(model, tmp_path / "runs", trained_by(watched, name="replay", stages=with_replay))
    counts = [Counter(task.name for task, _ in job.examples) for job in JOBS]
    # 12 presentations a task; dice has two epochs, so 6 items; a replayed task has a quarter of its own
    assert counts == [{"coins": 12}, {"coins": 3, "dice": 6}, {"coins": 3, "dice": 1, "cards": 12}]
    assert [stage.tasks for stage in record.stages] == [("coins",), ("coins", "dice"), ("coins", "dice", "cards")]


@given(share=st.floats(min_value=0.01, max_value=1.0), items=st.integers(1, 40), epochs=st.integers(1, 5))
def test_a_share_is_of_the_presentations_and_never_nothing(share: float, items: int, epochs: int) -> None:
    stream = replace(PREFIX, epochs={"coins": epochs, "dice": 1})
    asked = replace(fake_run(Path("nowhere"), stream=stream), limit=None)
    asked = replace(asked, scale=replace(asked.scale, train_items=items))
    found = training_items(asked, Stage(name="s", tasks=("coins", "dice"), shares={"coins": share}))
    assert found == {"coins": max(1, int(items // epochs * share)), "dice": items}


@pytest.mark.parametrize(("share", "limit", "wanted"), [(0.25, None, 3), (0.01, None, 1), (1.0, None, 12), (0.5, 4, 2)])
def test_a_share_of_all_items_is_a_share_of_those_that_there_are(
    model: Path, share: float, limit: int | None, wanted: int
) -> None:
    asked = replace(fake_run(model, stream=PREFIX), limit=limit)
    asked = replace(asked, scale=replace(asked.scale, train_items=None))
    stage = Stage(name="s", tasks=("coins", "dice"), shares={"coins": share})
    tasks = {name: replace(typed(Task, name), twin_items=12) for name in stage.tasks}
    found = training_examples(asked, stage, tasks)
    assert {name: len(examples) for name, examples in found.items()} == {"coins": wanted, "dice": 2 if limit else 12}


HANDING = trained_by(learn_and_hand_on, name="handing")


def test_what_a_stage_hands_on_reaches_the_next_one_and_its_key(tmp_path: Path, model: Path) -> None:
    record = record_of(model, tmp_path / "runs", HANDING)
    plain = record_of(model, tmp_path / "plain", replace(HANDING, learner=replace(HANDING.learner, train=learn)))
    assert record.stages[0].weights == plain.stages[0].weights
    assert record.stages[1].weights != plain.stages[1].weights, "the second stage learns from what was handed on"
    store = tmp_path / "runs" / "checkpoints"
    seen = (store / str(record.stages[2].key) / "carry" / "memory" / "seen.txt").read_text().split()
    assert [name.partition("/")[0] for name in seen] == ["coins"] * 12 + ["dice"] * 6 + ["cards"] * 12
    again = record_of(model, tmp_path / "runs", HANDING)
    assert again == record


@pytest.mark.parametrize("harm", ["edited", "removed", "added"])
def test_what_was_handed_on_is_checked(tmp_path: Path, model: Path, harm: str) -> None:
    record = record_of(model, tmp_path / "runs", HANDING)
    folder = tmp_path / "runs" / "checkpoints" / str(record.stages[0].key)
    handed = folder / "carry" / "memory" / "seen.txt"
    if harm == "edited":
        handed.write_text("coins/train/0\n")
    elif harm == "removed":
        handed.unlink()
    else:
        handed.with_name("more.txt").write_text("")
    with pytest.raises(UserError, match=r"was edited or cut short .*: remove the folder"):
        run(fake_run(model, HANDING), tmp_path / "runs")


def hands_on_its_seed(job: Job) -> Trained:
    """Learn nothing, and hand on something that is different in every run."""
    folder = job.folder / "handed"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seed").write_text(str(job.seed))
    return replace(unchanged(job), carry=folder)


def test_equal_weights_with_another_carry_have_another_key(tmp_path: Path, model: Path) -> None:
    stages = [
        read_record(run(fake_run(model, trained_by(hands_on_its_seed), seed=seed), tmp_path / "runs").folder).stages
        for seed in (0, 1)
    ]
    assert stages[0][0].weights == stages[1][0].weights
    made = [
        {key: value for key, value in inputs(tmp_path / "runs", str(found[1].key)).items() if key != "seed"}
        for found in stages
    ]
    assert {name for name in made[0] if made[0][name] != made[1][name]} == {"carry"}


def inputs(out: Path, key: str) -> dict[str, object]:
    """What made a checkpoint, as its manifest says."""
    import json

    found: dict[str, object] = json.loads((out / "checkpoints" / key / "manifest.json").read_text())["inputs"]
    return found


def alike(split: str, index: int) -> Example:
    """Items whose ids are those of every other task that is made like this."""
    return replace(COINS.twin(split, index), id=f"{split}-{index}")


def alike_too(split: str, index: int) -> Example:
    return replace(COINS.twin(split, index + 100), id=f"{split}-{index}")


def only_coins(job: Job) -> Sequence[Verdict]:
    """Keep one task's examples alone."""
    return [replace(one, kept=one.task == "coins") for one in every_other(job)]


def test_a_selection_keeps_tasks_apart_whose_ids_coincide(
    tmp_path: Path, model: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_plugin, "COINS", replace(COINS, twin=alike))
    monkeypatch.setattr(fake_plugin, "DICE", replace(fake_plugin.DICE, twin=alike_too))
    picky = trained_by(watched, stages=joint, select=replace(HALF, choose=only_coins))
    done = run(fake_run(model, picky, PREFIX), tmp_path / "runs")
    (job,) = JOBS
    assert Counter(task.name for task, _ in job.examples) == {"coins": 12}
    verdicts = from_parquet(Verdict, done.folder / "verdicts-1.parquet").records
    assert Counter((one.task, one.kept) for one in verdicts) == {("coins", True): 12, ("dice", False): 6}


def published(folder: Path, split: str) -> Sequence[Example]:
    """The file's hundred items, easy ones first."""
    return [COINS.twin(split, index) for index in range(100)]


@given(small=st.integers(1, 100), large=st.integers(1, 100))
def test_a_smaller_sample_of_official_data_is_part_of_a_larger_one(small: int, large: int) -> None:
    task = replace(COINS, official=published)
    one, other = (task.load("train", count, Path("data")) for count in sorted((small, large)))
    assert set(one) <= set(other)
    assert [len(one), len(other)] == sorted((small, large))
    places = [int(example.id.rpartition("/")[2]) for example in other]
    assert places == sorted(places), "a sample stands in the order of the file"
    assert other == task.load("train", max(small, large), Path("data"))


def test_a_limit_on_official_data_takes_a_seeded_sample_and_not_the_first_rows(tmp_path: Path) -> None:
    task = replace(COINS, official=published)
    asked = fake_run(tmp_path / "model", limit=10, data=str(tmp_path))
    stage = Stage(name="coins", tasks=("coins",))
    found = training_examples(asked, stage, {"coins": task})["coins"]
    places = [int(example.id.rpartition("/")[2]) for example in found]
    assert places == sorted(Random("coins/train").sample(range(100), 100)[:10]) != list(range(10))
    asked = replace(asked, limit=None, scale=replace(asked.scale, train_items=20))
    assert set(found) < set(training_examples(asked, stage, {"coins": task})["coins"])
