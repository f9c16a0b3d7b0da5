"""Seals: a file beside a folder, written last, that says the folder is whole and what its files' digests are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.digests import file_digest, is_kept_digest
from harness.store import disk


def seal(folder: Path, identity: str, counts: Mapping[str, int]) -> None:
    """Write ``<folder>.json``: whose folder it is, what was counted so far, and a SHA-256 for each file."""
    content = {"identity": identity, "counts": dict(counts), "files": _digests(folder)}
    disk.write(_beside(folder), json.dumps(content, indent=1, sort_keys=True).encode())


def keep_only(folder: Path, identity: str, counts: Mapping[str, int]) -> None:
    """Seal a resume state, and remove the ones before it."""
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
    seal(folder, identity, counts)
    for older in set(folder.parent.glob("checkpoint-*/")) - {folder}:
        remove(older)


def opened(folder: Path, identity: str) -> dict[str, int] | None:
    """The counts of a whole folder; None where it is missing, half-written, edited or another job's."""
    try:
        content = json.loads(_beside(folder).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if content.get("identity") != identity or not folder.is_dir() or content.get("files") != _digests(folder):
        return None
    return {name: int(value) for name, value in content["counts"].items()}


def last_whole(folder: Path, identity: str) -> Path | None:
    """The latest whole ``checkpoint-<step>`` in ``folder``; the ones that are not whole are removed."""
    steps = sorted(folder.glob("checkpoint-*/"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in steps:
        if opened(checkpoint, identity) is not None:
            return checkpoint
        remove(checkpoint)
    return None


def remove(folder: Path) -> None:
    """Remove a folder, if there is one, its seal first."""
    _beside(folder).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _beside(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.json"


def files_of(folder: Path) -> list[Path]:
    """The files of a folder, but for the digests that are kept beside large ones; sorted."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not is_kept_digest(path)]


def _digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files_of(folder)}
