"""Pictures of parquet files: read by row from a memory-mapped copy, from any process, in any order, and safely."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

import official_files as files
import pytest

from harness.core import Example, UserError
from tasks import arrow
from tasks.pathvqa import PATHVQA


def pathvqa(folder: Path, parts: int = 3, rows: int = 7) -> Path:
    """PathVQA's test split in several files, each picture of its own colour."""
    for place in range(parts):
        shown = range(place * rows, (place + 1) * rows)
        made = [{"image": files.cell(files.drawn(n)), "question": f"is it {n}?", "answer": "yes"} for n in shown]
        files.write_parquet(folder / "pathvqa" / "data" / f"test-{place:05}-of-{parts:05}.parquet", made)
    return folder


def colour_of(example: Example) -> tuple[int, int, int]:
    colour: tuple[int, int, int] = example.images[0]().getpixel((0, 0))
    return colour


def test_any_order_gives_each_item_its_own_picture(tmp_path: Path) -> None:
    examples = list(enumerate(PATHVQA.load("test", 99, pathvqa(tmp_path))))
    Random(0).shuffle(examples)
    assert [colour_of(example) for _, example in examples] == [files.colour(number) for number, _ in examples]


def test_texts_load_without_a_copy_and_the_copy_is_made_once_beside_the_files(tmp_path: Path) -> None:
    first, second, *_ = PATHVQA.load("test", 99, pathvqa(tmp_path))
    copies = tmp_path / "pathvqa" / "data" / ".arrow"
    assert not copies.exists()
    assert colour_of(first) == files.colour(0)
    (made,) = copies.rglob("*.arrow")
    known = made.stat().st_mtime_ns
    arrow._mapped.cache_clear()
    arrow._copied.cache_clear()
    assert colour_of(second) == files.colour(1)
    assert made.stat().st_mtime_ns == known


@pytest.mark.slow
def test_processes_that_ask_at_once_share_one_copy(tmp_path: Path) -> None:
    examples = PATHVQA.load("test", 99, pathvqa(tmp_path))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(colour_of, examples)) == [files.colour(number) for number in range(21)]
    assert len(list((tmp_path / "pathvqa" / "data" / ".arrow").rglob("*.arrow"))) == 1


def test_a_folder_whose_name_is_a_pattern_and_one_where_nobody_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = pathvqa(tmp_path / "data [1-2] (x*)?")
    assert colour_of(PATHVQA.load("test", 99, odd)[20]) == files.colour(20)
    locked = pathvqa(tmp_path / "locked")
    folder = locked / "pathvqa" / "data"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert colour_of(PATHVQA.load("test", 99, locked)[9]) == files.colour(9)
    finally:
        folder.chmod(stat.S_IRWXU)
    assert not (folder / ".arrow").exists()
    assert len(list((tmp_path / "cache").rglob("*.arrow"))) == 1


def test_files_that_change_are_read_again_and_never_mixed(tmp_path: Path) -> None:
    before = PATHVQA.load("test", 99, pathvqa(tmp_path))
    assert PATHVQA.official(tmp_path / "pathvqa", "test") is PATHVQA.official(tmp_path / "pathvqa", "test")
    for file in (tmp_path / "pathvqa" / "data").glob("*.parquet"):
        file.unlink()
    pathvqa(tmp_path, parts=2, rows=5)
    assert len(PATHVQA.load("test", 99, tmp_path)) == 10
    with pytest.raises(UserError, match=r"(changed while they are in use|is not there any more): start again"):
        before[20].images[0]()


def test_a_file_that_is_damaged_inside_its_pictures_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "pathvqa" / "test-00000-of-00001.parquet"
    files.write_pathvqa(tmp_path / "pathvqa")
    rows = [{"image": files.cell(os.urandom(9000)), "question": f"{n}?", "answer": "a"} for n in range(3)]
    files.write_parquet(file, rows)
    whole = bytearray(file.read_bytes())
    whole[4:400] = bytes(396)
    file.write_bytes(whole)
    with pytest.raises(UserError, match=r"pathvqa.*: (download it again|mend it)") as error:
        PATHVQA.load("test", 9, tmp_path)[0].images[0]()
    assert "\n" not in str(error.value)


def test_no_progress_bar_of_a_small_copy_and_the_users_choice_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import datasets

    shown = datasets.are_progress_bars_disabled()
    colour_of(PATHVQA.load("test", 99, pathvqa(tmp_path))[0])
    assert capfd.readouterr().err == ""
    assert datasets.are_progress_bars_disabled() == shown


def test_mapped_pages_are_let_go_every_so_often_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[int] = []
    let_go = arrow._Mapped.let_go
    monkeypatch.setattr(arrow._Mapped, "let_go", lambda self: times.append(self.read[0]) or let_go(self))
    monkeypatch.setattr(arrow, "READS_AT_ONCE", 4)
    examples = PATHVQA.load("test", 99, pathvqa(tmp_path))
    assert [colour_of(example) for example in examples] == [files.colour(number) for number in range(21)]
    assert times == [0, 4, 8, 12, 16, 20]
