"""Probe values on disk: a tidy table, one number a row, never mixed with cells. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from harness.core import ProbeValue, UserError
from harness.results.cells import csv_rows, csv_text

PROBES = "probes.csv"
COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(ProbeValue))


def write_probes(values: Sequence[ProbeValue]) -> str:
    """The text of probes.csv: a header of ProbeValue's fields in their order, then one row a value."""
    return csv_text(COLUMNS, [[getattr(value, name) for name in COLUMNS] for value in values])


def read_probes(path: Path) -> list[ProbeValue]:
    """The values of a probes.csv, equal to those written. Raises UserError where the file is malformed."""
    found = []
    for number, row in enumerate(csv_rows(path, COLUMNS), start=2):
        try:
            numbers = {"stage": int(row["stage"]), "version": int(row["version"]), "value": float(row["value"])}
        except ValueError as fault:
            raise UserError(f"{path} row {number} is malformed ({fault}): restore the file") from fault
        found.append(ProbeValue(**{**row, **numbers}))  # type: ignore[arg-type]
    return found


__all__ = ["COLUMNS", "PROBES", "read_probes", "write_probes"]
