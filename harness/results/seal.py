"""The seal of a published run: the SHA-256 of each of its files, so that a copy can be seen to be the whole one.

A seal finds what was damaged on its way. It is no signature: who edits a file can seal it again, and then the replies
still have to give the cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core import UserError
from harness.store.typed import SCHEMA, decode, dump
from harness.values import cut

SEAL = "digests.json"


@dataclass(frozen=True, kw_only=True)
class Seal:
    """What digests.json holds: the run, and SHA-256 in hex by the name of a file."""

    schema: int
    id: str
    files: dict[str, str]


def sealed(name: str, files: Mapping[str, bytes]) -> bytes:
    """The seal of a run's files by their contents."""
    found = {file: hashlib.sha256(content).hexdigest() for file, content in sorted(files.items())}
    return dump({"schema": SCHEMA, "id": name, "files": found})


def refuse_other_files(folder: Path) -> None:
    """Raise UserError, naming them, where the files of a published run are not those that were sealed."""
    advice = "publish the run again"
    try:
        seal = decode(Seal, folder / SEAL, advice)
    except FileNotFoundError as fault:
        raise UserError(f"{folder.name} has no {SEAL}: {advice}") from fault
    now = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != SEAL and path.is_file()
    }
    if other := [name for name in sorted({*now, *seal.files}) if now.get(name) != seal.files.get(name)]:
        what = ", ".join(cut(name, 60) for name in other)
        raise UserError(f"{what} of {folder.name}: not as sealed in {SEAL}; copy the folder again, or {advice}")


__all__ = ["SEAL", "Seal", "refuse_other_files", "sealed"]
