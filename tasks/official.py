"""What the official loaders share: finding files, reading rows, carving out a validation split.

A loader finds its files and hands them to ``loaded`` with a function that yields a ``Row`` for each item of them and
one that makes an Example of a row. A row that cannot be used raises BrokenItem there, which stops the load or is
collected (``harness.core.collecting``); everything else that is wrong with a file is a UserError of one line. Texts are
kept in memory, pictures stay where they are until they are opened.

A validation split that nobody published is carved out of train: a twentieth of its items, taken by whole pictures, so
that the two splits share none. Which pictures, the SHA-256 of their names decides, so neither the order of the files
nor a seed does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.core import BrokenItem, Example, UserError, broken, collecting
from tasks.pictures import find_picture, first_line
from tasks.vqa import vqa_words

# One in so many items of a published train split is validation where no validation split is published.
VALIDATION_SHARE = 20
# Control characters but for tabs and line breaks, and halves of characters: no text of a data set needs them.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of an official file: its values, its pictures by column, and what it is called in a message.

    ``task`` is the name of the set, ``number`` counts from 0 within the file and ``index`` over all files, ``word``
    is what the file calls a row. ``digests`` tell pictures apart by their bytes, where a reader was asked for that.
    """

    task: str
    file: Path
    number: int
    values: Mapping[str, Any]
    pictures: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    digests: Mapping[str, Sequence[str]] = field(default_factory=dict)
    word: str = "row"
    index: int = 0

    @property
    def where(self) -> str:
        """The file and the row."""
        return f"{self.file}, {self.word} {self.number}"

    def broken(self, reason: str) -> BrokenItem:
        """The row as an item that cannot be used."""
        return BrokenItem(f"{self.task}/{self.file.name}, {self.word} {self.number}", reason, self.where)

    def text(self, column: str) -> str:
        """A text that is not blank, stripped and without control characters."""
        return self.clean(self.values[column], column)

    def clean(self, value: object, what: str) -> str:
        """``value`` as a text that is not blank, stripped and without control characters."""
        if not isinstance(value, str) or not (kept := _CONTROL.sub(" ", value).strip()):
            raise self.broken(f"{what} is {value!r:.80}, not a text: download the file again")
        return kept

    def texts(self, column: str) -> tuple[str, ...]:
        """A list of texts that are not blank."""
        values = self.values[column]
        if not isinstance(values, list):
            raise self.broken(f"{column} is {values!r:.80}, not a list of texts: download the file again")
        return tuple(self.clean(value, f"one of {column}") for value in values)

    def options(self, values: object) -> tuple[str, ...]:
        """A list of 1 to 26 options, which may be blank."""
        if not isinstance(values, list) or not 1 <= len(values) <= 26:
            raise self.broken(f"the options are {values!r:.80}, not a list of texts: download the file again")
        if not all(isinstance(value, str) for value in values):
            raise self.broken(f"an option of {values!r:.80} is no text: download the file again")
        return tuple(_CONTROL.sub(" ", value).strip() for value in values)

    def letter(self, column: str, options: Sequence[str]) -> str:
        """The letter of one of ``options``."""
        letter = self.text(column)
        if letter not in tuple(chr(65 + place) for place in range(len(options))):
            raise self.broken(
                f"{column} {letter!r:.40} is no letter of {len(options)} options: download the file again"
            )
        return letter

    def key(self, column: str) -> str:
        """A published id: a whole number or a text in one line."""
        value = self.values[column]
        if type(value) is int:
            return str(value)
        return " ".join(self.clean(value, column).split())

    def picture(self, column: str = "image") -> Any:
        """The one picture of a column."""
        shown = self.pictures.get(column, ())
        if not shown:
            raise self.broken("there is no picture: download the file again")
        return shown[0]

    def picture_file(self, name: object, folders: Sequence[Path]) -> Any:
        """The picture of a plain file name in one of ``folders``."""
        try:
            return find_picture(name, folders)
        except UserError as error:
            raise self.broken(str(error)) from error

    def gold_first(self, answers: object) -> tuple[str, ...]:
        """Annotators' answers with the gold first (``gold_first``)."""
        try:
            return gold_first(answers, "")
        except BrokenItem as fault:
            raise self.broken(fault.reason) from fault


