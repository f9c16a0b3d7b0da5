"""Cells on disk: one CSV row per cell, safe to open in a spreadsheet, exact in every digit. Standard library only.

Further tables of a run have the same form: a header of a noun's fields in their order, then a row for each.

Text that a spreadsheet would run as a formula gets a leading single quote, and so does text that already starts with
one, so that reading undoes writing without exception. Floats are written by ``repr``; absent is an empty field. Text
that a terminal might act on, or that is longer than any name, is refused with its row, in writing and in reading.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from harness.core import Cell, Detail, UserError
from harness.store import disk
from harness.values import cut

FORMULA = ("=", "+", "-", "@")
LONGEST = 255  # characters of a text: as of a file's name
COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Cell))
_MEND = "restore the file or make it again"
_COUNT = re.compile(r"[0-9]{1,18}")
_FRACTION = re.compile(r"[0-9]+(\.[0-9]+)?(e-[0-9]+)?")

Value = str | int | float | None
Row = TypeVar("Row", Cell, Detail)


def safe(text: str) -> str:
    """Text that no spreadsheet runs: a leading single quote before ``= + - @`` and the quote itself.

    >>> safe("=1+1"), safe("rft"), unsafe(safe("'=1")), unsafe(safe("-"))
    ("'=1+1", 'rft', "'=1", '-')
    """
    return "'" + text if text.startswith((*FORMULA, "'")) else text


def unsafe(text: str) -> str:
    """The text that ``safe`` was given."""
    return text[1:] if text.startswith("'") else text


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    r"""Rows as CSV with LF line ends: text made safe, floats by ``repr``, None as an empty field.

    Raises:
        UserError: naming the row, where a text is not fit for a line.

    >>> csv_text(["name", "score"], [["=x", 0.1], ["a,b", None]])
    'name,score\n\'=x,0.1\n"a,b",\n'
    """
    return "".join(
        ",".join(_field(value, number) for value in row) + "\n" for number, row in enumerate([list(header), *rows], 1)
    )


def _field(value: Value, number: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    if fault := _unfit(value):
        raise UserError(f"row {number} cannot be written ({fault}): rename what it names")
    text = safe(value)
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text


def _unfit(text: str) -> str:
    """Why a text is not fit for one line of a table; empty where it is."""
    if len(text) > LONGEST:
        return f"{cut(ascii(text), 40)} is longer than {LONGEST} characters"
    return "" if text.isprintable() else f"{cut(ascii(text), 80)} has characters that are not printed"


def csv_rows(path: Path, header: Sequence[str] | None = None) -> list[dict[str, str]]:
    """The rows of a CSV file as text, formula quotes taken off; with ``header``, other columns are refused.

    Raises:
        UserError: naming the row, where the file is absent, cut off, has other columns or text not fit for a line.
    """
    lines = _lines(path)
    columns = lines[0] if lines else []
    if header is not None and columns != list(header):
        raise UserError(f"{cut(str(path))} has other columns than {','.join(header)}: {_MEND}")
    if twice := next((name for number, name in enumerate(columns) if name in columns[:number]), None):
        raise UserError(f"{cut(str(path))} has the column {cut(twice, 40)} twice: {_MEND}")
    for number, line in enumerate(lines, start=1):
        if fault := next(filter(None, map(_unfit, line)), ""):
            raise UserError(f"{cut(str(path))} row {number} is malformed ({fault}): {_MEND}")
        if len(line) != len(columns):
            raise UserError(f"{cut(str(path))} row {number} has {len(line)} fields instead of {len(columns)}: {_MEND}")
    return [dict(zip(columns, map(unsafe, line), strict=True)) for line in lines[1:]]


def _lines(path: Path) -> list[list[str]]:
    """The fields of each line of a whole CSV file. Raises UserError naming the row at which it is not one."""
    try:
        content = disk.read(path)
        text = content.decode("utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{cut(str(path))} cannot be read, there is none: {_MEND}") from error
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{cut(str(path))} row {row} holds bytes that are no UTF-8: {_MEND}") from error
    if not text.endswith("\n"):
        raise UserError(f"{cut(str(path))} is empty or cut off in row {text.count(chr(10)) + 1}: {_MEND}")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        raise UserError(f"{cut(str(path))} row {reader.line_num} is no CSV ({error}): {_MEND}") from error


def write_cells(cells: Sequence[Cell]) -> str:
    """The text of cells.csv: a header of Cell's fields in their order, then one row per cell in the order given."""
    return write_rows(Cell, cells)


def read_cells(path: Path) -> list[Cell]:
    """The cells of a cells.csv, equal to those written.

    Raises:
        UserError: where the file is absent, cut off, malformed or holds a cell twice.
    """
    cells = read_rows(Cell, path)
    refuse_twice([cell_key(cell) for cell in cells], "cell", path)
    return cells


def write_rows(kind: type[Row], rows: Iterable[Row]) -> str:
    """The text of a table: a header of the fields of ``kind`` in their order, then one row for each."""
    names = [field.name for field in fields(kind)]
    return csv_text(names, [[getattr(row, name) for name in names] for row in rows])


def read_rows(kind: type[Row], path: Path) -> list[Row]:
    """The rows of a table, equal to those written. Raises UserError where the file is absent, cut off or malformed."""
    types = {field.name: str(field.type) for field in fields(kind)}
    found = []
    for number, row in enumerate(csv_rows(path, tuple(types)), start=2):
        try:
            found.append(kind(**{name: _typed(types[name], text) for name, text in row.items()}))  # type: ignore[arg-type]
        except ValueError as error:
            raise UserError(f"{cut(str(path))} row {number} is malformed ({cut(str(error))}): {_MEND}") from error
    return found


def refuse_twice(keys: Sequence[tuple[Hashable, ...]], what: str, path: Path) -> None:
    """Raise UserError, naming the row, where two rows of a table have one key."""
    seen: set[tuple[Hashable, ...]] = set()
    for number, key in enumerate(keys, start=2):
        if key in seen:
            twice = cut("/".join(map(str, key)))
            raise UserError(f"{cut(str(path))} row {number} holds the {what} {twice} a second time: {_MEND}")
        seen.add(key)


def cell_key(cell: Cell) -> tuple[str, int, str, str, str, str, str]:
    """A cell's identity: run, stage, task, style, decoding, scorer, engine."""
    return (cell.run, cell.stage, cell.task, cell.style, cell.decoding, cell.scorer, cell.engine)


def _typed(kind: str, text: str) -> Value:
    """A field's text as its type; ValueError for a number that is not written as ``csv_text`` writes it."""
    if kind == "int":
        if not _COUNT.fullmatch(text):
            raise ValueError(f"{cut(ascii(text), 40)} is no count")
        return int(text)
    if kind == "float":
        if not _FRACTION.fullmatch(text):
            raise ValueError(f"{cut(ascii(text), 40)} is no fraction")
        return float(text)
    return text


__all__ = [
    "COLUMNS",
    "FORMULA",
    "LONGEST",
    "cell_key",
    "csv_rows",
    "csv_text",
    "read_cells",
    "read_rows",
    "refuse_twice",
    "safe",
    "unsafe",
    "write_cells",
    "write_rows",
]
