"""Real items of ScienceQA and VizWiz through the official loaders, the styles, the scorers and the image processor.

The items are not part of this project: CPT_REALDATA names their folder; else they are looked for in
``../shared/realdata`` beside it.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from realdata_layout import REALDATA, SCIENCEQA_SPLITS, items, write_official_layout, write_scienceqa, write_vizwiz

from harness.asking.marking import mark, reward
from harness.asking.styles import COT, DIRECT
from harness.core import Example, Task
from tasks.scienceqa import SCIENCEQA
from tasks.vizwiz import VIZWIZ

pytestmark = pytest.mark.skipif(
    not (REALDATA / "scienceqa" / "items.jsonl").is_file(),
    reason="the real items may not be copied into the project: set CPT_REALDATA to their folder",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("official")
    write_official_layout(REALDATA, out)
    return out


def loaded(task: Task, data: Path) -> list[Example]:
    """All real items of a task, over its splits."""
    return [example for split in ("train", "validation", "test") for example in task.load(split, 100, data)]


def item(examples: list[Example], words: str) -> Example:
    (found,) = [example for example in examples if words in example.question]
    return found


def photo(data: Path, number: int) -> Example:
    (found,) = [example for example in loaded(VIZWIZ, data) if example.id == f"vizwiz/VizWiz_val_{number:08}"]
    return found


def test_all_real_items_are_loaded_with_the_recorded_gold(data: Path) -> None:
    science = loaded(SCIENCEQA, data)
    raw = items(REALDATA, "scienceqa")
    assert [len(SCIENCEQA.load(split, 100, data)) for split in SCIENCEQA_SPLITS] == [13, 4, 8]
    assert [example.answers[0] for example in science] == [row["answer_letter"] for row in raw]
    assert [example.choices[ord(example.answers[0]) - 65] for example in science] == [row["answer_text"] for row in raw]
    assert [len(VIZWIZ.load(split, 100, data)) for split in ("train", "validation", "test")] == [9, 1, 5]
    gold = {f"vizwiz/{row['id']}": row["answer"] for row in items(REALDATA, "vizwiz")}
    assert {example.id: example.answers[0] for example in loaded(VIZWIZ, data)} == gold


def test_the_direct_prompt_is_the_released_one(data: Path) -> None:
    asked = [DIRECT.ask(SCIENCEQA, example) for example in loaded(SCIENCEQA, data)]
    assert asked == [row["prompt_text"] for row in items(REALDATA, "scienceqa")]


def test_every_picture_opens_in_rgb_at_its_upright_size(data: Path) -> None:
    sizes = {row["id"]: (row["width"], row["height"]) for row in items(REALDATA, "vizwiz")}
    turned = 0
    for example in loaded(VIZWIZ, data):
        picture, size = example.images[0](), sizes[example.id.removeprefix("vizwiz/")]
        assert picture.mode == "RGB"
        assert picture.size in (size, size[::-1])
        turned += picture.size != size
    assert turned == 2, "two of these photos carry EXIF orientation 6"
    pictures = [example.images[0]() for example in loaded(SCIENCEQA, data)]
    assert [picture.size for picture in pictures] == [
        (row["width"], row["height"]) for row in items(REALDATA, "scienceqa")
    ]


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("have in common?\x00three", ["C", "c", "(C)", "C.", "opaque", "C. opaque"], ["A", "B", "shiny", "D", "Q", ""]),
        ("Idaho", ["B", "Boise"], ["A", "C", "D", "no idea"]),
        ("attract or repel each other", ["B"], ["A", "attract or repel"]),
        ("fruit punch", ["B", "a liquid"], ["A", "C", "a solid", "a gas", "a"]),
    ],
)
def test_option_replies_of_scienceqa_are_marked_as_a_person_would(
    data: Path, question: str, right: list[str], wrong: list[str]
) -> None:
    words = "these three objects" if "\x00" in question else question
    example = item(loaded(SCIENCEQA, data), words)
    for reply in right:
        assert SCIENCEQA.score(reply, example) == 1, reply
        assert mark(SCIENCEQA, COT, example, COT.write(reply, "why")).score == 1, reply
    for reply in wrong:
        assert SCIENCEQA.score(reply, example) == 0, reply


@pytest.mark.parametrize(
    ("number", "reply", "score"),
    [
        (0, "unanswerable", 1.0),
        (0, "Unanswerable.", 1.0),
        (0, "blank screen", 0.3),  # one of ten said so
        (0, "computer", 0.0),
        (11, "white", 1.0),
        (11, "White", 1.0),
        (11, "light purple", 0.6),  # two of ten
        (11, "purple", 0.0),
        (16, "finger", 0.6),  # two of ten
        (16, "thumb", 0.3),
        (29, "quit", 0.9),  # three of ten
        (29, "unanswerable", 1.0),  # four of ten
        (33, "no", 0.9),  # three of ten
        (37, "yes", 1.0),
        (37, "yes porkchops", 0.3),
        (38, "too blurry", 0.3),
    ],
)
def test_replies_to_vizwiz_are_marked_by_ten_annotators(data: Path, number: int, reply: str, score: float) -> None:
    example = photo(data, number)
    assert VIZWIZ.score(reply, example) == pytest.approx(score)
    assert mark(VIZWIZ, DIRECT, example, reply).score == pytest.approx(score)


def test_the_reward_pays_the_gold_answer_alone(data: Path) -> None:
    example = photo(data, 29)
    assert reward(VIZWIZ, DIRECT, example, "unanswerable") == 1
    assert reward(VIZWIZ, DIRECT, example, "quit") == 0


def test_long_hints_and_odd_sizes_pass_the_image_processor(data: Path) -> None:
    from transformers.models.qwen2_vl import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor(min_pixels=48 * 48, max_pixels=48 * 48, patch_size=8, merge_size=2)
    pictures = [example.images[0]() for task in (SCIENCEQA, VIZWIZ) for example in loaded(task, data)]
    made = processor(images=pictures, return_tensors="pt")
    assert made["image_grid_thw"].shape == (40, 3)
    assert max(len(example.question) for example in loaded(SCIENCEQA, data)) > 500


def test_the_same_photos_in_other_modes_and_orientations_stay_the_same_scene(data: Path, tmp_path: Path) -> None:
    from PIL import Image

    source = loaded(SCIENCEQA, data)[0].images[0]()
    rows: list[dict[str, Any]] = []
    for mode in ("RGBA", "L", "P", "RGB"):
        buffer = BytesIO()
        exif = Image.Exif()
        exif[274] = 8 if mode == "RGB" else 1
        source.convert(mode).save(buffer, "PNG", exif=exif)
        rows.append({"image": buffer.getvalue(), "question": "Q?", "choices": ["a", "b"], "answer": 0, "hint": ""})
    write_scienceqa(tmp_path / "scienceqa" / "test-0.parquet", rows)
    rgba, gray, palette, turned = [example.images[0]() for example in SCIENCEQA.load("test", 9, tmp_path)]
    assert rgba.tobytes() == source.tobytes()
    assert gray.tobytes() == source.convert("L").convert("RGB").tobytes()
    assert (palette.mode, palette.size) == ("RGB", source.size)
    assert turned.tobytes() == source.transpose(Image.Transpose.ROTATE_90).tobytes()


def test_the_official_record_is_read_unchanged(tmp_path: Path) -> None:
    record = items(REALDATA, "vizwiz")[2]["official"]
    write_vizwiz(tmp_path / "vizwiz", "val", [record], REALDATA / "vizwiz" / "images")
    (example,) = VIZWIZ.load("test", 5, tmp_path)
    assert json.loads((tmp_path / "vizwiz" / "val.json").read_text())[0] == record
    assert sorted(example.answers) == sorted(answer["answer"] for answer in record["answers"])
