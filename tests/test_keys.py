"""The key of a stage and the address of replies hold all that moves a number, and nothing else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fake_world import (
    COINS,
    DIRECT,
    DRIFT,
    ENGINE,
    FAKE,
    HALF,
    PREFIX,
    SHOUTS,
    STEPS,
    fake_run,
    learn_slowly,
    lenient,
    make_model,
    trained_by,
)

from harness import observe, registry, train_stage
from harness.asking import styles
from harness.asking.styles import COT, read_direct
from harness.core import Decoding, Example, Paradigm, Run, Stage, Stream, replace
from harness.observe import view_of
from harness.results.published import PublishedRun
from harness.run_inputs import base_checkpoint, observations, run_id, run_stages
from harness.runner import run
from harness.store.checkpoints import Store
from harness.store.lineage import stage_key
from harness.store.record import read_record

pytestmark = pytest.mark.usefixtures("fake_plugin")

SCORING = replace(FAKE, name="scoring", learner=replace(STEPS, name="scoring", scores=True))
THINKING = replace(FAKE, name="thinking", style=COT)
SELECTING = replace(FAKE, name="selecting", select=HALF)
LATE = frozenset({"rollout_engine", "rollout_memory", "importance_cap"})
SAMPLING = replace(FAKE, name="sampling", learner=replace(STEPS, obeys=STEPS.obeys | LATE))
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


def asked(model: Path, paradigm: Paradigm = FAKE) -> Run:
    """A run on two tasks whose scale has a rate for every learner here."""
    made = fake_run(model, paradigm, PREFIX)
    return replace(made, scale=replace(made.scale, rates={"fake": 1e-3, "scoring": 1e-3}))


def key(run: Run) -> str:
    """The key of a run's first stage, as the loop makes it."""
    session: Any = SimpleNamespace(run=run, view=view_of(run, ENGINE), store=Store(Path("nowhere")), reporting=None)
    base = base_checkpoint(run)
    return stage_key(train_stage.prepare(session, run_stages(run)[0], base, base)[1])


def replies_address(run: Run, column: str = "coins-direct", weights: str = "w") -> dict[str, Any]:
    """All that decides the replies of a column of the base row."""
    view = view_of(run, ENGINE)
    (one,) = [one for one in observations(run) if f"{one.name}-{one.style}" == column and one.stage == 0]
    return view.key(weights, one)


def write_loudly(answer: str, rationale: str) -> str:
    """Another target."""
    return answer.upper()


def read_loudly(reply: str) -> str | None:
    """Another reader."""
    return read_direct(reply.upper())


def second_opinion(split: str, index: int) -> Example:
    """The same items with one more accepted answer: what a prompt and a target do not show, but a scorer reads."""
    first = COINS.twin(split, index)
    return replace(first, answers=(*first.answers, "perhaps"))


def in_another_style(**fields: Any) -> Paradigm:
    return replace(FAKE, style=replace(DIRECT, **fields))


Change = Callable[[Run], Run]


def with_paradigm(paradigm: Paradigm) -> Change:
    return lambda run: replace(run, paradigm=paradigm)


def with_scale(**fields: Any) -> Change:
    return lambda run: replace(run, scale=replace(run.scale, **fields))


def with_task(**fields: Any) -> dict[str, Any]:
    return {"COINS": replace(COINS, **fields)}


def same_run(run: Run) -> Run:
    return run


def only_epochs(run: Run) -> Run:
    return replace(run, stream=replace(PREFIX, epochs={"coins": 2, "dice": 2}))


def renamed(stream: Stream) -> tuple[Stage, ...]:
    """The same stages under other names, which have other seeds."""
    return tuple(Stage(name=f"{task}-again", tasks=(task,)) for task in stream.tasks)


def of_other_weights(run: Run) -> Run:
    return with_scale(model=str(make_model(Path(run.scale.model).parent / "other", 2.0)))(run)


