"""Details on disk: the further numbers of cells that breakdowns give, a tidy table beside cells.csv.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.core import Cell, Detail, Part
from harness.results.cells import read_rows, refuse_twice, write_rows

DETAILS = "details.csv"


def details_of(cell: Cell, parts: Mapping[str, Part]) -> list[Detail]:
    """The rows of a cell, in the order in which its breakdown gives them."""
    place = {name: getattr(cell, name) for name in ("run", "stage", "stage_name", "task", "style", "scorer")}
    return [Detail(**place, name=name, n=part.n, value=part.value) for name, part in parts.items()]


def write_details(details: Sequence[Detail]) -> bytes:
    """The bytes of details.csv: a header of Detail's fields in their order, then one row a number; none without any."""
    return write_rows(Detail, details).encode() if details else b""


def read_details(path: Path) -> list[Detail]:
    """The rows of a details.csv, equal to those written.

    Raises:
        UserError: where the file is absent, malformed or holds a number twice.
    """
    details = read_rows(Detail, path)
    refuse_twice([(one.stage, one.task, one.style, one.scorer, one.name) for one in details], "number", path)
    return details


__all__ = ["DETAILS", "details_of", "read_details", "write_details"]
