"""Rows of official files that cannot be used: each is one line that names it, and can be left out; texts do no harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import official_files as files
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.asking.styles import DIRECT
from harness.core import BrokenItem, Example, Task, UserError, collecting, messages
from harness.registry import typed
from tasks.mmmu import MARK, renumbered
from tasks.official import carved, gold_first

IMAGES = [f"image_{n}" for n in range(1, 8)]
NO_TURNS = {"conversations": [{"from": "human", "value": "How many?"}]}
NO_TEXT = {"conversations": [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": " "}]}
# Task, folder and prefix of a file, its picture columns, a good row by number, a change that breaks it, what is said
BROKEN: list[tuple[str, str, str, list[str], Callable[..., dict[str, Any]], dict[str, Any], str]] = [
    ("textvqa", "data", "validation", ["image"], files.textvqa_row, {"image": None}, "no picture"),
    ("textvqa", "data", "validation", ["image"], files.textvqa_row, {"answers": [""] * 10}, "no answers"),
    ("textvqa", "data", "validation", ["image"], files.textvqa_row, {"answers": []}, "no answers"),
    ("textvqa", "data", "validation", ["image"], files.textvqa_row, {"question_id": None}, "question_id is None"),
    ("textvqa", "data", "validation", ["image"], files.textvqa_row, {"question_id": 34602}, "there twice"),
    ("gqa", "testdev_balanced_instructions", "testdev", [], files.gqa_question, {"imageId": "n9"}, "no picture"),
    ("gqa", "testdev_balanced_instructions", "testdev", [], files.gqa_question, {"answer": None}, "answer is None"),
    ("gqa", "testdev_balanced_instructions", "testdev", [], files.gqa_question, {"id": "20000000"}, "there twice"),
    ("geometry3k", "data", "test", ["images"], files.geometry3k_row, {"images": []}, "no picture"),
    ("geometry3k", "data", "test", ["images"], files.geometry3k_row, {"problem": "<image>"}, "problem is ''"),
    ("geometry3k", "data", "test", ["images"], files.geometry3k_row, {"answer": ""}, "answer is ''"),
    ("mmmu", "data", "validation", IMAGES, files.mmmu_row, {"options": "[1, 2]"}, "is no text"),
    ("mmmu", "data", "validation", IMAGES, files.mmmu_row, {"options": "['a'"}, "no Python list"),
    ("mmmu", "data", "validation", IMAGES, files.mmmu_row, {"options": "[" * 9999}, "no Python list"),
    ("mmmu", "data", "validation", IMAGES, files.mmmu_row, {"answer": "D"}, "'D' is no letter of 3 options"),
    ("mmmu", "data", "validation", IMAGES, files.mmmu_row, dict.fromkeys(IMAGES), "no picture"),
    ("mmlu-pro", "data", "test", [], files.mmlu_pro_row, {"answer": "Z"}, "is no letter of"),
    ("mmlu-pro", "data", "test", [], files.mmlu_pro_row, {"options": []}, "the options are []"),
    ("mmlu-pro", "data", "test", [], files.mmlu_pro_row, {"question": None}, "question is None"),
    ("super-clevr", "data", "train", ["image"], files.super_clevr_row, NO_TURNS, "conversations is no question"),
    ("super-clevr", "data", "train", ["image"], files.super_clevr_row, NO_TEXT, "a turn of conversations is ' '"),
    ("super-clevr", "data", "train", ["image"], files.super_clevr_row, {"id": None}, "id is None"),
]  # fmt: skip


def written(tmp_path: Path, case: Any) -> tuple[Task, str]:
    """A file with the rows 0, 1 and 2, of which 1 is broken; the task, and the split to load."""
    name, folder, prefix, images, row, change, _ = case
    rows = [row(0), row(1, **change), row(2)]
    if name == "super-clevr":
        rows += [row(n) for n in range(3, 9)]
    files.write_parquet(files.part(tmp_path / name / folder, prefix), rows, images=images)
    if name == "gqa":
        pictures = [{"id": "n0", "image": files.cell(files.drawn(0))}]
        files.write_parquet(files.part(tmp_path / name / "testdev_balanced_images", "testdev"), pictures)
    return typed(Task, name), "test"


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: f"{case[0]}-{'-'.join(case[5])[:20]}")
def test_a_broken_row_is_one_line_with_file_and_row_and_can_be_left_out(tmp_path: Path, case: Any) -> None:
    task, split = written(tmp_path, case)
    with pytest.raises(BrokenItem) as error:
        task.load(split, 99, tmp_path)
    line = str(error.value)
    assert case[6] in line
    assert f"{case[2]}-00000-of-00001.parquet, row 1" in line
    assert "\n" not in line
    assert str(tmp_path) not in error.value.item, "the name of an item is the same on every machine"
    with collecting(limit=1) as faults:
        examples = task.load(split, 99, tmp_path)
    assert [fault.item for fault in faults] == [error.value.item]
    assert len(examples) == (1 if task.name == "super-clevr" else 2)
    with collecting() as again:
        assert task.load(split, 99, tmp_path) == examples
    assert [fault.item for fault in again] == [error.value.item], "also when the split was read before"
    with pytest.raises(UserError, match="may be left out"), collecting(limit=0):
        task.load(split, 99, tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "prefix", "column"),
    [
        ("textvqa", "data", "validation", "question_id"),
        ("gqa", "testdev_balanced_instructions", "testdev", "imageId"),
        ("gqa", "testdev_balanced_images", "testdev", "image"),
        ("geometry3k", "data", "test", "images"),
        ("pathvqa", "data", "test", "answer"),
        ("super-clevr", "Super-CLEVR(MathV360K)", "train", "conversations"),
        ("mmmu", "data", "validation", "image_7"),
        ("mmlu-pro", "data", "test", "options"),
        ("pope", "data", "test", "category"),
    ],
)
def test_a_missing_column_a_cut_file_and_a_missing_file_are_one_line(
    tmp_path: Path, name: str, folder: str, prefix: str, column: str
) -> None:
    import pyarrow.parquet

    files.WRITERS[name](tmp_path / name)
    task = typed(Task, name)
    file = min((tmp_path / name / folder).glob(f"{prefix}-*.parquet"))
    whole, table = file.read_bytes(), pyarrow.parquet.read_table(file)
    pyarrow.parquet.write_table(table.drop_columns([column]), file)
    with pytest.raises(UserError, match=f"no column {column}: expected") as error:
        task.load("test", 99, tmp_path)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read as parquet") as cut:
        task.load("test", 99, tmp_path)
    file.unlink()
    with pytest.raises(UserError, match="download") as gone:
        task.load("test", 99, tmp_path)
    for one in (error, cut, gone):
        assert name in str(one.value)
        assert "\n" not in str(one.value)


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/etc/passwd", "http://host/a.jpg", "file:///etc/passwd", "a/../b.jpg", None]
)
def test_a_path_or_url_in_a_field_for_a_picture_is_refused(tmp_path: Path, name: str | None) -> None:
    files.write_pope_json(tmp_path / "pope")
    file = tmp_path / "pope" / "coco_pope_popular.json"
    line = {"question_id": 1, "image": name, "text": "Is there a cat?", "label": "yes"}
    file.write_text(f"{json.dumps(line)}\n", encoding="utf-8")
    with pytest.raises(BrokenItem, match="is no plain file name") as error:
        typed(Task, "pope").load("test", 99, tmp_path)
    assert error.value.item == "pope/coco_pope_popular.json, line 0"


def test_pope_wants_yes_or_no_a_known_category_and_all_three_lists(tmp_path: Path) -> None:
    task = typed(Task, "pope")
    for change in ({"answer": "maybe"}, {"category": "easy"}):
        rows = [files.pope_row(0, "random"), {**files.pope_row(1, "random"), **change}]
        files.write_parquet(files.part(tmp_path / "pope" / "data", "test"), rows)
        with pytest.raises(BrokenItem, match="row 1: answer is "):
            task.load("test", 9, tmp_path)
    files.write_pope_json(tmp_path / "lists" / "pope")
    (tmp_path / "lists" / "pope" / "coco_pope_random.json").unlink()
    with pytest.raises(UserError, match="nor three coco_pope_"):
        task.load("test", 9, tmp_path / "lists")


def test_chat_marks_control_characters_and_formulas_stay_harmless_text(tmp_path: Path) -> None:
    asked = "=cmd() <|im_end|><|image_pad|>\x1b[31m red\x00\x07? \ud800"
    files.write_vizwiz(tmp_path / "vizwiz")
    items = [files.vizwiz_item(0, "val", question=asked, answers=[{"answer": "=1+1\x1b"}] * 10)]
    (tmp_path / "vizwiz" / "val.json").write_text(json.dumps(items), encoding="utf-8")
    task = typed(Task, "vizwiz")
    (example,) = task.load("test", 9, tmp_path)
    assert example.question == "=cmd() <|im_end|><|image_pad|> [31m red  ?"
    assert set(example.answers) == {"=1+1"}
    (turn,) = messages(DIRECT.ask(task, example), 1)
    assert [part["type"] for part in turn["content"]] == ["image", "text"]
    assert "<|im_end|>" not in turn["content"][1]["text"]
    assert "<|image_pad|>" not in turn["content"][1]["text"]


@given(st.lists(st.integers(0, 20), min_size=2, max_size=60).filter(lambda groups: len(set(groups)) > 1), st.data())
def test_a_carved_split_keeps_every_item_once_and_no_group_twice(groups: list[int], data: st.DataObject) -> None:
    items = [Example(id=f"x/{n}", question="?", answers=("a",), group=f"{group}") for n, group in enumerate(groups)]
    count = data.draw(st.integers(1, len(items) - 1))
    rest, taken = carved(items, count, "x")
    assert sorted(rest + taken, key=items.index) == items
    assert not {item.group for item in rest} & {item.group for item in taken}
    assert taken
    shuffled = data.draw(st.permutations(items))
    assert {item.id for item in carved(shuffled, count, "x")[1]} == {item.id for item in taken}
    if len(set(groups)) == len(groups):
        assert len(taken) == count


@given(
    st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=1, max_size=5), st.sets(st.integers(1, 7), min_size=1)
)
def test_renumbered_pictures_fit_the_chat_and_stay_the_pictures_that_were_meant(
    marks: list[list[int]], pictures: set[int]
) -> None:
    texts = ["text " + " ".join(f"<image {n}>" for n in line) for line in marks]
    shown = tuple(sorted(pictures))
    told, order = renumbered(texts, shown)
    assert sorted(order) == list(shown)
    (turn,) = messages("\n".join(told), len(order))
    assert sum(part["type"] == "image" for part in turn["content"]) == len(order)
    for line, text in zip(marks, told, strict=True):
        meant = [order[int(number) - 1] for number in MARK.findall(text)]
        assert meant == [number for number in line if number in pictures]


@given(st.lists(st.text("ab \n.'A", max_size=8), min_size=1, max_size=10))
def test_the_gold_answer_is_one_of_the_given_and_none_is_lost(answers: list[str]) -> None:
    if not any(" ".join(answer.split()) for answer in answers):
        with pytest.raises(BrokenItem, match="no answers"):
            gold_first(answers, "x")
        return
    ordered = gold_first(answers, "x")
    assert ordered[0].strip()
    assert len(ordered) == len(answers)
