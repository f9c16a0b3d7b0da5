"""Real questions of the ten data sets with replies as models write them, each marked as a person would.

The items are not part of this project: CPT_REALDATA names their folder; else they are looked for in
``../shared/realdata`` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from realdata_layout import REALDATA

from harness.asking.marking import mark
from harness.asking.styles import STYLES
from harness.core import Example, Task
from harness.registry import typed

pytestmark = pytest.mark.skipif(
    not (REALDATA / "mmlu_pro" / "items.jsonl").is_file(),
    reason="the real items may not be copied into the project: set CPT_REALDATA to their folder",
)


def items(task: str) -> dict[str, Example]:
    """The real items of a task by their ids, those without a picture too."""
    folder = REALDATA / task.replace("-", "_")
    files = [folder / name for name in ("items.jsonl", "items_text_only.jsonl")]
    rows = [json.loads(line) for file in files if file.is_file() for line in file.read_text().splitlines()]
    return {str(row["id"]): example_of(row, task) for row in rows}


def example_of(row: dict[str, Any], task: str) -> Example:
    """A row of the real items as an Example; Geometry3K's options are not asked."""
    choices = () if task == "geometry3k" else tuple(row.get("options") or ())
    gold = [row.get("answer_letter", row["answer"])] if choices else [row["answer"]]
    if answers := list(row.get("answers") or ()):
        answers.remove(row["answer"])
    return Example(
        id=f"{row['id']}/{row.get('category', '')}",
        question=row["question"],
        answers=(*gold, *answers),
        choices=choices,
    )


# By task and item: replies and what each is worth.
REPLIES: dict[str, dict[str, dict[str, float]]] = {
    "gqa": {
        "202218649": {"Picture.": 1, "a picture": 1, "pictures": 0},
        "08223573": {"Indoors": 1, "outdoors": 0, "indoors or outdoors": 0},
        "02930152": {"Yes.": 1, "no": 0, "**Yes**": 1},
    },
    "geometry3k": {
        "12": {"13": 1, "x = 13": 1, "13.0": 1, "B": 0, "12 or 13": 0},
        "14": {r"48^\circ": 1},
        "15": {r"5\sqrt{3}": 1, "y = 5√3": 1, r"\sqrt{75}": 1, "8.66": 0, r"5\sqrt{2}": 0},
        "18": {"22°": 1},
        "19": {
            r"\frac{2\sqrt{2}}{5}": 1, r"\dfrac{\sqrt{8}}{5}": 1, r"\sin x = \frac{2\sqrt{2}}{5}": 1,
            r"\frac{\sqrt{2}}{5}": 0,
        },
    },
    "super-clevr": {
        "superCLEVR_new_000000_std_24": {"Yes": 1, "no": 0},
        "superCLEVR_new_000000_std_14": {"no.": 1, "0": 0},
        "superCLEVR_new_000004_std_221": {"One": 1, "11": 0},
        "superCLEVR_new_000004_std_218": {"zero": 1, "no": 0},
        "superCLEVR_new_000000_part_2": {"Blue": 1, "red": 0},
    },
    "pathvqa": {
        "0": {"Histone subunits.": 1, "histones": 0},
        "1": {"Positively Charged": 1},
        "2": {"Early reversible ischemic injury": 1, "ischemic injury": 0},
        "6": {"No.": 1, "yes": 0},
        "44": {"Due to gelatinous tumour": 1},
    },
    "textvqa": {
        "34602": {"Dakota": 1, "Dakota Digital.": 0.9, "nous les gosses": 0.3},
        "34613": {"Hershey's": 1, "hersheys": 0.6},
        "34619": {"zero": 1, "0%": 0.3},
        "34620": {"Three": 1, "3 for $5": 0.3},
        "34621": {"four": 1, "answering does not require reading text in the image": 1},
        "34624": {"Macbook": 1},
        "34626": {"WARNING! DO NOT UNPLUG!": 0.3},
        "34631": {"Kings Cross": 0},
        "34642": {"57,859": 1},
        "34652": {"19:00": 0.9, "1900": 0.6},
        "34653": {"$20": 0},
        "34660": {"25 paise": 0.3},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "number", "reply", "worth"),
    [
        (task, number, reply, worth)
        for task, numbers in REPLIES.items()
        for number, replies in numbers.items()
        for reply, worth in replies.items()
    ],
)
def test_a_reply_to_a_real_question(task: str, number: str, reply: str, worth: float) -> None:
    example = items(task)[number]
    assert typed(Task, task).score(reply, example) == pytest.approx(worth)
    for style in STYLES:
        assert mark(typed(Task, task), style, example, style.write(reply, "so")).score == pytest.approx(worth)


LETTERED: list[Callable[[str, str], str]] = [
    lambda letter, text: letter,
    lambda letter, text: f"({letter})",
    lambda letter, text: f"The answer is ({letter}).",
    lambda letter, text: f"**{letter}**",
    lambda letter, text: f"{letter}. {text}",
    lambda letter, text: f"{letter}\nBecause it fits best.",
]


@pytest.mark.parametrize(("task", "count"), [("mmlu-pro", 30), ("mmmu", 5), ("scienceqa", 25)])
def test_every_option_of_the_real_questions_is_told_from_every_other(task: str, count: int) -> None:
    found, noun = items(task), typed(Task, task)
    assert len(found) == count
    for example in found.values():
        for place, text in enumerate(example.choices):
            letter = chr(65 + place)
            for written in LETTERED:
                reply = written(letter, text)
                assert noun.score(reply, example) == (letter == example.answers[0]), (reply, example.id)
            assert noun.score(text, example) == (letter == example.answers[0]), (text, example.id)


def test_every_gold_answer_is_right_by_every_scorer_and_another_items_is_mostly_wrong() -> None:
    for name in ("gqa", "geometry3k", "super-clevr", "pathvqa", "textvqa", "vizwiz", "scienceqa", "pope"):
        task, found = typed(Task, name), list(items(name).values())
        for scorer in ("", *(one.name for one in task.scorers)):
            for example in found:
                ceiling = max(task.by(scorer).score(answer, example) for answer in example.answers)
                assert task.by(scorer).score(example.answers[0], example) == ceiling > 0
        crossed = [task.score(one.answers[0], other) for one, other in pairwise(found)]
        assert sum(crossed) < len(crossed)


def test_pope_replies_by_category() -> None:
    pope, found = typed(Task, "pope"), list(items("pope").values())
    assert pope.breakdown is not None
    replies = ["Yes, there is." if example.answers[0] == "yes" else "No." for example in found]
    marks = [mark(pope, STYLES[0], example, reply) for example, reply in zip(found, replies, strict=True)]
    parts = pope.breakdown(found, marks)
    assert {part.value for name, part in parts.items() if not name.endswith("yes-ratio")} == {1.0}
    always = [mark(pope, STYLES[0], example, "yes") for example in found]
    told = pope.breakdown(found, always)
    share = sum(example.answers[0] == "yes" for example in found) / len(found)
    assert (told["recall"].value, told["yes-ratio"].value) == (1, 1)
    assert told["precision"].value == told["accuracy"].value == pytest.approx(share)
