"""Near duplicates between what is trained on and what is asked, within a set and across sets.

Pictures are near where their perceptual hashes (imagehash.phash, 64 bits) differ in few bits and small colour copies of
them in few shades: the hash alone is blind to colour. The drawings of a twin may differ in one digit, so there only
equal ones count. Two items with near pictures are duplicates where the normalised
questions are equal (13-grams are empty for most short questions). Texts of 13 words and more are near by MinHash over
word 13-grams (datasketch), as in the decontamination of arXiv:2005.14165, appendix C.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from harness.asking.evaluate import open_pictures
from harness.core import Example, Task, UserError, collecting
from harness.results.cells import LONGEST, csv_text
from harness.values import cut

WORDS = 13
BITS = 4  # of 64; a smaller JPEG copy differs in 0 to 4, the nearest other photo in some 20
SHADES = 1 / 3  # of the contrast, in any cell and channel; copies of real pictures up to 0.31, other maps from 0.41
SMALL = (16, 16)
JACCARD = 0.5
PERMUTATIONS = 128
AT_ONCE = 512
COLUMNS = (
    "kind", "distance", "train_set", "train_split", "train_id", "test_set", "test_split", "test_id", "train_items",
    "test_items",
)  # fmt: skip
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item as far as duplicates go: where it is, its question, its words, and what its pictures are called."""

    task: str
    split: str
    id: str
    question: str
    words: tuple[str, ...]
    picture: str

    @property
    def long(self) -> bool:
        """Whether its text has a 13-gram."""
        return len(self.words) >= WORDS


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A training item and a test item that are near.

    ``kind`` is "question" (near pictures, equal questions), "picture" (near pictures alone; one pair for all items that
    show them, of which ``items`` counts both sides), or "text". ``distance`` is in bits of 64, or 1 - Jaccard.
    """

    kind: str
    distance: float
    train: Item
    test: Item
    items: tuple[int, int] = (1, 1)


@dataclass(kw_only=True)
class Side:
    """The items of one side, and hash and small copy of each of their pictures, by what the pictures are called."""

    items: list[Item]
    hashes: dict[str, list[tuple[int, bytes]]]
    broken: list[str]


def overlaps(tasks: Sequence[Task], data: Path | None, limit: int, say: Callable[[str], None]) -> list[Pair]:
    """All pairs between the training and the test items of tasks, the nearest first; ``limit`` bounds each split.

    Raises:
        UserError: where a set cannot be read, or a library is missing.
    """
    _libraries()
    train, test = (
        _side([task for task in tasks if _trains(task)], "train", data, limit),
        _side(tasks, "test", data, limit),
    )
    for line in train.broken + test.broken:
        say(f"not looked at: {line}")
    alike = (BITS, SHADES) if data is not None else (0, 0.0)
    pairs = [*picture_pairs(train, test, *alike), *text_pairs(train.items, test.items)]
    return sorted(pairs, key=lambda pair: (pair.kind, pair.distance, pair.train.task, pair.train.id, pair.test.id))


def _libraries() -> None:
    try:
        import datasketch  # noqa: F401
        import imagehash  # noqa: F401
    except ImportError as fault:
        raise UserError(
            f"{fault.name} is not installed: run `pip install -c constraints.txt datasketch imagehash`"
        ) from fault


def _trains(task: Task) -> bool:
    """Whether a task has training items; the suites have none."""
    return not task.counts or "train" in task.counts


def _side(tasks: Iterable[Task], split: str, data: Path | None, limit: int) -> Side:
    """The items of a split of all tasks. Pictures are opened once, by threads: 6 to 40 ms a picture and core."""
    side = Side(items=[], hashes={}, broken=[])
    for task in tasks:
        with collecting() as faults:
            examples = iter(task.load(split, min(limit, task.twin_items or limit) if data is None else limit, data))
        side.broken += [f"{task.name} {fault.item} ({cut(fault.reason)})" for fault in faults]
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            while part := list(islice(examples, AT_ONCE)):
                items = [_item(task.name, split, example) for example in part]
                new = {one.picture: example for one, example in zip(items, part, strict=True) if example.images}
                new = {name: example for name, example in new.items() if name not in side.hashes}
                for name, found in zip(new, threads.map(_hashed, new.values()), strict=True):
                    if isinstance(found, str):
                        side.broken.append(f"{task.name} {found}")
                    side.hashes[name] = [] if isinstance(found, str) else found
                side.items += items
    return side


def _item(task: str, split: str, example: Example) -> Item:
    words = tuple(_WORD.findall(" ".join((example.question, *example.choices)).lower()))
    question = " ".join(_WORD.findall(example.question.lower()))
    picture = f"{task}/{example.group or example.id}/{len(example.images)}" if example.images else ""
    return Item(task=task, split=split, id=example.id, question=question, words=words, picture=picture)


def _hashed(example: Example) -> list[tuple[int, bytes]] | str:
    """Hash and small copy of each picture; or why there is none."""
    import imagehash
    from PIL import Image

    try:
        found = []
        for picture in open_pictures(example):
            small = picture.convert("RGB").resize(SMALL, Image.Resampling.BOX)
            found.append((int(str(imagehash.phash(picture)), 16), small.tobytes()))
        return found
    except UserError as fault:
        return f"{cut(example.id, 60)} ({cut(str(fault))})"


def picture_pairs(train: Side, test: Side, most_bits: int = BITS, shades: float = SHADES) -> Iterator[Pair]:
    """The pairs whose pictures are near: one for each two items with equal questions, else one for the two pictures."""
    shown = {"train": _by_picture(train.items), "test": _by_picture(test.items)}
    for (one, other), bits in near_pictures(train.hashes, test.hashes, most_bits, shades).items():
        learned, asked = shown["train"][one], shown["test"][other]
        same = [(a, b) for a in learned for b in asked if a.question == b.question]
        for a, b in same:
            yield Pair(kind="question", distance=bits, train=a, test=b)
        if not same:
            count = (len(learned), len(asked))
            yield Pair(kind="picture", distance=bits, train=learned[0], test=asked[0], items=count)


def _by_picture(items: Iterable[Item]) -> Mapping[str, list[Item]]:
    found = defaultdict(list)
    for item in items:
        found[item.picture].append(item)
    return found


def near_pictures(
    train: Mapping[str, list[tuple[int, bytes]]],
    test: Mapping[str, list[tuple[int, bytes]]],
    most_bits: int = BITS,
    shades: float = SHADES,
) -> dict[tuple[str, str], int]:
    """The names of pictures that are near, and in how many bits they differ."""
    import numpy

    known = [(name, bits, small) for name, pictures in train.items() for bits, small in pictures]
    if not known:
        return {}
    hashes = numpy.array([bits for _, bits, _ in known], dtype=numpy.uint64)
    found: dict[tuple[str, str], int] = {}
    for name, pictures in test.items():
        for bits, small in pictures:
            differ = numpy.bitwise_count(hashes ^ numpy.uint64(bits))
            for place in numpy.flatnonzero(differ <= most_bits):
                other, _, copy = known[place]
                if _same_colours(small, copy, shades):
                    least = min(int(differ[place]), found.get((other, name), 64))
                    found[other, name] = least
    return found


def _same_colours(one: bytes, other: bytes, shades: float) -> bool:
    """Whether two small copies differ nowhere by more than a share of their contrast: dark photos are not all alike."""
    import numpy

    first, second = (numpy.frombuffer(copy, dtype=numpy.uint8).astype(numpy.int16) for copy in (one, other))
    contrast = int(max(numpy.ptp(first), numpy.ptp(second)))
    return bool(numpy.abs(first - second).max() <= shades * contrast)


def text_pairs(train: Sequence[Item], test: Sequence[Item]) -> Iterator[Pair]:
    """The pairs whose texts are near, of which one side at least has no picture: where both have, pictures decide."""
    asked_alone = any(not item.picture for item in test)
    learned = [item for item in train if asked_alone or not item.picture]
    if not learned:
        return
    exact = defaultdict(list)
    for item in learned:
        if not item.long:
            exact[item.words].append(item)
    for item in test:
        for other in exact.get(item.words, ()):
            if not (item.picture and other.picture):
                yield Pair(kind="text", distance=0.0, train=other, test=item)
    yield from _long_pairs([item for item in learned if item.long], [item for item in test if item.long])


def _long_pairs(train: Sequence[Item], test: Sequence[Item]) -> Iterator[Pair]:
    from datasketch import MinHashLSH

    if not train or not test:
        return
    index = MinHashLSH(threshold=JACCARD, num_perm=PERMUTATIONS)
    sketches = [_sketch(item) for item in train]
    for place, sketch in enumerate(sketches):
        index.insert(place, sketch)
    for item in test:
        sketch = _sketch(item)
        for place in sorted(index.query(sketch)):
            nearness = sketch.jaccard(sketches[place])
            if nearness >= JACCARD and not (item.picture and train[place].picture):
                yield Pair(kind="text", distance=round(1 - nearness, 3), train=train[place], test=item)


def _sketch(item: Item) -> Any:
    """The MinHash of an item's word 13-grams."""
    from datasketch import MinHash

    grams = [" ".join(item.words[at : at + WORDS]) for at in range(len(item.words) - WORDS + 1)]
    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch([gram.encode("utf-8", "replace") for gram in grams])
    return sketch


def report(pairs: Iterable[Pair]) -> str:
    """The pairs as CSV, safe to open in a spreadsheet."""
    rows: list[list[str | int | float | None]] = [
        [
            pair.kind, pair.distance, pair.train.task, pair.train.split, cut(pair.train.id, LONGEST), pair.test.task,
            pair.test.split, cut(pair.test.id, LONGEST), *pair.items,
        ]
        for pair in pairs
    ]  # fmt: skip
    return csv_text(COLUMNS, rows)


def summary(pairs: Iterable[Pair]) -> list[str]:
    """A line for each kind and two sets that have pairs: how many, and how many test items they touch."""
    found: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair.kind, pair.train.task, pair.test.task].append(pair)
    lines = []
    for (kind, train, test), some in sorted(found.items()):
        touched = sum(items for items in {one.test.id: one.items[1] for one in some}.values())
        lines.append(f"{kind}: {len(some):,} pairs of {train} train and {test} test, {touched:,} test items")
    return lines or ["no near duplicates"]


__all__ = ["Item", "Pair", "near_pictures", "overlaps", "picture_pairs", "report", "summary", "text_pairs"]