BLIND = {
    "the CoT instruction": (THINKING, same_run, {}, (styles, "COT_INSTRUCTION", "Think.")),
    "a task's suffix": (FAKE, same_run, with_task(suffix="one word"), None),
    "the target's text": (FAKE, with_paradigm(in_another_style(write=write_loudly)), {}, None),
    "the learner's version": (FAKE, with_paradigm(replace(FAKE, learner=replace(STEPS, version=2))), {}, None),
    "the learner's function": (FAKE, with_paradigm(trained_by(learn_slowly)), {}, None),
    "the kind of device": (FAKE, same_run, {}, (train_stage, "device_kind", lambda: "H100")),
    "a scorer that rewards": (SCORING, same_run, with_task(score=lenient), None),
    "the version of a scorer that rewards": (SCORING, same_run, with_task(version=2), None),
    "gold that rewards": (SCORING, same_run, with_task(twin=second_opinion), None),
    "a scorer that selects": (SELECTING, same_run, with_task(score=lenient), None),
    "gold that selects": (SELECTING, same_run, with_task(twin=second_opinion), None),
    "a reader that rewards": (
        SCORING,
        with_paradigm(replace(SCORING, style=replace(DIRECT, read=read_loudly))),
        {},
        None,
    ),
    "a style's version where it rewards": (
        SCORING,
        with_paradigm(replace(SCORING, style=replace(DIRECT, version=DIRECT.version + 1))),
        {},
        None,
    ),
    "the selector": (FAKE, with_paradigm(SELECTING), {}, None),
    "the selector's version": (SELECTING, with_paradigm(replace(FAKE, select=replace(HALF, version=2))), {}, None),
    "a field that the selector obeys": (SELECTING, with_scale(rollouts=16), {}, None),
    "the engine of rollouts": (SAMPLING, with_scale(rollout_engine="vllm", ranks=1), {}, None),
    "the cap of a token's weight": (SAMPLING, with_scale(importance_cap=2.0), {}, None),
    "KL": (FAKE, with_paradigm(replace(FAKE, kl=0.1)), {}, None),
    "the rate": (FAKE, with_paradigm(replace(FAKE, rate=2.0)), {}, None),
    "the scale's rate": (FAKE, with_scale(rates={"fake": 1e-4}), {}, None),
    "the seed": (FAKE, lambda run: replace(run, seed=1), {}, None),
    "the limit": (FAKE, lambda run: replace(run, limit=5), {}, None),
    "the number of items": (FAKE, with_scale(train_items=11), {}, None),
    "the epochs": (FAKE, lambda run: replace(only_epochs(run), limit=5), {}, None),
    "the stage's name": (FAKE, with_paradigm(replace(FAKE, stages=renamed)), {}, None),
    "the weights": (FAKE, of_other_weights, {}, None),
}  # fmt: skip


