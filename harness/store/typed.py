"""The one reader of JSON files: a file becomes a frozen value of its type, or one line that says what to do."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TypeVar

from harness.core import UserError
from harness.store import disk
from harness.values import cut

SCHEMA = 2
LARGEST = 64 * 2**20

Value = TypeVar("Value")


def dump(value: object) -> bytes:
    """JSON with two spaces of indent and a last newline."""
    return (json.dumps(value, indent=2) + "\n").encode()


def decode(kind: type[Value], path: Path, advice: str) -> Value:
    """A JSON file as a value of a dataclass with a field ``schema``.

    Raises:
        UserError: ending in ``advice``, where it is no regular file, damaged, of another schema or of other types.
        FileNotFoundError: where there is none.
    """
    import msgspec

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise UserError(f"{path} is no file of a size that is written here: {advice}")
        content = disk.read(path)
        schema = msgspec.json.decode(content, type=dict[str, object]).get("schema")
        if schema != SCHEMA:
            raise UserError(
                f"{path} has schema {cut(repr(schema), 40)}, this version knows {SCHEMA}: {advice}, or use the version"
                " of cpt-harness that wrote it"
            )
        return msgspec.json.decode(content, type=kind)
    except FileNotFoundError:
        raise
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError, ValueError) as fault:
        raise UserError(f"{path} is damaged ({cut(str(fault), 120)}): {advice}") from fault


__all__ = ["SCHEMA", "decode", "dump"]
