"""The official loaders on small files with exactly the published columns, and on every way these can be broken."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from official_files import cell, scienceqa_row, write_parquet, write_vizwiz_parquet

from harness.command.check import items
from harness.core import Stream, UserError
from tasks.pictures import find_picture, opened
from tasks.scienceqa import SCIENCEQA
from tasks.vizwiz import VIZWIZ

RED, BLUE = (200, 30, 30), (30, 30, 200)


def drawn(
    colour: tuple[int, ...], size: tuple[int, int] = (40, 30), mode: str = "RGB", kind: str = "PNG", **save: Any
) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    Image.new(mode, size, colour if len(colour) > 1 else colour[0]).save(buffer, kind, **save)
    return buffer.getvalue()


def science_row(**changes: Any) -> dict[str, Any]:
    row = {"image": drawn(RED), "question": "Which is red?", "choices": ["this", "that"], "answer": 1, "hint": ""}
    row |= changes
    return scienceqa_row(0, **{**row, "image": cell(row["image"])})


def science(tmp_path: Path, rows: list[dict[str, Any]], split: str = "test", part: str = "00000-of-00001") -> Path:
    write_parquet(tmp_path / "scienceqa" / f"{split}-{part}.parquet", rows)
    return tmp_path / "scienceqa"


def photo(name: str = "VizWiz_val_00000001.jpg", **changes: Any) -> dict[str, Any]:
    given = ["red", "blue", "blue", "blue", "red", "blue", "dark blue", "blue", "blue", "navy"]
    answers = [{"answer": answer, "answer_confidence": "yes"} for answer in given]
    row = {
        "image": name,
        "question": "What color is this?",
        "answers": answers,
        "answer_type": "other",
        "answerable": 1,
    }
    return {**row, **changes}


def photos(tmp_path: Path, rows: object, split: str = "val", pictures: str | None = None) -> Path:
    folder = tmp_path / "vizwiz"
    (folder / (pictures or split)).mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")
    for row in rows if isinstance(rows, list) else []:
        name = row.get("image") if isinstance(row, dict) else None
        if isinstance(name, str) and re.fullmatch(r"\w+\.jpg", name):
            (folder / (pictures or split) / name).write_bytes(drawn(BLUE, kind="JPEG"))
    return folder


def only_line(error: pytest.ExceptionInfo[UserError]) -> str:
    line = str(error.value)
    assert "\n" not in line
    assert ": " in line, "says what is wrong, then what to do"
    return line


def test_scienceqa_reads_hint_question_letter_and_picture(tmp_path: Path) -> None:
    rows = [science_row(hint="Look closely. "), science_row(image=drawn(BLUE), answer=0, hint=None)]
    first, second = SCIENCEQA.official(science(tmp_path, rows), "test")
    assert first.question == "Look closely.\nWhich is red?"
    assert second.question == "Which is red?"
    assert (first.answers, second.answers) == (("B",), ("A",))
    assert first.choices == ("this", "that")
    assert [picture.getpixel((5, 5)) for picture in (first.images[0](), second.images[0]())] == [RED, BLUE]


def test_scienceqa_leaves_out_rows_without_picture_and_keeps_each_picture_with_its_row(tmp_path: Path) -> None:
    shades = [(10 * n, 0, 0) for n in range(20)]
    rows = [science_row(image=None if n % 4 == 1 else drawn(shades[n]), question=f"Question {n}?") for n in range(20)]
    science(tmp_path, rows[:7], part="00000-of-00002")
    with pytest.raises(UserError, match="has 1 of the 2 files test"):
        SCIENCEQA.official(tmp_path / "scienceqa", "test")
    examples = SCIENCEQA.official(science(tmp_path, rows[7:], part="00001-of-00002"), "test")
    kept = [n for n in range(20) if n % 4 != 1]
    assert [example.question for example in examples] == [f"Question {n}?" for n in kept]
    assert [example.images[0]().getpixel((0, 0)) for example in examples] == [shades[n] for n in kept]
    assert len({example.id for example in examples}) == len(examples)


def test_scienceqa_finds_the_files_of_a_snapshot_in_its_subfolder(tmp_path: Path) -> None:
    write_parquet(tmp_path / "scienceqa" / "data" / "train-00000-of-00001.parquet", [science_row()])
    assert len(SCIENCEQA.load("train", 5, tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"answer": 2}, "answer 2"),
        ({"answer": -1}, "answer -1"),
        ({"answer": None}, "answer None"),
        ({"choices": ["alone"]}, "choices"),
        ({"choices": None}, "options"),
        ({"choices": ["this", None]}, "option"),
        ({"question": " "}, "question"),
        ({"question": None}, "question"),
    ],
)
def test_scienceqa_refuses_a_broken_row_and_names_it(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    folder = science(tmp_path, [science_row(), science_row(**change)])
    with pytest.raises(UserError) as error:
        SCIENCEQA.official(folder, "test")
    line = only_line(error)
    assert named in line
    assert "test-00000-of-00001.parquet, row 1" in line


@pytest.mark.parametrize("column", ["image", "question", "choices", "answer", "hint"])
def test_scienceqa_names_the_missing_column(tmp_path: Path, column: str) -> None:
    import pyarrow.parquet

    file = science(tmp_path, [science_row()]) / "test-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(file).drop_columns([column]), file)
    with pytest.raises(UserError) as error:
        SCIENCEQA.official(file.parent, "test")
    assert f"no column {column}:" in only_line(error)


def test_scienceqa_refuses_pictures_of_another_type(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    file = science(tmp_path, [science_row()]) / "test-00000-of-00001.parquet"
    table = pyarrow.parquet.read_table(file)
    pyarrow.parquet.write_table(table.set_column(0, "image", pyarrow.array(["a.png"])), file)
    with pytest.raises(UserError) as error:
        SCIENCEQA.official(file.parent, "test")
    assert "column image" in only_line(error)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"this is no parquet file at all", None])
def test_scienceqa_refuses_an_empty_or_malformed_or_cut_file(tmp_path: Path, content: bytes | None) -> None:
    file = science(tmp_path, [science_row()] * 5) / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    with pytest.raises(UserError) as error:
        SCIENCEQA.official(file.parent, "test")
    line = only_line(error)
    assert "test-00000-of-00001.parquet" in line
    assert ("empty" in line) == (content == b"")


def test_scienceqa_refuses_a_file_without_rows(tmp_path: Path) -> None:
    import pyarrow.parquet

    file = science(tmp_path, [science_row()]) / "test-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(file).slice(0, 0), file)
    with pytest.raises(UserError) as error:
        SCIENCEQA.official(file.parent, "test")
    assert "no rows" in only_line(error)


@pytest.mark.parametrize("task", [SCIENCEQA, VIZWIZ])
def test_a_missing_folder_a_folder_without_files_and_an_unpublished_split_are_refused(
    tmp_path: Path, task: Any
) -> None:
    (tmp_path / "empty").mkdir()
    for folder, split, named in (
        ("nowhere", "test", "nowhere"),
        ("empty", "test", "empty"),
        ("empty", "pretrain", "pretrain"),
    ):
        with pytest.raises(UserError) as error:
            task.official(tmp_path / folder, split)
        assert named in only_line(error)


def test_scienceqa_names_file_and_row_of_an_unreadable_picture_when_it_is_opened(tmp_path: Path) -> None:
    rows = [science_row(), science_row(image=b"no picture"), science_row(image=drawn(RED)[:60])]
    good, *bad = SCIENCEQA.official(science(tmp_path, rows), "test")
    assert good.images[0]().size == (40, 30)
    for row, example in enumerate(bad, start=1):
        with pytest.raises(UserError) as error:
            example.images[0]()
        line = only_line(error)
        assert f"test-00000-of-00001.parquet, row {row}, scienceqa/test/{row}: " in line
        assert "0x" not in line


@pytest.mark.parametrize("pictures", ["val", "images"])
def test_vizwiz_reads_json_with_the_most_common_answer_first(tmp_path: Path, pictures: str) -> None:
    (example,) = VIZWIZ.official(photos(tmp_path, [photo()], pictures=pictures), "test")
    assert example.question == "What color is this?"
    assert example.answers[0] == "blue"
    assert sorted(example.answers) == sorted(answer["answer"] for answer in photo()["answers"])
    assert example.choices == ()
    assert example.images[0]().mode == "RGB"


def test_vizwiz_validation_is_a_twentieth_of_train_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    names = [f"VizWiz_train_{n:08}.jpg" for n in range(100)]
    folder = photos(tmp_path, [photo(name) for name in names], "train")
    train, validation = (VIZWIZ.official(folder, split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (95, 5)
    assert not {example.id for example in train} & {example.id for example in validation}
    other = photos(tmp_path / "other", [photo(name) for name in reversed(names)], "train")
    assert {example.id for example in VIZWIZ.official(other, "validation")} == {example.id for example in validation}


def test_vizwiz_says_when_there_are_too_few_items_for_a_validation_split(tmp_path: Path) -> None:
    folder = photos(tmp_path, [photo()], "train")
    with pytest.raises(UserError) as error:
        VIZWIZ.official(folder, "validation")
    assert "too few" in only_line(error)


def test_vizwiz_train_is_not_looked_for_where_the_hub_has_none(tmp_path: Path) -> None:
    write_vizwiz_parquet(tmp_path / "vizwiz")
    assert len(VIZWIZ.load("test", 100, tmp_path)) == 16
    with pytest.raises(UserError) as error:
        VIZWIZ.load("train", 100, tmp_path)
    assert "has no train.json: download VizWiz-VQA's annotations" in only_line(error)


def parquet_vizwiz(folder: Path, row: dict[str, Any]) -> None:
    write_parquet(folder / "val-00000-of-00001.parquet", [row])


def parquet_photo(**changes: Any) -> dict[str, Any]:
    row = {"question_id": "VizWiz_val_00000001.jpg", "image": {"bytes": drawn(BLUE), "path": None}}
    return {**row, "question": "What is this?", "answers": ["tea"] * 4 + ["jam"] * 6, "category": "other", **changes}


def test_vizwiz_reads_the_hubs_parquet_files(tmp_path: Path) -> None:
    parquet_vizwiz(tmp_path / "vizwiz" / "data", parquet_photo())
    (example,) = VIZWIZ.load("test", 5, tmp_path)
    assert example.id == "vizwiz/VizWiz_val_00000001"
    assert example.answers == ("jam", *["tea"] * 4, *["jam"] * 5)
    assert example.images[0]().getpixel((0, 0)) == BLUE


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image": None}, "picture"),
        ({"answers": None}, "answers"),
        ({"answers": []}, "answers"),
        ({"question_id": None}, "question_id"),
    ],
)
def test_vizwiz_refuses_a_broken_parquet_row(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    parquet_vizwiz(tmp_path / "vizwiz", parquet_photo(**change))
    with pytest.raises(UserError) as error:
        VIZWIZ.official(tmp_path / "vizwiz", "test")
    line = only_line(error)
    assert named in line
    assert "row 0" in line


@pytest.mark.parametrize(
    ("missing", "said"),
    [("image", "picture name None"), ("question", "question is None"), ("answers", "answers is no")],
)
def test_vizwiz_names_the_missing_key(tmp_path: Path, missing: str, said: str) -> None:
    broken = {key: value for key, value in photo("b.jpg").items() if key != missing}
    folder = photos(tmp_path, [photo(), broken])
    with pytest.raises(UserError) as error:
        VIZWIZ.official(folder, "test")
    line = only_line(error)
    assert said in line
    assert "val.json, item 1" in line


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"answers": "blue"}, "answers"),
        ({"answers": ["blue"]}, "answers"),
        ({"answers": [{"answer": 3}]}, "answers"),
        ({"answers": []}, "answers"),
        ({"question": None}, "question"),
        ({"image": None}, "picture name"),
        ({"image": ""}, "picture name"),
    ],
)
def test_vizwiz_refuses_a_broken_item_and_names_it(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    folder = photos(tmp_path, [photo(), {**photo("b.jpg"), **change}])
    with pytest.raises(UserError) as error:
        VIZWIZ.official(folder, "test")
    line = only_line(error)
    assert named in line
    assert "val.json, item 1" in line


@pytest.mark.parametrize("content", ["", "  \n", "[{", '{"a": 1}', "[]", "[3]", b"\xff\xfe\x00"])
def test_vizwiz_refuses_an_empty_or_malformed_json_file(tmp_path: Path, content: str | bytes) -> None:
    file = photos(tmp_path, [photo()]) / "val.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        VIZWIZ.official(file.parent, "test")
    assert "val.json" in only_line(error)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg",
        "/etc/secret.jpg",
        "a/b.jpg",
        "..\\secret.jpg",
        "C:secret.jpg",
        "..",
        "",
        "a\0b",
        "http://x/a.jpg",
    ],
)
def test_a_picture_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(drawn(RED, kind="JPEG"))
    folder = photos(tmp_path, [{**photo(), "image": name}])
    with pytest.raises(UserError) as error:
        VIZWIZ.official(folder, "test")
    assert "no plain file name" in only_line(error)


def test_vizwiz_names_a_missing_picture_while_loading_and_an_item_that_is_there_twice(tmp_path: Path) -> None:
    folder = photos(tmp_path, [photo(), photo()])
    with pytest.raises(UserError) as error:
        VIZWIZ.official(folder, "test")
    assert "VizWiz_val_00000001 is there twice" in only_line(error)
    folder = photos(tmp_path / "other", [photo()])
    (folder / "val" / photo()["image"]).unlink()
    with pytest.raises(UserError) as error:
        VIZWIZ.official(folder, "test")
    assert "no picture VizWiz_val_00000001.jpg" in only_line(error)


def test_vizwiz_names_item_and_file_of_an_unreadable_picture_when_it_is_opened(tmp_path: Path) -> None:
    folder = photos(tmp_path, [photo()])
    file = folder / "val" / photo()["image"]
    for content in (b"", b"no picture", drawn(BLUE, size=(300, 200), kind="JPEG")[:400]):
        file.write_bytes(content)
        (example,) = VIZWIZ.official(folder, "test")
        with pytest.raises(UserError) as error:
            example.images[0]()
        assert "vizwiz/VizWiz_val_00000001" in only_line(error)
        assert str(file) in only_line(error)


def test_pictures_come_upright_in_rgb_and_on_white_where_transparent() -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    turned = opened(BytesIO(drawn(RED, size=(40, 30), kind="JPEG", exif=exif)), "x")
    assert turned.size == (30, 40)
    assert opened(BytesIO(drawn((0, 0, 0, 0), mode="RGBA")), "x").getpixel((0, 0)) == (255, 255, 255)
    assert opened(BytesIO(drawn((90,), mode="L")), "x").getpixel((0, 0)) == (90, 90, 90)
    assert opened(BytesIO(drawn((1,), mode="1")), "x").getpixel((0, 0)) == (255, 255, 255)
    assert opened(BytesIO(drawn((0, 0, 0, 0), mode="CMYK", kind="JPEG")), "x").mode == "RGB"
    with pytest.raises(UserError) as error:
        opened(BytesIO(drawn(RED, size=(900, 2))), "item 7")
    assert "item 7" in only_line(error)


def test_picture_file_takes_the_first_folder_that_has_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "two" / "a.jpg").write_bytes(b"")
    assert find_picture("a.jpg", (tmp_path / "one", tmp_path / "two")).file == tmp_path / "two" / "a.jpg"


def test_check_names_a_split_of_another_size_than_published(tmp_path: Path) -> None:
    for split in SCIENCEQA.counts:
        science(tmp_path, [science_row()] * 3, split)
    stream = Stream(name="one", tasks=("scienceqa",), epochs={"scienceqa": 1}, general=())
    assert "scienceqa test has 3 items, published are 2,017" in items(stream, tmp_path)
    assert "published" not in items(stream, None)
