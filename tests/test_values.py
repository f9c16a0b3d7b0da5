"""Bad values of nouns, of scores and of items: one line that names the object and the field, where they are made."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_world import (
    COINS,
    DIRECT,
    DRIFT,
    FAKE,
    HALF,
    LOOSE,
    PREFIX,
    SHOUTS,
    STEPS,
    by_answer,
    fake_run,
    fake_scale,
    learn_slowly,
    make_model,
    twin,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.asking.marking import mark
from harness.core import Example, Lora, Stage, UserError, replace
from harness.runner import run

SCALE = fake_scale(Path("model"))
NOUNS: dict[str, Any] = {
    "Task": replace(COINS, scorers=(LOOSE,), breakdown=by_answer),
    "Scorer": LOOSE,
    "Style": DIRECT,
    "Stream": PREFIX,
    "Stage": Stage(name="two", tasks=("coins", "dice"), shares={"coins": 0.5}),
    "Scale": SCALE,
    "Paradigm": FAKE,
    "Learner": STEPS,
    "Selector": HALF,
    "Decoding": SCALE.decodings["direct"],
    "Suite": SHOUTS,
    "Probe": DRIFT,
    "Lora": Lora(rank=4, alpha=8, targets=("q_proj", "visual.merger")),
}

# What each kind of field may not be; None, True, a list and NaN among them wherever they are wrong.
NAMES = st.sampled_from(["", "A", "../up", "a b", "a/b", "\x1b[31m", "x\n", "-", "a..b", "x" * 65, None, 1, ["a"]])
COUNTS = st.sampled_from([0, -1, 1.5, 1.0, True, None, "1", math.nan, [1]]) | st.integers(max_value=0)
ABSENT = COUNTS.filter(lambda value: value is not None)
BELOW = st.floats(max_value=0, exclude_max=True) | st.sampled_from([True, None, "1", math.inf, math.nan])
SHARES = BELOW | st.just(0) | st.floats(min_value=1, exclude_min=True)
TEXTS = st.sampled_from([None, 1, ["a"], b"a"])
FUNCTIONS = st.sampled_from(["learn", 1, ["f"], {}])
NO_FUNCTIONS = FUNCTIONS | st.none()
TUPLES = st.sampled_from([["coins"], "coins", ("coins", "coins"), None, {"coins"}, ("Coins",), (1,), ("../a",), 3])
EPOCHS = st.sampled_from([0, -1, 1.5, None, True, "1", [1]]).map(lambda count: {"coins": 1, "dice": count})
MAPPINGS = st.sampled_from([None, 1, "coins", ["coins"], {"cards": 1}, {"coins": 1}, {}])
OBEYS = st.sampled_from([None, "kl", {"kl"}, ["kl"], ("kl",), frozenset({"top-p"}), frozenset({1})])
BAD: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "Task": {
        "name": NAMES, "version": COUNTS, "cite": TEXTS, "licence": TEXTS, "suffix": TEXTS,
        "score": NO_FUNCTIONS, "twin": NO_FUNCTIONS, "official": FUNCTIONS, "twin_items": ABSENT,
        "sources": st.sampled_from([None, ["hub"], ("hub",), "hub"]),
        "scorers": st.sampled_from([None, {"loose": LOOSE}, [LOOSE], (LOOSE, LOOSE), (by_answer,), "loose"]),
        "breakdown": FUNCTIONS,
    },
    "Scorer": {"name": NAMES, "version": COUNTS, "score": NO_FUNCTIONS},
    "Style": {
        "name": NAMES, "version": COUNTS, "ask": NO_FUNCTIONS, "write": NO_FUNCTIONS,
        "read": NO_FUNCTIONS, "follows": NO_FUNCTIONS, "format_weight": SHARES.filter(lambda n: n != 0),
    },
    "Stream": {
        "name": NAMES, "tasks": TUPLES | st.just(()), "general": TUPLES, "probes": TUPLES, "epochs": EPOCHS | MAPPINGS,
        "cite": TEXTS,
    },
    "Stage": {
        "name": NAMES, "tasks": TUPLES | st.just(()),
        "shares": st.sampled_from([None, 1, ["coins"], {"cards": 1.0}])
        | SHARES.map(lambda share: {"coins": share}),
    },
    "Scale": {
        "name": NAMES, "model": TEXTS, "engine": NAMES,
        "precision": st.sampled_from(["float16", "fp32", None, 32, ["float32"]]),
        "attention": st.sampled_from(["sparse", None, 1]),
        "rollout_engine": st.sampled_from(["sglang", None, 1]), "rollout_memory": SHARES,
        "importance_cap": BELOW | st.just(0),
        **dict.fromkeys(
            ("sft_batch", "rollouts", "prompts_per_update", "updates_per_rollout_batch", "eval_batch", "min_pixels",
             "max_pixels", "max_prompt_tokens"), COUNTS),
        **dict.fromkeys(("train_items", "test_items", "micro_batch"), ABSENT),
        **dict.fromkeys(("ranks", "observers"), st.sampled_from([-1, 1.5, True, None, "1"])),
        "top_p": SHARES,
        "decodings": st.sampled_from([None, 1, ["direct"], {"direct": 8}, {"direct": None}]),
        "rates": st.sampled_from([None, 1.0, ["fake"]]) | (BELOW | st.just(0)).map(lambda rate: {"fake": rate}),
        "seconds": st.sampled_from([None, 1.0, ["fake"]]) | BELOW.map(lambda rate: {"fake": rate}),
        "cite": TEXTS,
    },
    "Paradigm": {
        "name": NAMES, "learner": st.sampled_from([None, "sft", learn_slowly]), "style": st.sampled_from([None, "cot"]),
        "stages": NO_FUNCTIONS, "select": st.sampled_from(["half", 1, learn_slowly]), "kl": BELOW,
        "reference": st.sampled_from(["bace", None, 1, ["base"]]), "rate": BELOW | st.just(0), "cite": TEXTS,
        "adapter": st.sampled_from([8, "lora", learn_slowly, {"rank": 8}]),
    },
    "Learner": {
        "name": NAMES, "version": COUNTS, "train": NO_FUNCTIONS, "work": NO_FUNCTIONS, "obeys": OBEYS,
        "scores": st.sampled_from([None, 1, "yes"]),
    },
    "Selector": {
        "name": NAMES, "version": COUNTS, "choose": NO_FUNCTIONS, "work": NO_FUNCTIONS, "obeys": OBEYS,
    },
    "Decoding": {
        "name": NAMES, "max_new_tokens": COUNTS, "stop": st.sampled_from([None, "x", ["x"], ("",), (1,)]),
    },
    "Suite": {
        "name": NAMES, "version": COUNTS, "decoding": st.sampled_from([None, 8, "greedy-8"]),
        "ask": NO_FUNCTIONS, "mark": NO_FUNCTIONS, "cite": TEXTS, "stands_for": TEXTS,
        "breakdown": FUNCTIONS, "max_prompt_tokens": COUNTS,
        "decodings": st.sampled_from([None, {"fake": 8}, ["fake"]]),
    },
    "Lora": {
        "rank": COUNTS, "alpha": BELOW | st.just(0),
        "targets": TUPLES.filter(lambda value: value != ("Coins",)) | st.sampled_from([(), "all-linear", ("a b",)]),
        "keep": st.sampled_from(["both", None, 1, True]), "frozen": st.sampled_from(["int8", None, 16, True]),
    },
    "Probe": {
        "name": NAMES, "version": COUNTS, "unit": TEXTS, "measure": NO_FUNCTIONS, "cite": TEXTS,
    },
}  # fmt: skip
FIELDS = [(noun, field) for noun, fields in BAD.items() for field in fields]


def test_every_field_of_every_noun_is_tried() -> None:
    apart = {("Task", "counts")}  # tells how many items the published data has; nothing is computed from it
    fields = {(noun, field) for noun, value in NOUNS.items() for field in type(value).__dataclass_fields__}
    assert fields - set(FIELDS) == apart


@pytest.mark.parametrize(("noun", "field"), FIELDS)
@settings(max_examples=25)
@given(data=st.data())
def test_a_bad_value_is_refused_where_the_noun_is_made(data: st.DataObject, noun: str, field: str) -> None:
    value = data.draw(BAD[noun][field])
    with pytest.raises(UserError) as refused:
        replace(NOUNS[noun], **{field: value})
    line = str(refused.value)
    assert line.startswith(noun)
    assert field.removesuffix("s") in line
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 400


@pytest.mark.parametrize("kind", NOUNS)
def test_the_good_values_are_taken(kind: str) -> None:
    assert replace(NOUNS[kind]) == NOUNS[kind]


class Callables:
    """What can be called, but whose name does not determine it."""

    def __call__(self, *given: Any) -> Any:
        """Nothing."""

    def method(self, *given: Any) -> Any:
        """Nothing."""


def factory(rate: float) -> Callable[[Any], Any]:
    """A closure of one factory: two of them share their name."""

    def made(given: Any) -> Any:
        return rate

    return made


NAMELESS = (
    st.floats().map(factory)
    | st.integers().map(lambda number: lambda given: number)
    | st.integers().map(lambda number: partial(learn_slowly, number))
    | st.builds(Callables)
    | st.builds(Callables).map(lambda made: made.method)
)
TAKERS = [
    ("Learner", "train"), ("Learner", "work"), ("Selector", "choose"), ("Selector", "work"), ("Style", "ask"),
    ("Style", "write"), ("Style", "read"), ("Style", "follows"), ("Task", "score"), ("Suite", "ask"),
    ("Task", "breakdown"), ("Suite", "breakdown"), ("Scorer", "score"),
    ("Suite", "mark"), ("Probe", "measure"), ("Paradigm", "stages"),
]  # fmt: skip


@given(taker=st.sampled_from(TAKERS), function=NAMELESS)
def test_a_function_that_its_name_does_not_determine_is_refused(taker: tuple[str, str], function: Any) -> None:
    noun, field = taker
    with pytest.raises(UserError, match="write it as `def name") as refused:
        replace(NOUNS[noun], **{field: function})
    assert str(refused.value).startswith(f"{noun} ")
    assert f": {field}: " in str(refused.value)
    assert "\n" not in str(refused.value)


SCORES: list[Any] = [2, -0.1, math.nan, math.inf, None, "1", [1.0], 1 + 0j]
GIVEN: dict[str, Any] = {}


def gives(answer: str, example: Example) -> float:
    """Whatever a test puts into GIVEN."""
    return GIVEN["score"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("score", SCORES)
def test_a_score_that_is_none_is_refused_where_it_is_given(score: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GIVEN, "score", score)
    with pytest.raises(UserError, match=r"task coins: test_values\.gives gives .* for coins/test/0") as refused:
        mark(replace(COINS, score=gives), DIRECT, COINS.twin("test", 0), "yes")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("score", [0, 1, 0.3, True, False])
def test_a_score_that_is_a_number_is_taken(score: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GIVEN, "score", score)
    found = mark(replace(COINS, score=gives), DIRECT, COINS.twin("test", 0), "yes")
    assert (found.score, type(found.score)) == (float(score), float)


ITEMS: dict[str, Any] = {
    "no example": lambda item: "an item",
    "a number as id": lambda item: replace(item, id=7),
    "no id": lambda item: replace(item, id=""),
    "one id twice": lambda item: replace(item, id="coins"),
    "no answer": lambda item: replace(item, answers=()),
    "a number as answer": lambda item: replace(item, answers=(4,)),
    "a list of answers": lambda item: replace(item, answers=["yes"]),
    "a text for answers": lambda item: replace(item, answers="yes"),
    "no question": lambda item: replace(item, question=None),
    "a number as choice": lambda item: replace(item, choices=(1, 2)),
}


@pytest.mark.parametrize("what", ITEMS)
def test_an_item_that_is_none_is_refused(
    tmp_path: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    made = replace(COINS, twin=lambda split, index: ITEMS[what](twin("coins", split, index)))
    monkeypatch.setattr(fake_plugin, "COINS", made)
    with pytest.raises(UserError, match="items of coins") as refused:
        run(fake_run(make_model(tmp_path / "model"), stream=PREFIX), tmp_path / "runs")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()
