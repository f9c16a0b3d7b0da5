"""Replies, marks and verdicts as parquet: one row per example, with a schema version and a digest of its content.

A file is bound to what it belongs to: ``bound`` (the key, the digests of weights and data) stands inside it, under the
digest, and is checked on every read. ``about`` (the environment that made it) is kept beside it and read back.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.core import Mark, Reply, UserError, Verdict, digest, plain
from harness.store import disk

SCHEMA = 2
_TYPES = {"str": "string", "str | None": "string", "int": "int64", "float": "float64", "bool": "bool_"}
_PREFIX = "cpt-harness."

Kind = TypeVar("Kind", Reply, Mark, Verdict)


@dataclass(frozen=True, kw_only=True)
class Table(Generic[Kind]):
    """The records of a file, what they are bound to, and what is noted about them."""

    records: tuple[Kind, ...]
    bound: Mapping[str, Any]
    about: Mapping[str, Any]


def to_parquet(
    kind: type[Kind], records: Sequence[Kind], bound: Mapping[str, Any], about: Mapping[str, Any] | None = None
) -> bytes:
    """Records as the bytes of a parquet file (zstd); equal records give equal bytes. ``kind`` names the columns.

    Text that is no Unicode (a lone surrogate of a damaged file) is written with ``?`` in its place.
    """
    import pyarrow
    import pyarrow.parquet

    values = [{name: _sound(value) for name, value in plain(record).items()} for record in records]
    content = {"bound": plain(bound), "about": plain(about or {})}
    notes = {
        "schema": f"{kind.__name__}-{SCHEMA}",
        "content": json.dumps(content, sort_keys=True),
        "digest": digest([values, content]),
    }
    schema = pyarrow.schema(
        [(item.name, getattr(pyarrow, _TYPES[str(item.type)])()) for item in fields(kind)],
        metadata={_PREFIX + name: text for name, text in notes.items()},
    )
    target = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values, schema=schema), target, compression="zstd")
    return target.getvalue()


def _sound(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def from_parquet(kind: type[Kind], path: Path, bound: Mapping[str, Any] | None = None) -> Table[Kind]:
    """The records of a parquet file.

    Raises:
        UserError: where it is cut short, edited, of another schema, or bound to anything else than ``bound``.
    """
    import pyarrow
    import pyarrow.parquet

    mend = f"remove {path} to make it again"
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(disk.read(path)))
        values = table.to_pylist()
        notes = {key.decode(): note.decode() for key, note in (table.schema.metadata or {}).items()}
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as fault:
        raise UserError(f"{path} is damaged or cut short: {mend}") from fault
    wanted, found = f"{kind.__name__}-{SCHEMA}", notes.get(f"{_PREFIX}schema")
    if found != wanted:
        raise UserError(f"{path} has schema {found!r}, this version knows {wanted!r}: {mend}")
    try:
        content = json.loads(notes[f"{_PREFIX}content"])
        if notes[f"{_PREFIX}digest"] != digest([values, content]):
            raise UserError(f"{path} was edited after it was written: {mend}")
        records = tuple(kind(**value) for value in values)
    except (KeyError, TypeError, ValueError, RecursionError) as fault:
        raise UserError(f"{path} is damaged ({type(fault).__name__}): {mend}") from fault
    if bound is not None and content["bound"] != plain(bound):
        other = [name for name, value in plain(bound).items() if content["bound"].get(name) != value]
        raise UserError(f"{path} belongs to another {', '.join(other) or 'cell'}: {mend}")
    return Table(records=records, bound=content["bound"], about=content["about"])


__all__ = ["SCHEMA", "Table", "from_parquet", "to_parquet"]
