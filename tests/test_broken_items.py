"""A broken item stops a load, or is noted and left out where the caller collects."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import BrokenItem, Example, Task, UserError, broken, collecting


def official(folder: Path, split: str) -> tuple[Example, ...]:
    """Ten items, of which 3 and 7 are broken; 7 says so twice."""
    found = []
    for number in range(10):
        if number in (3, 7):
            fault = BrokenItem(f"odd/{number}", "no answer: download the file again", where=f"{folder}/a.json, item 3")
            broken(fault)
            broken(fault)
            continue
        found.append(Example(id=f"odd/{number}", question="?", answers=("a",)))
    return tuple(found)


def score(answer: str, example: Example) -> float:
    return 0.0


def twin(split: str, index: int) -> Example:
    return Example(id="t", question="?", answers=("a",))


TASK = Task(name="odd", version=1, cite="x", licence="x", suffix="x", score=score, twin=twin, official=official)


def test_the_first_broken_item_stops_a_load_and_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(BrokenItem) as error:
        TASK.load("test", 5, tmp_path)
    assert str(error.value) == f"{tmp_path}/odd/a.json, item 3, odd/3: no answer: download the file again"
    assert (error.value.item, error.value.reason) == ("odd/3", "no answer: download the file again")


def test_inside_collecting_broken_items_are_left_out_each_named_once(tmp_path: Path) -> None:
    with collecting(limit=2) as faults:
        examples = TASK.load("test", 100, tmp_path)
    assert [example.id for example in examples] == [f"odd/{n}" for n in (0, 1, 2, 4, 5, 6, 8, 9)]
    assert [fault.item for fault in faults] == ["odd/3", "odd/7"]
    with pytest.raises(BrokenItem):
        TASK.load("test", 5, tmp_path)


def test_one_too_many_is_one_line_with_the_names(tmp_path: Path) -> None:
    line = r"^2 items are broken where 1 may be left out \(odd/3; odd/7\): "
    with pytest.raises(UserError, match=line) as error, collecting(limit=1):
        TASK.load("test", 100, tmp_path)
    assert not isinstance(error.value, BrokenItem)
    assert "\n" not in str(error.value)


def test_the_inner_of_two_collects(tmp_path: Path) -> None:
    with collecting() as outer:
        with collecting() as inner:
            TASK.load("test", 100, tmp_path)
        assert (len(outer), len(inner)) == (0, 2)
        TASK.load("test", 100, tmp_path)
    assert len(outer) == 2
