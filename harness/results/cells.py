"""Cells on disk: one CSV row per cell, safe to open in a spreadsheet, exact in every digit. Standard library only.

Text that a spreadsheet would run as a formula gets a leading single quote, and so does text that already starts with
one, so that reading undoes writing without exception. Floats are written by ``repr``; absent is an empty field.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from harness.core import Cell, UserError

FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Cell))
_TYPES = {field.name: str(field.type) for field in fields(Cell)}

Value = str | int | float | None


def safe(text: str) -> str:
    """Text that no spreadsheet runs: a leading single quote before ``= + - @``, tab, carriage return and quote itself.

    >>> safe("=1+1"), safe("rft"), unsafe(safe("'=1")), unsafe(safe("-"))
    ("'=1+1", 'rft', "'=1", '-')
    """
    return "'" + text if text.startswith((*FORMULA, "'")) else text


def unsafe(text: str) -> str:
    """The text that ``safe`` was given."""
    return text[1:] if text.startswith("'") else text


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    r"""Rows as CSV with LF line ends: text made safe, floats by ``repr``, None as an empty field.

    >>> csv_text(["name", "score"], [["=x", 0.1], ["a,b", None]])
    'name,score\n\'=x,0.1\n"a,b",\n'
    """
    return "".join(",".join(_field(value) for value in row) + "\n" for row in [list(header), *rows])


def _field(value: Value) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    text = safe(value)
    # The csv module leaves a carriage return bare when lines end in LF, and then cannot read its own file.
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text


def csv_rows(path: Path, header: Sequence[str] | None = None) -> list[dict[str, str]]:
    """The rows of a CSV file as text, formula quotes taken off; with ``header``, other columns are refused.

    Raises:
        UserError: where the file is absent, cut off or has other columns.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}): restore it or make it again") from error
    if not text.endswith("\n"):
        raise UserError(f"{path} is empty or cut off in its last line: restore it or make it again")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{path} is no CSV ({error}): restore it or make it again") from error
    columns = lines[0]
    if header is not None and columns != list(header):
        raise UserError(f"{path} has other columns than {','.join(header)}: restore it or make it again")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(columns):
            raise UserError(f"{path} row {number} has {len(line)} fields instead of {len(columns)}: restore the file")
    return [dict(zip(columns, map(unsafe, line), strict=True)) for line in lines[1:]]


def write_cells(cells: Sequence[Cell]) -> str:
    """The text of cells.csv: a header of Cell's fields in their order, then one row per cell in the order given."""
    return csv_text(COLUMNS, [[getattr(cell, name) for name in COLUMNS] for cell in cells])


def read_cells(path: Path) -> list[Cell]:
    """The cells of a cells.csv, equal to those written.

    Raises:
        UserError: where the file is absent, cut off, malformed or holds a cell twice.
    """
    cells = []
    for number, row in enumerate(csv_rows(path, COLUMNS), start=2):
        try:
            cells.append(Cell(**{name: _typed(_TYPES[name], text) for name, text in row.items()}))  # type: ignore[arg-type]
        except ValueError as error:
            raise UserError(f"{path} row {number} is malformed ({error}): restore the file") from error
    keys = [cell_key(cell) for cell in cells]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"{path} holds the cell {'/'.join(map(str, twice))} twice: restore the file")
    return cells


def cell_key(cell: Cell) -> tuple[str, int, str, str, str, str]:
    """A cell's identity: run, stage, task, style, decoding, scorer."""
    return (cell.run, cell.stage, cell.task, cell.style, cell.decoding, cell.scorer)


def _typed(kind: str, text: str) -> Value:
    """A field's text as its type; ValueError for a number that is none, or not finite."""
    if kind == "int":
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"{text!r} is no count")
        return int(text)
    if kind == "float":
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text!r} is no fraction")
        return value
    return text


__all__ = ["COLUMNS", "FORMULA", "cell_key", "csv_rows", "csv_text", "read_cells", "safe", "unsafe", "write_cells"]