def example_of(row: Row, item: str, *, pictures: Sequence[Any] = (), **texts: Any) -> Example:
    """An Example with that id whose pictures know it; ``texts`` are the other fields of it."""
    return Example(id=item, images=tuple(replace(picture, item=item) for picture in pictures), **texts)


def existing(folder: Path, task: str) -> Path:
    """The folder itself; UserError where it is not there."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: put the official data of {task} there, or leave out --data")
    return folder


def existing_file(file: Path) -> Path:
    """The file itself; UserError where it is not there."""
    if not file.is_file():
        raise UserError(f"{file} is not there: download it")
    return file


def known_split(split: str, files: Mapping[str, str], task: str) -> str:
    """The published name of a split; UserError where the official data has no such split."""
    if split not in files:
        raise UserError(f"the official data of {task} has no {split} split: use {', '.join(files)}")
    return files[split]


def parquet_files(folder: Path, prefix: str, subfolders: Sequence[str] = ("data",)) -> tuple[Path, ...]:
    """The files ``<prefix>-*.parquet`` of the folder, or else of the first subfolder that has some, in their order.

    Raises UserError where their names say that some are missing.
    """
    for place in (folder, *(folder / name for name in subfolders)):
        found = tuple(sorted((*place.glob(f"{prefix}-*.parquet"), *place.glob(f"{prefix}.parquet"))))
        if found:
            _refuse_missing_parts(place, prefix, found)
            return found
    return ()


def _refuse_missing_parts(place: Path, prefix: str, files: Sequence[Path]) -> None:
    """Raises UserError unless files that are named "...-00001-of-00021..." are all 21."""
    parts = [(int(found[1]), int(found[2])) for file in files if (found := re.search(r"-(\d+)-of-(\d+)", file.name))]
    if not parts:
        return
    total = parts[0][1]
    if sorted(parts) != [(number, total) for number in range(total)]:
        raise UserError(
            f"{place} has {len(files)} of the {total} files {prefix}-*.parquet: download all of one version"
        )


def json_rows(file: Path, keys: Sequence[str], task: str) -> Iterator[Row]:
    """A Row for each object of a JSON list, or of the list under ``data`` of a JSON object, with at least ``keys``."""
    items = _parsed(file, file, _content(file))
    items = items.get("data") if isinstance(items, dict) else items
    if not isinstance(items, list):
        raise UserError(f"{file} holds no JSON list of items: expected [{{{', '.join(keys)}}}, ...]")
    if not items:
        raise UserError(f"{file} has no items: download it again")
    for number, item in enumerate(items):
        yield _json_row(Row(task=task, file=file, number=number, values={}, word="item"), item, keys)


def jsonl_rows(file: Path, keys: Sequence[str], task: str) -> Iterator[Row]:
    """A Row for each line of a file of JSON objects, one a line, with at least ``keys``."""
    for number, line in enumerate(_content(file).splitlines()):
        if line.strip():
            row = Row(task=task, file=file, number=number, values={}, word="line")
            yield _json_row(row, _parsed(file, row.where, line), keys)


def _content(file: Path) -> str:
    """The text of a file that is not blank."""
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not readable as UTF-8 ({first_line(error)}): download it again") from error
    if not content.strip():
        raise UserError(f"{file} is empty: download it again")
    return content


def _parsed(file: Path, where: object, content: str) -> Any:
    """What a JSON text holds."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not readable JSON ({first_line(error)}): download {file.name} again") from error


def _json_row(row: Row, item: Any, keys: Sequence[str]) -> Row:
    """The row with the values of a JSON object; what is not there is None, which its reader names."""
    values = item if isinstance(item, dict) else {}
    return replace(row, values={**dict.fromkeys(keys), **values}, index=row.number)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loaded:
    """What files gave: the examples in their order, and the rows that could not be used."""

    examples: tuple[Example, ...]
    faults: tuple[BrokenItem, ...]


Reader = Callable[..., Iterable[Row]]


