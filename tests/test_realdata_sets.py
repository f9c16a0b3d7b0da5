"""Real items of the other eight sets through loader, prompt and scorer, with known replies.

The items are not part of this project: see ``test_realdata.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from official_files import colour
from realdata_layout import items, tokens, write_other_sets
from test_realdata import REALDATA
from test_realdata import pytestmark as pytestmark

from harness.asking.marking import mark
from harness.asking.styles import COT, DIRECT
from harness.core import Example, Task, messages
from harness.registry import typed

TESTS = {
    "geometry3k": 5,
    "gqa": 4,
    "mmmu": 5,
    "mmlu-pro": 30,
    "pathvqa": 30,
    "textvqa": 30,
    "textvqa-ocr": 30,
    "pope": 66,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real")
    write_other_sets(REALDATA, out)
    return out


def real(data: Path, name: str) -> tuple[Example, ...]:
    """All real items of a task."""
    splits = ("train", "validation", "test") if name == "super-clevr" else ("test",)
    found = [example for split in splits for example in typed(Task, name).load(split, 999, data)]
    return tuple(example for example in found if name != "super-clevr" or "_new_" in example.id)


def item(data: Path, name: str, key: str) -> Example:
    (found,) = [example for example in real(data, name) if f"/{key}/" in f"{example.id}/"]
    return found


def test_every_real_item_is_loaded_with_its_text_and_gold(data: Path) -> None:
    assert {name: len(real(data, name)) for name in TESTS} == TESTS
    assert len(real(data, "super-clevr")) == 20
    for row in items(REALDATA, "super_clevr"):
        example = item(data, "super-clevr", row["id"])
        assert (example.question, example.answers) == (row["question"], (row["answer"],))
    for row in items(REALDATA, "geometry3k"):
        example = item(data, "geometry3k", str(row["id"]))
        assert (example.question, example.answers, example.choices) == (row["question"].strip(), (row["answer"],), ())
    for row in items(REALDATA, "mmlu_pro"):
        example = item(data, "mmlu-pro", str(row["id"]))
        assert [option.strip() for option in row["options"]] == list(example.choices)
        assert example.choices[ord(example.answers[0]) - 65] == row["options"][row["answer_index"]].strip()
    for row in items(REALDATA, "textvqa", "items_text_only"):
        example = item(data, "textvqa", str(row["id"]))
        assert sorted(example.answers) == sorted(" ".join(answer.split()) for answer in row["answers"])
        assert example.answers[0] == row["rftvssft_answer"]
        assert item(data, "textvqa-ocr", str(row["id"])).question.endswith(f"token: {', '.join(tokens(row))}")


@pytest.mark.parametrize("name", [*TESTS, "super-clevr"])
def test_every_real_item_is_asked_whole_and_its_gold_reply_is_right_in_both_styles(data: Path, name: str) -> None:
    task = typed(Task, name)
    for example in real(data, name):
        for style in (DIRECT, COT):
            asked = style.ask(task, example)
            assert example.question in asked
            assert all(f"{chr(65 + n)}. {option}" in asked for n, option in enumerate(example.choices))
            (turn,) = messages(asked, len(example.images))
            assert sum(part["type"] == "image" for part in turn["content"]) == len(example.images)
            found = mark(task, style, example, style.write(example.answers[0], "why"))
            best = max(task.score(answer, example) for answer in example.answers)
            assert not found.malformed
            assert found.score == best > 0.5
            assert mark(task, style, example, style.write("qwertz", "why")).score == 0


REPLIES = [
    ("geometry3k", "12", {"13": 1, "$13$": 1, "13.0": 1, "14": 0, "B": 0, "": 0}),
    ("geometry3k", "15", {r"5\sqrt{3}": 1, r"$5 \sqrt 3$": 1, "5": 0, r"\sqrt{3}": 0}),
    ("geometry3k", "19", {r"\frac{2\sqrt{2}}{5}": 1, r"2\sqrt{2}/5": 1, r"\frac{\sqrt{2}}{5}": 0}),
    ("gqa", "202218649", {"picture": 1, "The picture.": 1, "PICTURE": 1, "painting": 0, "the picture frame": 0}),
    ("gqa", "02930152", {"Yes": 1, "no": 0, "unanswerable": 0}),
    ("mmmu", "test_Music_251", {"A": 1, "(A)": 1, "B": 0, "E": 0}),
    ("mmmu", "test_Clinical_Medicine_69", {"A. The patient has a ruptured esophagus": 1, "G": 0, "Developed SARS.": 0}),
    ("mmmu", "validation_Energy_and_Power_24", {"E": 1, "E1 + E2 + E3": 1, "E1 + E3": 0}),
    ("mmlu-pro", "2992", {"G": 1, "(G)": 1, "an individual's phenotype": 1, "an individual's genome": 0, "K": 0}),
    ("super-clevr", "superCLEVR_new_000000_std_24", {"True": 1, "yes": 1, "Yes.": 1, "False": 0, "no": 0}),
    ("super-clevr", "superCLEVR_new_000004_std_221", {"1": 1, "one": 1, "One.": 1, "2": 0, "11": 0}),
    ("super-clevr", "superCLEVR_new_000004_std_218", {"0": 1, "zero": 1, "10": 0}),
    ("pathvqa", "0", {"the histone subunits": 1, "Histone subunits.": 1, "dna": 0}),
    ("pathvqa", "3", {"Yes": 1, "no": 0}),
    ("textvqa", "34602", {"dakota": 1, "Dakota digital": 0.9, "nous les gosses": 0.3, "canon": 0}),
    ("textvqa", "34618", {"red label": 0.9, "johnnie walker": 0.6, "Johnny Walker": 0.3}),
    ("textvqa", "34652", {"19:00": 0.9, "19:00 hs": 0.6, "1900": 0.6, "7 pm": 0}),
    ("textvqa-ocr", "34612", {"off": 1, "Off.": 1, "on": 0}),
    ("pope", "gqa_seem_random_1/random", {"yes": 1, "Yes, there is a bird.": 1, "no": 0, "yes and no": 0}),
    ("pope", "coco_adversarial_2/adversarial", {"No": 1, "yes": 0, "maybe": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key", "table"), REPLIES, ids=lambda value: value if isinstance(value, str) else "")
def test_known_replies_to_real_items_are_marked_as_a_person_would(
    data: Path, name: str, key: str, table: dict[str, float]
) -> None:
    task, example = typed(Task, name), item(data, name, key)
    found = {reply: round(mark(task, DIRECT, example, reply).score, 9) for reply in table}
    assert found == table
    assert {reply: round(mark(task, COT, example, COT.write(reply, "why")).score, 9) for reply in table} == table


def test_pictures_of_real_items_are_those_that_the_text_means(data: Path) -> None:
    music = item(data, "mmmu", "test_Music_251")
    (row,) = [row for row in items(REALDATA, "mmmu") if row["id"] == "test_Music_251"]
    assert music.choices == ("<image 2>", "<image 3>", "<image 4>", "<image 5>")
    first, *others = (picture() for picture in music.images)
    assert first.size == (row["images"]["image_1"]["width"], row["images"]["image_1"]["height"])
    assert [picture.getpixel((0, 0)) for picture in others] == [colour(number) for number in (4, 2, 5, 3)]
    for name in ("gqa", "geometry3k", "super_clevr"):
        for row in items(REALDATA, name):
            example = item(data, name.replace("_", "-"), str(row["id"]))
            picture = example.images[0]()
            assert (picture.size, picture.mode) == ((row["width"], row["height"]), "RGB")
    assert len({example.group for example in real(data, "super-clevr")}) == 2
