"""The ten official data sets, from small files in every layout that they are published in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import official_files as files
import pytest

from harness.asking.styles import DIRECT
from harness.core import SPLITS, Example, Task, UserError, messages
from harness.registry import typed
from tasks.pope import POPE
from tasks.scienceqa import SCIENCEQA

NAMES = (*files.WRITERS, "textvqa-ocr")
SUITES = ("mmmu", "mmlu-pro", "pope")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("official")
    files.write_all(out)
    return out


def splits_of(task: Task) -> tuple[str, ...]:
    return tuple(split for split in SPLITS if split in task.counts)


@pytest.mark.parametrize("name", NAMES)
def test_every_split_holds_sound_items_that_no_other_split_holds(data: Path, name: str) -> None:
    task = typed(Task, name)
    assert splits_of(task) == {"pope": ("test",)}.get(name, ("validation", "test") if name in SUITES else SPLITS[:3])
    ids: set[str] = set()
    for split in splits_of(task):
        examples = task.load(split, 1000, data)
        assert examples == task.load(split, 1000, data)
        found = {example.id for example in examples}
        assert len(found) == len(examples)
        assert not found & ids
        ids |= found
        for example in examples:
            assert example.id.startswith(f"{name}/")
            assert example.question.strip() == example.question != ""
            assert task.score(example.answers[0], example) == pytest.approx(1) or not example.choices
            assert [picture().size for picture in example.images] == [(40, 30)] * len(example.images)
            messages(DIRECT.ask(task, example), len(example.images))


@pytest.mark.parametrize("name", ["textvqa", "textvqa-ocr", "vizwiz", "super-clevr"])
def test_a_split_that_nobody_published_shares_no_picture_with_the_others(data: Path, name: str) -> None:
    task = typed(Task, name)
    groups = [{example.group for example in task.load(split, 1000, data)} for split in splits_of(task)]
    assert all(groups)
    assert sum(map(len, groups)) == len(set().union(*groups))


@pytest.mark.parametrize("name", NAMES)
def test_items_share_a_group_where_and_only_where_they_share_a_picture(data: Path, name: str) -> None:
    task = typed(Task, name)
    examples = task.load("test", 1000, data)
    shown = {example.group: example.images[0]().tobytes() for example in examples if example.images}
    assert len(set(shown.values())) == len(shown)
    for example in examples:
        assert not example.images or example.images[0]().tobytes() == shown[example.group]
    assert len({example.group for example in examples}) == {"textvqa": 8, "textvqa-ocr": 8, "pathvqa": 8, "gqa": 6}.get(
        name, 2 if name == "pope" else len(examples)
    )


def test_scienceqa_is_the_same_from_both_publications(data: Path, tmp_path: Path) -> None:
    files.write_scienceqa(tmp_path / "scienceqa", "data")
    for split in SPLITS[:3]:
        assert SCIENCEQA.load(split, 99, tmp_path) == SCIENCEQA.load(split, 99, data)
    first, second = SCIENCEQA.load("train", 2, data)[:2]
    assert first.rationale == "The heavy side goes down."
    assert sorted(SCIENCEQA.counts.values()) == [2017, 2097, 6218]
    assert {len(first.choices), len(second.choices)} == {3}


def layouts(write: Callable[[Path], None], name: str, tmp_path: Path) -> tuple[Example, ...]:
    write(tmp_path / name)
    task = typed(Task, name)
    return tuple(example for split in splits_of(task) for example in task.load(split, 1000, tmp_path))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("textvqa", files.write_textvqa_json),
        ("textvqa-ocr", files.write_textvqa_json),
        ("textvqa", lambda folder: files.write_textvqa(folder, ocr=False)),
        ("pope", lambda folder: files.write_pope(folder, "Full")),
        ("pope", files.write_pope_json),
        ("mmmu", lambda folder: files.write_mmmu(folder, ("Music",))),
    ],
)
def test_another_layout_gives_the_same_items_and_pictures(
    data: Path, tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    found = layouts(write, name, tmp_path)
    task = typed(Task, name)
    wanted = {example.id: example for split in splits_of(task) for example in task.load(split, 1000, data)}
    assert {example.id for example in found} == set(wanted)
    for example in found:
        same = wanted[example.id]
        assert example == same
        if name != "mmmu":
            assert example.group == same.group
        assert [picture().tobytes() for picture in example.images] == [picture().tobytes() for picture in same.images]


def test_pope_ends_its_ids_in_the_category_and_textvqa_ocr_reads_textvqas_folder(data: Path) -> None:
    assert {example.id.rpartition("/")[2] for example in POPE.load("test", 99, data)} == set(files.CATEGORIES)
    plain = typed(Task, "textvqa").load("test", 99, data)
    with_tokens = typed(Task, "textvqa-ocr").load("test", 99, data)
    for one, other in zip(plain, with_tokens, strict=True):
        number = int(one.id.rpartition("/")[2]) - 34602
        assert other.question == f"{one.question}\nReference OCR token: STOP, {number // 2}"
        assert (one.answers, one.group) == (other.answers, other.group)
    for split in ("train", "validation"):
        halves = [typed(Task, name).load(split, 99, data) for name in ("textvqa", "textvqa-ocr")]
        one, other = ([example.id.rpartition("/")[2] for example in half] for half in halves)
        assert one == other


def test_ocr_tokens_that_were_not_published_are_one_line(tmp_path: Path) -> None:
    files.write_textvqa(tmp_path / "textvqa-ocr", ocr=False)
    with pytest.raises(UserError, match=r"no column ocr_tokens, as facebook/textvqa: download lmms-lab/textvqa$"):
        typed(Task, "textvqa-ocr").load("test", 5, tmp_path)


def test_gqa_joins_pictures_by_their_id_and_samples_train_by_hash(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import gqa

    whole = gqa.GQA.load("train", 99, data)
    assert [example.group for example in whole] == [f"gqa/n{n // 3}" for n in range(24)]
    for example in whole:
        pairs = zip(example.images[0]().getpixel((5, 5)), files.colour(int(example.group[5:])), strict=True)
        assert sum(abs(one - other) for one, other in pairs) < 9
    monkeypatch.setitem(gqa.COUNTS, "train", 7)
    sample = gqa.GQA.official(data / "gqa", "train")
    assert len(sample) == 7
    assert [example for example in whole if example in sample] == list(sample)
    shutil.copytree(data / "gqa", tmp_path / "gqa", ignore=shutil.ignore_patterns(".arrow"))
    rows = [files.gqa_question(n) for n in reversed(range(24))]
    files.write_parquet(files.part(tmp_path / "gqa" / "train_balanced_instructions", "train"), rows, images=())
    assert set(gqa.GQA.official(tmp_path / "gqa", "train")) == set(sample), "not by the order of the file"


def test_geometry3k_asks_for_an_open_answer_and_keeps_the_published_id(data: Path, tmp_path: Path) -> None:
    task = typed(Task, "geometry3k")
    first = task.load("train", 99, data)[0]
    assert (first.question, first.answers, first.choices) == ("Find $x_0$.", ("2 \\sqrt { 3 }",), ())
    files.write_geometry3k(tmp_path / "geometry3k", newer=True)
    assert task.load("validation", 99, tmp_path)[0].id == "geometry3k/validation/1000"
    several = files.geometry3k_row(
        1, images=[files.cell(files.drawn(n)) for n in (1, 2)], problem="<image> and <image>?"
    )
    files.write_parquet(files.part(tmp_path / "geometry3k" / "data", "test"), [several], images=("images",))
    (two,) = task.load("test", 99, tmp_path)
    assert two.question == "<image 1> and <image 2>?"
    assert [picture().getpixel((0, 0)) for picture in two.images] == [files.colour(1), files.colour(2)]


@pytest.mark.parametrize(
    ("asked", "told", "question", "answer"),
    [
        ("<image>\nHint: Give an integer.\nQuestion: How many?", "3", "How many?", "3"),
        ("<image>Hint: A.\nB.\nQuestion: What is it?\n", "The answer is Yes.", "What is it?", "Yes"),
        ("How many?\n<image>", "Answer: 0.5", "How many?", "0.5"),
        ("<image>\nIs the answer blue?", "True", "Is the answer blue?", "True"),
        ("<image>\nHint: x\nQuestion: Which Question: is it?", "rubber", "Which Question: is it?", "rubber"),
    ],
)
def test_super_clevr_leaves_the_wrapper_out(tmp_path: Path, asked: str, told: str, question: str, answer: str) -> None:
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": told}]
    rows = [files.super_clevr_row(n, conversations=turns) for n in range(4)]
    files.write_parquet(files.part(tmp_path / "super-clevr", "train"), rows)
    task = typed(Task, "super-clevr")
    found = [example for split in SPLITS[:3] for example in task.load(split, 9, tmp_path)]
    assert {(example.question, example.answers) for example in found} == {(question, (answer,))}
    assert len(found) == 4


def test_super_clevr_has_the_papers_shares_at_the_published_size() -> None:
    from tasks.official import carved, train_or_validation

    task = typed(Task, "super-clevr")
    items = [Example(id=f"x/{n}", question="?", answers=("a",), group=f"x/{n}") for n in range(8642)]
    rest, test = carved(items, 642, "super-clevr")
    assert len(test) == task.counts["test"]
    for split in ("train", "validation"):
        assert len(train_or_validation(rest, split, "super-clevr")) == task.counts[split]


def test_mmmu_numbers_its_pictures_as_the_text_first_mentions_them(data: Path) -> None:
    task = typed(Task, "mmmu")
    lettered, open_ended = task.load("test", 99, data)[0], task.load("test", 99, data)[3]
    assert lettered.choices == ("<image 2>", "it's none", "both")
    assert (lettered.answers, open_ended.answers, open_ended.choices) == (("B",), ("1.5",), ())
    assert [picture().getpixel((0, 0)) for picture in lettered.images] == [files.colour(1), files.colour(2)]
    assert "<image 2>" in open_ended.question, "the picture without a mark stands first"
    assert [picture().getpixel((0, 0)) for picture in open_ended.images] == [files.colour(32), files.colour(31)]


def test_mmmu_open_answers_may_be_several_and_nothing_in_a_list_is_run(tmp_path: Path) -> None:
    rows = [
        files.mmmu_row(3, answer="['1/2', '0.5']"),
        files.mmmu_row(7, answer="x = [1]"),
        files.mmmu_row(0, options="[__import__('os').system('touch /tmp/never'), 'b']"),
    ]
    images = [f"image_{n}" for n in range(1, 8)]
    task = typed(Task, "mmmu")
    file = files.part(tmp_path / "mmmu" / "data", "validation")
    files.write_parquet(file, rows[:2], images)
    assert [example.answers for example in task.load("test", 9, tmp_path)] == [("1/2", "0.5"), ("x = [1]",)]
    files.write_parquet(file, rows, images)
    with pytest.raises(UserError, match=r"row 2: options is .* no Python list of texts"):
        task.load("test", 9, tmp_path)