def loaded(rows: Reader, read: Callable[..., Example | None], files: Sequence[Path], *more: Any) -> tuple[Example, ...]:
    """An Example for each Row of ``rows(files, *more)``, by ``read(row, *more)``; None leaves a row out.

    The same files are read once in a process, until the size or the time of one changes. Raises BrokenItem for the
    first row that cannot be used or has an id that was there before, unless the caller is ``collecting``.
    """
    found = _loaded(rows, read, tuple(files), stamps(files), more)
    for fault in found.faults:
        broken(fault)
    return found.examples


def stamps(files: Sequence[Path]) -> tuple[tuple[int, int], ...]:
    """Size and time of each file: what tells whether it was changed. Raises UserError where one is gone."""
    found = []
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise UserError(f"{file} is not there any more: start again") from error
        found.append((status.st_size, status.st_mtime_ns))
    return tuple(found)


@lru_cache(maxsize=64)
def _loaded(rows: Reader, read: Callable[..., Example | None], files: Any, known: Any, more: Any) -> _Loaded:
    examples: dict[str, Example] = {}
    with collecting() as faults:
        for row in rows(files, *more):
            try:
                example = read(row, *more)
                if example is not None and example.id in examples:
                    raise BrokenItem(example.id, f"{example.id} is there twice: download the file again", row.where)
            except BrokenItem as fault:
                broken(fault)
                continue
            if example is not None:
                examples[example.id] = example
    return _Loaded(examples=tuple(examples.values()), faults=tuple(faults))


def carved(examples: Sequence[Example], count: int, task: str) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(the rest, about ``count`` examples), in their order, without a group that stands on both sides.

    Groups are taken in the order of the SHA-256 of task and group, each that still fits, so that ``count`` is met
    exactly wherever there are groups of one item. Raises UserError where everything is one group.

    >>> items = [Example(id=f"x/{n}", question="?", answers=("a",), group=f"x/{n // 2}") for n in range(8)]
    >>> [[example.id for example in side] for side in carved(items, 2, "x")]
    [['x/0', 'x/1', 'x/2', 'x/3', 'x/6', 'x/7'], ['x/4', 'x/5']]
    """
    sizes = Counter(example.group for example in examples)
    if len(sizes) < 2:
        raise UserError(
            f"{len(examples)} items of {task} are too few: the split is made of whole pictures, two or more"
        )
    taken: set[str] = set()
    left = count
    for group in sorted(sizes, key=lambda group: order_of(task, group)):
        if sizes[group] <= left or not taken:
            taken.add(group)
            left -= sizes[group]
    rest = tuple(example for example in examples if example.group not in taken)
    return rest, tuple(example for example in examples if example.group in taken)


def train_or_validation(examples: Sequence[Example], split: str, task: str) -> tuple[Example, ...]:
    """The split of a published train split: a twentieth is validation, by whole pictures (``carved``)."""
    train, validation = carved(examples, max(1, len(examples) // VALIDATION_SHARE), task)
    return validation if split == "validation" else train


def order_of(task: str, name: str) -> bytes:
    """Where a name stands in an order that depends on nothing but the two."""
    return hashlib.sha256(f"{task}/{name}".encode()).digest()


def gold_first(answers: object, where: str) -> tuple[str, ...]:
    """The annotators' answers with the gold first; blanks stay, for they count among the ten, and match nothing.

    Answers are counted as they are compared: of those that most annotators agree on, the most common spelling is gold
    (of equally common ones the earliest). Line breaks and double spaces become single spaces. Raises BrokenItem.

    >>> gold_first(["pepsi", "pepsi", "Coca Cola", "coca-cola", "the coca cola", ""], "item 0")
    ('Coca Cola', 'pepsi', 'pepsi', 'coca-cola', 'the coca cola', '')
    """
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise BrokenItem(where, "answers is no list of texts: download the file again")
    given = [" ".join(_CONTROL.sub(" ", answer).split()) for answer in answers]
    if not any(given):
        raise BrokenItem(where, "there are no answers: use a split that is published with answers")
    agreed = Counter(vqa_words(answer) for answer in given if answer).most_common(1)[0][0]
    gold = Counter(answer for answer in given if answer and vqa_words(answer) == agreed).most_common(1)[0][0]
    given.remove(gold)
    return (gold, *given)
