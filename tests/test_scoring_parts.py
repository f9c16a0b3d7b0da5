"""The parts of cells: yes/no and free answers apart, answerability, POPE's five numbers; and single-answer grading."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from realdata_layout import REALDATA

from harness.asking.marking import mark
from harness.asking.styles import COT, DIRECT
from harness.core import Example, Mark, Part
from harness.registry import all_of
from tasks.breakdowns import CATEGORIES, answerability, presence, yes_no_and_free
from tasks.gqa import GQA
from tasks.pathvqa import PATHVQA
from tasks.pope import POPE
from tasks.scoring import option_letter
from tasks.single import SINGLE, single_answer
from tasks.streams import DEFAULT
from tasks.vizwiz import VIZWIZ


def item(*answers: str, name: str = "x", choices: tuple[str, ...] = ()) -> Example:
    """A question with these answers."""
    return Example(id=name, question="?", answers=answers, choices=choices)


def scored(task, examples: Sequence[Example], replies: Sequence[str]) -> list[Mark]:
    """The marks of direct replies."""
    return [mark(task, DIRECT, example, reply) for example, reply in zip(examples, replies, strict=True)]


def values(parts: dict[str, Part]) -> dict[str, float]:
    """The values alone."""
    return {name: part.value for name, part in parts.items()}


def test_pathvqa_gives_yes_no_and_free_answers_apart_and_their_mean_is_the_cell() -> None:
    examples = [item("yes"), item("No"), item("no"), item("the histone subunits"), item("positively charged")]
    marks = scored(PATHVQA, examples, ["Yes.", "yes", "no", "histone subunits", "in the nucleus"])
    parts = yes_no_and_free(examples, marks)
    assert parts == {"yes-no": Part(value=2 / 3, n=3), "free": Part(value=0.5, n=2)}
    assert sum(part.n * part.value for part in parts.values()) == pytest.approx(sum(one.score for one in marks))
    assert list(yes_no_and_free(examples[:3], marks[:3])) == ["yes-no"], "no free question, no number for it"
    twins = PATHVQA.load("test", 40)
    golds = scored(PATHVQA, twins, [example.answers[0] for example in twins])
    assert values(yes_no_and_free(twins, golds)) == {"yes-no": 1.0, "free": 1.0}


UNSURE, SURE = ("unanswerable",) * 6 + ("cup",) * 4, ("unanswerable",) * 5 + ("cup",) * 5


def test_vizwiz_counts_a_question_as_unanswerable_where_most_of_ten_say_so() -> None:
    examples = [item(*UNSURE), item(*UNSURE), item(*SURE), item(*SURE), item(*["cup"] * 10)]
    marks = scored(VIZWIZ, examples, ["Unanswerable.", "cup", "unanswerable", "cup", ""])
    assert answerability(examples, marks) == {
        "unanswerable-precision": Part(value=0.5, n=2),
        "unanswerable-recall": Part(value=0.5, n=2),
        "unanswerable-f1": Part(value=0.5, n=5),
        "answerable": Part(value=2 / 3, n=3),  # 1, 1, 0
    }
    never = answerability(examples, scored(VIZWIZ, examples, ["cup"] * 5))
    assert "unanswerable-precision" not in never, "it was never said"
    assert (never["unanswerable-recall"].value, never["unanswerable-f1"].value) == (0, 0)


@pytest.mark.skipif(not REALDATA.is_dir(), reason="the real items may not be copied: set CPT_REALDATA to their folder")
def test_the_answer_type_of_real_photos_is_what_the_majority_says() -> None:
    rows = [json.loads(line) for line in (REALDATA / "vizwiz" / "items.jsonl").read_text().splitlines()]
    for row in rows:
        example = item(*row["answers"])
        parts = answerability([example], [Mark(example="x", read="unanswerable", score=1.0)])
        assert ("unanswerable-recall" in parts) == (row["official"]["answer_type"] == "unanswerable"), row["id"]
    assert len(rows) == 15


def test_pope_gives_five_numbers_of_all_items_and_of_each_category() -> None:
    asked = [("yes", "Yes", "random"), ("yes", "no", "random"), ("no", "No.", "random"), ("no", "maybe", "random"),
             ("no", "yes", "popular"), ("yes", "yes, there is", "popular"), ("no", "no", "adversarial")]  # fmt: skip
    examples = [item(gold, name=f"pope/{n}/{category}") for n, (gold, _, category) in enumerate(asked)]
    marks = scored(POPE, examples, [reply for _, reply, _ in asked])
    parts = presence(examples, marks)
    assert {name: parts[name] for name in ("accuracy", "precision", "recall", "f1", "yes-ratio")} == {
        "accuracy": Part(value=4 / 7, n=7),
        "precision": Part(value=2 / 3, n=3),
        "recall": Part(value=2 / 3, n=3),
        "f1": Part(value=2 / 3, n=7),
        "yes-ratio": Part(value=3 / 7, n=7),
    }
    assert values({name: part for name, part in parts.items() if name.startswith("random")}) == {
        "random-accuracy": 0.5, "random-precision": 1.0, "random-recall": 0.5, "random-f1": 2 / 3,
        "random-yes-ratio": 0.25,
    }  # fmt: skip
    assert {name for name in parts if name.startswith("adversarial")} == {
        "adversarial-accuracy",
        "adversarial-yes-ratio",
    }
    twins = POPE.load("test", 36)
    golds = values(presence(twins, scored(POPE, twins, [example.answers[0] for example in twins])))
    assert len(golds) == 5 * (1 + len(CATEGORIES))
    assert {value for name, value in golds.items() if not name.endswith("yes-ratio")} == {1.0}
    assert {value for name, value in golds.items() if name.endswith("yes-ratio")} == {0.5}


@pytest.mark.parametrize(
    ("reply", "gold", "worth"),
    [("red", "red", 1), ("RED", "red", 1), ("coca  cola", "Coca Cola", 1), ("cocacola", "Coca Cola", 1),
     (r"\text{red}", "red", 1), ("**red**", "red", 1), ("The red", "red", 0), ("red.", "red", 0), ("red!", "red", 0),
     ("B", "B", 1), ("b", "B", 1), ("(B)", "B", 0), ("B. a newt", "B", 0), ("a newt", "B", 0),
     ("3", "3", 1), ("3.0", "3", 1), ("three", "3", 0), ("yes", "True", 0), ("true", "True", 1),
     (r"5\sqrt3", r"5 \sqrt { 3 }", 1), (r"\sqrt{75}", r"5\sqrt{3}", 1), (r"\frac{1}{2}", "0.5", 1), ("13 cm", "13", 1),
     ("1,000", "1000", 1), ("22^\\circ", "22", 1), ("50%", "50", 1), ("on", "no", 0), ("monday", "mon", 0), ("", "", 0),
     ("7 or 8", "7", 0), ("x" * 5000, "7", 0)],
)  # fmt: skip
def test_single_answer_grading(reply: str, gold: str, worth: int) -> None:
    assert single_answer(reply, item(gold, gold + "x")) == worth


def test_every_task_of_the_stream_has_single_answer_grading_and_no_suite() -> None:
    tasks = all_of("task")
    for name in DEFAULT.tasks:
        assert SINGLE in tasks[name].scorers  # type: ignore[union-attr]
    assert [scorer.name for scorer in GQA.scorers] == ["exact", "single"]
    assert [one for name in DEFAULT.general for one in tasks[name].scorers] == []  # type: ignore[union-attr]


def test_the_single_scorer_reads_the_same_reply_and_ignores_nine_annotators() -> None:
    example, task = item(*UNSURE), VIZWIZ.by("single")
    for style in (DIRECT, COT):
        assert mark(task, style, example, style.write("cup", "so")).score == 0
        assert mark(VIZWIZ, style, example, style.write("cup", "so")).score == 1
        assert mark(task, style, example, style.write("Unanswerable", "so")).score == 1
    assert VIZWIZ.by("stern") is VIZWIZ


@pytest.mark.parametrize(
    ("reply", "golds", "worth"),
    [("3.43", ("3.429",), 1), ("3.42", ("3.429",), 0), ("24/7", ("24/7", "3.429"), 1), ("x = 12.5 V", ("12.5",), 1),
     ("$6,000", ("6000",), 1), ("6000", ("$6,000",), 0), ("5 or 6", ("5",), 0), ("Parallel.", ("parallel",), 1),
     ("not parallel", ("parallel",), 0), ("1/2", ("0.5",), 1), ("1e3", ("1000",), 1), ("", ("5",), 0), ("B", ("b",), 1),
     ("-5", ("5",), 0), ("15", ("5",), 0), ("5 5", ("5",), 1), ("p53", ("53",), 0), ("1.2.3", ("1.2",), 0)],
)  # fmt: skip
def test_open_questions_of_mmmu(reply: str, golds: tuple[str, ...], worth: int) -> None:
    assert option_letter(reply, item(*golds)) == worth
