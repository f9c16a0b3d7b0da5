"""Rows and verdicts as parquet: one row per example, with a schema version and a digest of the content inside."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from harness.core import Row, UserError, Verdict, digest, plain

SCHEMA = 1
_TYPES = {"str": "string", "str | None": "string", "int": "int64", "float": "float64", "bool": "bool"}

Record = TypeVar("Record", Row, Verdict)


def to_parquet(kind: type[Record], records: Sequence[Record]) -> bytes:
    """Records as the bytes of a parquet file; equal records give equal bytes. ``kind`` names the columns."""
    import pyarrow
    import pyarrow.parquet

    values = [plain(record) for record in records]
    marks = {"cpt-harness.schema": f"{kind.__name__}-{SCHEMA}", "cpt-harness.digest": digest(values)}
    schema = pyarrow.schema(
        [(item.name, getattr(pyarrow, _arrow(str(item.type)))()) for item in fields(kind)], metadata=marks
    )
    target = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values, schema=schema), target)
    return target.getvalue()


def _arrow(annotation: str) -> str:
    """The name of pyarrow's function for a field's type."""
    name = _TYPES[annotation]
    return "bool_" if name == "bool" else name


def from_parquet(kind: type[Record], path: Path) -> list[Record]:
    """The records of a parquet file. Raises UserError where it is cut short, edited or of another schema."""
    import pyarrow
    import pyarrow.parquet

    mend = f"remove {path} to make it again"
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(path.read_bytes()))
        values = table.to_pylist()
    except (pyarrow.ArrowInvalid, OSError, UnicodeDecodeError) as fault:
        raise UserError(f"{path} is damaged or cut short: {mend}") from fault
    marks = {key.decode(): mark.decode() for key, mark in (table.schema.metadata or {}).items()}
    wanted = f"{kind.__name__}-{SCHEMA}"
    if marks.get("cpt-harness.schema") != wanted:
        found = marks.get("cpt-harness.schema")
        raise UserError(f"{path} has schema {found!r}, this version knows {wanted!r}: {mend}")
    if marks.get("cpt-harness.digest") != digest(values):
        raise UserError(f"{path} was edited after it was written: {mend}")
    return [kind(**value) for value in values]
