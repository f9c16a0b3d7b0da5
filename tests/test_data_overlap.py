"""`harness data overlap`: what was planted is found, what only looks alike is not, and the report is safe."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from harness.core import Example, Task, UserError, replace
from harness.data import overlap
from harness.data.overlap import COLUMNS, Item, overlaps, report, summary, text_pairs
from harness.registry import names, typed
from harness.results.cells import csv_rows

ROOT = Path(__file__).resolve().parent.parent


def photo(seed: int, kind: str = "PNG", size: tuple[int, int] = (160, 120), **save: Any) -> bytes:
    """A picture with broad shapes, as a photo has them; the same for a seed in every size."""
    import numpy
    from PIL import Image

    shapes = numpy.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=numpy.uint8)
    buffer = BytesIO()
    Image.fromarray(shapes).resize((160, 120), Image.Resampling.BICUBIC).resize(size).save(buffer, kind, **save)
    return buffer.getvalue()


def opened(content: bytes) -> Any:
    from PIL import Image

    return Image.open(BytesIO(content)).convert("RGB")


def item(name: str, question: str, *pictures: bytes, **more: Any) -> Example:
    return Example(
        id=name, question=question, answers=("a",), images=tuple(partial(opened, p) for p in pictures), **more
    )


def task(name: str, train: Sequence[Example], test: Sequence[Example]) -> Task:
    """A task with these items as its official data."""
    known = {"train": train, "test": test}
    counts = {split: len(items) for split, items in known.items() if items}
    return replace(
        typed(Task, "gqa"), name=name, official=lambda folder, split: known[split], counts=counts, sources=()
    )


def found(tasks: list[Task], tmp_path: Path) -> list[tuple[str, str, str, tuple[int, int]]]:
    pairs = overlaps(tasks, tmp_path, 10**9, lambda line: pytest.fail(line))
    return [(pair.kind, pair.train.id, pair.test.id, pair.items) for pair in pairs]


def test_a_smaller_worse_copy_is_found_across_sets_and_questions_decide_the_kind(tmp_path: Path) -> None:
    copy = photo(3, "JPEG", (80, 60), quality=60)
    train = [item(f"t{n}", f"What is shown, number {n}?", photo(n), group=f"g{n}") for n in range(20)]
    train.append(item("t3-again", "Is it red?", photo(3), group="g3"))
    others = [item(f"o{n}", "What is shown?", photo(100 + n)) for n in range(20)]
    same = item("same", " what is shown -- number 3", copy)
    other = item("other", "How many?", copy)
    sets = [task("learned", train, others), task("asked", [], [same, other])]
    assert found(sets, tmp_path) == [("picture", "t3", "other", (2, 1)), ("question", "t3", "same", (1, 1))]


def test_a_picture_of_other_colours_is_another(tmp_path: Path) -> None:
    from PIL import Image

    red, green, blue = Image.open(BytesIO(photo(5))).split()
    buffer = BytesIO()
    Image.merge("RGB", (green, red, blue)).save(buffer, "PNG")
    sets = [task("learned", [item("a", "Which colour?", photo(5))], [item("b", "Which colour?", buffer.getvalue())])]
    assert found(sets, tmp_path) == []


def test_long_texts_are_near_by_their_13_grams_and_short_ones_where_they_are_equal(tmp_path: Path) -> None:
    rng = random.Random(0)
    long = [" ".join(rng.choices([f"w{n}" for n in range(3000)], k=60)) for _ in range(200)]
    edited = long[7].replace(long[7].split()[2], "x", 1)
    train = [item(f"t{n}", text) for n, text in enumerate([*long, "Which one is it?"])]
    test = [item("copy", edited), item("short", "which ONE is it"), item("shown", edited, photo(1))]
    test += [item(f"o{n}", " ".join(rng.choices([f"v{n}" for n in range(3000)], k=60))) for n in range(50)]
    pairs = overlaps([task("learned", train, test)], tmp_path, 10**9, pytest.fail)
    assert [(pair.kind, pair.train.id, pair.test.id) for pair in pairs] == [
        ("text", "t200", "short"),
        ("text", "t7", "copy"),
        ("text", "t7", "shown"),
    ]
    assert pairs[0].distance == 0
    assert 0 < pairs[1].distance <= 0.5


def test_equal_texts_on_different_pictures_are_no_duplicates(tmp_path: Path) -> None:
    long = "word " * 20
    sets = [task("learned", [item("a", long, photo(1))], [item("b", long, photo(2))])]
    assert found(sets, tmp_path) == []


def test_the_report_is_safe_and_says_how_many_items_a_pair_stands_for(tmp_path: Path) -> None:
    train = [item("=cmd()", "Red?", photo(1)), item("x" * 300, "Blue?", photo(2))]
    test = [item("\x1b[31mq", "red", photo(1)), item("z", "blue", photo(2))]
    pairs = overlaps([task("learned", train, test)], tmp_path, 10**9, pytest.fail)
    (tmp_path / "report.csv").write_text(report(pairs))
    rows = csv_rows(tmp_path / "report.csv", COLUMNS)
    assert [row["train_id"][:6] for row in rows] == ["=cmd()", "xxxxxx"]
    assert rows[0]["test_id"] == "?[31mq"
    assert "'=cmd()" in (tmp_path / "report.csv").read_text()
    assert summary(pairs) == ["question: 2 pairs of learned train and learned test, 2 test items"]
    assert summary([]) == ["no near duplicates"]


def test_a_picture_that_does_not_open_is_named_and_the_rest_is_compared(tmp_path: Path) -> None:
    said: list[str] = []
    sets = [task("learned", [item("bad", "Red?", b"none"), item("a", "Red?", photo(1))], [item("b", "Red?", photo(1))])]
    assert len(overlaps(sets, tmp_path, 10**9, said.append)) == 1
    assert len(said) == 1
    assert said[0].startswith("not looked at: learned bad (a picture of bad cannot be read")


def test_pictures_that_items_share_are_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(overlap, "_hashed", lambda example: asked.append(example.id) or [(0, bytes(3))])
    train = [item(f"t{n}", "?", b"not opened", group="one") for n in range(700)]
    overlaps([task("learned", train, [item("b", "?", b"not opened")])], tmp_path, 10**9, pytest.fail)
    assert len(asked) == 2
    assert asked[1] == "b"


@pytest.mark.slow
def test_no_split_of_a_twin_repeats_another() -> None:
    assert overlaps([typed(Task, name) for name in names("task")], None, 200, pytest.fail) == []


def test_without_the_libraries_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(UserError, match=r"not installed: run `pip install .* datasketch imagehash`"):
        overlaps([], tmp_path, 1, print)


def test_no_text_is_compared_where_every_item_has_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "_long_pairs", lambda train, test: [pytest.fail("compared")])
    seen = Item(task="a", split="train", id="1", question="q", words=("q",) * 20, picture="a/1/1")
    assert list(text_pairs([seen], [seen])) == []