@pytest.mark.parametrize("what", BLIND)
def test_what_reaches_the_training_is_in_the_key(
    model: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    paradigm, change, nouns, patch = BLIND[what]
    begun = asked(model, paradigm)
    if what == "the epochs":
        begun = replace(begun, limit=5)
    before = key(begun)
    for name, noun in nouns.items():
        monkeypatch.setattr(fake_plugin, name, noun)
    if patch:
        monkeypatch.setattr(*patch)
    assert key(change(begun)) != before


def cited(run: Run) -> Run:
    """The same run after every citation was corrected."""
    return replace(
        run,
        paradigm=replace(run.paradigm, cite="arXiv:1"),
        stream=replace(run.stream, cite="arXiv:2"),
        scale=replace(run.scale, cite="arXiv:3"),
    )


def moved(run: Run) -> Run:
    """The same run from a copy of the model at another place."""
    elsewhere = Path(run.scale.model).parent / "elsewhere" / "model"
    shutil.copytree(run.scale.model, elsewhere)
    return with_scale(model=str(elsewhere))(run)


def longer_cot(run: Run) -> Run:
    decodings = {**run.scale.decodings, "cot": Decoding(name="greedy-64", max_new_tokens=64)}
    return with_scale(decodings=decodings)(run)


REREAD = in_another_style(read=read_loudly, version=DIRECT.version + 1)
WIDE = {
    "citations": (FAKE, cited, with_task(cite="arXiv:4", licence="MIT")),
    "the batch of evaluation": (FAKE, with_scale(eval_batch=64), {}),
    "another style's decoding": (FAKE, longer_cot, {}),
    "the place of the model": (FAKE, moved, {}),
    "a scorer that does not reward": (FAKE, same_run, with_task(score=lenient, version=2)),
    "gold that is no target": (FAKE, same_run, with_task(twin=second_opinion)),
    "a reader that does not reward": (FAKE, with_paradigm(REREAD), {}),
    "the paradigm's name": (FAKE, with_paradigm(replace(FAKE, name="another")), {}),
    "the scale's name": (FAKE, with_scale(name="another"), {}),
    "fields that nobody obeys": (FAKE, with_scale(rollouts=2, sft_batch=1, top_p=0.5, max_pixels=64), {}),
    "another learner's rate": (FAKE, with_scale(rates={"fake": 1e-3, "scoring": 1.0}), {}),
    "the items of evaluation": (FAKE, with_scale(test_items=3), {}),
    "the split of evaluation": (FAKE, lambda run: replace(run, split="validation"), {}),
    "what is watched": (FAKE, lambda run: replace(run, stream=replace(PREFIX, general=(), probes=("drift",))), {}),
    "how much of a device is used": (SAMPLING, with_scale(rollout_memory=0.5), {}),
    "how work is spread": (FAKE, with_scale(ranks=1, observers=1, seconds={"fake": 3.0}), {}),
}  # fmt: skip


@pytest.mark.parametrize("what", WIDE)
def test_what_does_not_reach_the_training_is_not_in_the_key(
    model: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    paradigm, change, nouns = WIDE[what]
    begun = asked(model, paradigm)
    before = key(begun)
    for name, noun in nouns.items():
        monkeypatch.setattr(fake_plugin, name, noun)
    assert key(change(begun)) == before


def test_a_field_that_came_later_and_is_not_set_is_in_no_key(model: Path) -> None:
    assert key(asked(model, SAMPLING)) == key(asked(model)), "as it was before the learner knew of it"


def test_a_citation_and_a_place_leave_the_runs_id_and_its_group_on_the_leaderboard(
    tmp_path: Path, model: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asked(model)
    first = run(begun, tmp_path / "one")
    monkeypatch.setattr(fake_plugin, "COINS", replace(COINS, cite="arXiv:4"))
    second = run(moved(cited(begun)), tmp_path / "two")
    assert first.id == second.id
    assert first.cells == second.cells
    groups = {PublishedRun(record=read_record(done.folder), cells=done.cells).group for done in (first, second)}
    assert len(groups) == 1
    assert run_id(replace(begun, scale=replace(begun.scale, eval_batch=5))) != first.id, "a batch can move a reply"


@pytest.mark.parametrize("noun", [SHOUTS, DRIFT, COINS])
def test_the_versions_of_what_is_observed_are_in_the_runs_id(
    model: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, noun: Any
) -> None:
    begun = replace(asked(model), stream=replace(PREFIX, general=("shouts",), probes=("drift",)))
    before = run_id(begun)
    monkeypatch.setattr(fake_plugin, noun.name.upper(), replace(noun, version=noun.version + 1))
    assert run_id(begun) != before


REPLIES = {
    "another engine": lambda run: replies_of_engine(run, replace(ENGINE, name="other")),
    "another version of the engine": lambda run: replies_of_engine(run, replace(ENGINE, version=2)),
    "other weights": lambda run: replies_address(run, weights="v"),
    "another batch": lambda run: replies_address(with_scale(eval_batch=8)(run)),
    "another length": lambda run: replies_address(run, "coins-cot"),
    "another precision": lambda run: replies_address(with_scale(precision="bfloat16")(run)),
    "another size of pictures": lambda run: replies_address(with_scale(max_pixels=64)(run)),
    "another length of prompts": lambda run: replies_address(with_scale(max_prompt_tokens=2048)(run)),
    "other items": lambda run: replies_address(replace(run, limit=3)),
    "another task": lambda run: replies_address(run, "dice-direct"),
}


def replies_of_engine(run: Run, kind: Any) -> dict[str, Any]:
    one = observations(run)[0]
    return view_of(run, kind).key("w", one)


@pytest.mark.parametrize("what", REPLIES)
def test_what_moves_a_reply_is_in_its_address(model: Path, what: str) -> None:
    begun = asked(model)
    assert REPLIES[what](begun) != replies_address(begun)


def test_the_device_is_in_the_address_of_replies_and_a_scorer_or_a_place_is_not(
    model: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asked(model)
    before = replies_address(begun)
    monkeypatch.setattr(fake_plugin, "COINS", replace(COINS, version=2, score=lenient, cite="arXiv:4"))
    assert replies_address(cited(moved(begun))) == before
    there = replace(ENGINE, elsewhere=True)
    elsewhere = replies_of_engine(begun, there)
    monkeypatch.setattr(observe, "device_kind", lambda: "H100")
    assert replies_address(begun) != before
    assert replies_of_engine(begun, there) == elsewhere, "what stands here says nothing of a server"


PLUGIN = """
from harness.asking.styles import DIRECT
from harness.core import Job, Learner, Paradigm, Trained, Work
from fake_world import learn, replace

def train(job: Job) -> Trained:
    return learn(job, remembered="{text}")

def work(shown, paradigm, scale):
    return Work(steps=shown)

MINE = Paradigm(name="mine", style=DIRECT, learner=Learner(
    name="fake", version=1, train=train, work=work, obeys=frozenset({{"style", "kl", "rate", "rates"}})))
"""


def made_with(model: Path, plugin: Path) -> tuple[str, ...]:
    """What a run of the paradigm of a plugin, loaded afresh, is called, its first key, and the file's digest."""
    registry.load_plugin(plugin)
    made = fake_run(model, registry.typed(Paradigm, "mine"), PREFIX, limit=2)
    found = run_id(made), key(made), registry.loaded_plugins()[str(plugin)]
    del sys.modules[registry._plugins.pop(plugin).__name__]
    return found


def test_an_edited_plugin_and_another_file_of_its_name_get_checkpoints_of_their_own(
    tmp_path: Path, model: Path
) -> None:
    one, other = tmp_path / "a" / "mine.py", tmp_path / "b" / "mine.py"
    for path, text in ((one, "first"), (other, "second")):
        path.parent.mkdir()
        path.write_text(PLUGIN.format(text=text))
    first = made_with(model, one)
    assert made_with(model, one) == first
    second = made_with(model, other)
    one.write_text(PLUGIN.format(text="edited"))
    edited = made_with(model, one)
    for place in range(3):
        assert len({found[place] for found in (first, second, edited)}) == 3
    shutil.copy(other, one)
    assert made_with(model, one) == second, "the same content at another place is the same"
