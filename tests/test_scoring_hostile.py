"""A bad answer is data: whatever the text, every scorer gives a number, soon."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core import Example
from tasks.scoring import clevr_match, exact_match, math_equal, option_letter, vqa_accuracy, yes_no

SCORERS = (exact_match, option_letter, vqa_accuracy, yes_no, math_equal, clevr_match)
GOLDS = (("B",), ("7", *["blue"] * 9))
CHOICES = ("a cup", "a newt", "$4")
PIECES = (
    "\ud800", "\x00", "a", "(", " ", "$", "\\", "*a ", "**", "`a", "_a ", "\\text{", "\\text{a}", "\\frac{", "1", "1+",
    "9^", "(1)", "\\sqrt{", "B\n", "the answer is B ", "answer: ", "'", ".", "-", ". x", "A,", "A or ", "1,", "\\left(",
    "x=", "\u00b0", "\\ ", "B. a", "is ", "\u2019", "{,}", "\n", "\u2028", "\uff21", "1/", "|", "\u0301",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("score", SCORERS, ids=lambda score: score.__name__)
def test_a_hundred_thousand_characters_of_anything_are_soon_worth_nothing(score) -> None:
    start = time.process_time()
    for piece in PIECES:
        for reply in ((piece * 100_000)[:100_000], "x" + (piece * 100_000)[:3_900] + "x"):
            for answers in GOLDS:
                item = Example(id="x", question="?", answers=answers, choices=CHOICES)
                assert score(reply, item) == 0 or (score is option_letter and len(set(reply)) < 20), piece
    assert time.process_time() - start < 0.15 * len(PIECES) * 2 * len(GOLDS)


@pytest.mark.parametrize("score", SCORERS, ids=lambda score: score.__name__)
@settings(max_examples=150, deadline=None)
@given(
    reply=st.lists(st.sampled_from(PIECES) | st.characters(), max_size=12).map("".join),
    answers=st.lists(
        st.lists(st.sampled_from(PIECES) | st.characters(), max_size=4).map("".join), min_size=1, max_size=10
    ),
)
def test_any_mixture_is_worth_between_0_and_1_and_a_blank_nothing(score, reply: str, answers: list[str]) -> None:
    item = Example(id="x", question="?", answers=tuple(answers), choices=tuple(answers))
    assert 0 <= score(reply, item) <= 1
    assert score("", item) == score(" \n", item) == 0
