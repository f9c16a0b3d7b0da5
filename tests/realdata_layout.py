"""Writes a handful of real items in the layout of the published data, to try the official loaders on them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

SCIENCEQA_SPLITS = {"train": 13, "validation": 4, "test": 8}
VIZWIZ_SPLITS = {"train": 10, "val": 5}


def items(realdata: Path, task: str) -> list[dict[str, Any]]:
    """The real items of a task, in the order of their file."""
    return [json.loads(line) for line in (realdata / task / "items.jsonl").read_text(encoding="utf-8").splitlines()]


def write_scienceqa(file: Path, rows: list[dict[str, Any]]) -> None:
    """A parquet file with the columns and the picture type of the hub's copy.

    A row holds image (bytes or None), question, choices, answer and hint.
    """
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(
        [
            ("image", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
            ("question", pyarrow.string()),
            ("choices", pyarrow.list_(pyarrow.string())),
            ("answer", pyarrow.int8()),
            ("hint", pyarrow.string()),
            *((name, pyarrow.string()) for name in ("task", "grade", "subject", "topic", "category", "skill")),
            *((name, pyarrow.string()) for name in ("lecture", "solution")),
        ]
    )
    filled = [
        {
            **dict.fromkeys(schema.names, ""),
            **row,
            "image": row["image"] and {"bytes": row["image"], "path": "image.png"},
        }
        for row in rows
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    # Small row groups, as the hub writes for pictures: a reader that forgets them gets the wrong picture.
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(filled, schema=schema), file, row_group_size=3)


def write_vizwiz(folder: Path, split: str, rows: list[dict[str, Any]], pictures: Path) -> None:
    """The official JSON file of a split and its pictures, copied from the folder ``pictures``."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    for row in rows:
        shutil.copyfile(pictures / row["image"], folder / split / row["image"])
    (folder / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")


def write_official_layout(realdata: Path, out: Path) -> None:
    """Writes ``out/scienceqa`` (13 / 4 / 8 items) and ``out/vizwiz`` (train 10, of which one is validation; val 5)."""
    start = 0
    science = items(realdata, "scienceqa")
    for split, count in SCIENCEQA_SPLITS.items():
        rows = [
            {
                "image": (realdata / "scienceqa" / item["image"]).read_bytes(),
                "question": item["question"],
                "choices": item["options"],
                "answer": item["answer"],
                "hint": item["hint"],
            }
            for item in science[start : start + count]
        ]
        write_scienceqa(out / "scienceqa" / f"{split}-00000-of-00001.parquet", rows)
        start += count
    start = 0
    photos = [item["official"] for item in items(realdata, "vizwiz")]
    for split, count in VIZWIZ_SPLITS.items():
        write_vizwiz(out / "vizwiz", split, photos[start : start + count], realdata / "vizwiz" / "images")
        start += count
