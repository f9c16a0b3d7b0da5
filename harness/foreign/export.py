"""Writes examples into a folder as another framework reads them: rows in one file, pictures as PNG or as bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from harness.asking.evaluate import open_pictures
from harness.core import Example, Style, Task, UserError, digest
from harness.foreign.formats import Format, Row, entry_of
from harness.store import disk
from harness.values import cut

ABOUT = ".export.json"  # says that a folder is ours; hidden, for frameworks guess a format by the files they see
PICTURES = "images"
ROWS = 64  # whose pictures are in memory at once

Shown = tuple[Task, Example]


def export(shown: Sequence[Shown], style: Style, form: Format, out: Path, split: str) -> int:
    """Write (task, example) pairs, in their order, in a style; how many there are.

    ``out`` then holds the split's file, ``images/`` where the format wants files, what the format says about both, and
    .export.json. It is written aside and renamed; an earlier export in its place goes.

    Raises:
        UserError: where ``out`` holds something else, a picture cannot be read, or there is nothing to write.
    """
    if not shown:
        raise UserError("there is nothing to export: ask for another split, or a larger --limit")
    with disk.refusing_disk_faults(out):
        _refuse_strangers(out)
        draft = disk.draft_folder(out)
        rows = (_row(form, draft, style, task, example) for task, example in shown)
        if form.parquet:
            _write_parquet(draft / form.file(split), rows, any(example.images for _, example in shown))
        else:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            disk.write(draft / form.file(split), lines.encode(), derived=True)
        tasks = list(dict.fromkeys(task.name for task, _ in shown))
        about = {
            "format": form.name,
            "split": split,
            "style": style.name,
            "tasks": tasks,
            "items": len(shown),
            "examples": digest([[task.name, example.id] for task, example in shown]),
        }
        for name, content in {**form.about(split), ABOUT: about}.items():
            disk.write(draft / name, json.dumps(content, indent=1).encode() + b"\n", derived=True)
        disk.replace_folder(draft, out)
    return len(shown)


def _refuse_strangers(out: Path) -> None:
    """Raise UserError where a folder holds what no export wrote."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"--out {cut(str(out))} is no folder: give another one")
    if out.is_dir() and any(out.iterdir()) and not (out / ABOUT).is_file():
        raise UserError(f"--out {cut(str(out))} holds other files and no {ABOUT}: give an empty or a new folder")


def _row(form: Format, folder: Path, style: Style, task: Task, example: Example) -> Row:
    pictures = [_png(picture) for picture in open_pictures(example)]
    given: list[Any] = list(pictures) if form.parquet else [_file(folder, content) for content in pictures]
    return form.row(entry_of(style, task, example), given)


def _png(picture: Any) -> bytes:
    """A picture's pixels as they are, as PNG."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _file(folder: Path, content: bytes) -> str:
    """Write a picture under its digest, so that one that is shown often is one file; its name within the folder."""
    name = f"{PICTURES}/{hashlib.sha256(content).hexdigest()[:24]}.png"
    disk.write(folder / name, content, derived=True)
    return name


def _write_parquet(path: Path, rows: Iterator[Row], pictured: bool) -> None:
    """Write rows with the column types that ``datasets`` reads pictures by; some rows are in memory at once.

    Where no row has pictures there is no column of them: a framework that finds one asks its processor for pictures.
    """
    from datasets import Features, Image, List, Value
    from pyarrow import Table
    from pyarrow.parquet import ParquetWriter

    text = Value("string")
    chat = List({"role": text, "content": List({"type": text, "text": text})})
    kinds = {"images": List(Image()), "prompt": chat, "completion": chat}
    some = list(islice(rows, ROWS))
    schema = Features({n: kinds.get(n, text) for n in some[0] if pictured or n != "images"}).arrow_schema
    with ParquetWriter(path, schema) as writer:
        while some:
            for row in some:
                row["images"] = [{"bytes": content, "path": None} for content in row["images"]]
            writer.write_table(Table.from_pylist(some, schema=schema))
            some = list(islice(rows, ROWS))


__all__ = ["ABOUT", "PICTURES", "export"]
