"""Official data as small as it can be: one from a hub, one from an official site."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.core import Example, Source, Stream, Task, UserError, replace

TRAIN, TEST = 6, 4


def rows(split: str, count: int) -> list[dict[str, Any]]:
    """The rows of a split."""
    return [{"id": f"{split}-{n}", "question": f"What is {n} in {split}?", "answer": str(n)} for n in range(count)]


def files() -> dict[str, bytes]:
    """The files of the set, as a hub holds them."""
    from io import BytesIO

    from PIL import Image

    found = {f"{split}.json": json.dumps(rows(split, n)).encode() for split, n in (("train", TRAIN), ("test", TEST))}
    for split, count in (("train", TRAIN), ("test", TEST)):
        for n in range(count):
            buffer = BytesIO()
            Image.new("RGB", (48, 48), (40 * n, 90, 200 if split == "test" else 20)).save(buffer, "PNG")
            found[f"pictures/{split}-{n}.png"] = buffer.getvalue()
    return {**found, "README.md": b"# a set", ".gitattributes": b"*"}


def write(folder: Path) -> Path:
    """The set in a folder."""
    for name, content in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def twin(split: str, index: int) -> Example:
    """An item that is generated."""
    return Example(id=f"{split}-{index}", question=f"How much is {index}?", answers=(str(index),))


def opened(file: Path) -> Any:
    """The picture in a file."""
    from PIL import Image

    return Image.open(file).convert("RGB")


def official(folder: Path, split: str) -> Sequence[Example]:
    """The items of a split."""
    file = folder / f"{split}.json"
    if not file.is_file():
        raise UserError(f"{file} is not there: download it again")
    return tuple(
        Example(
            id=row["id"],
            question=row["question"],
            answers=(row["answer"],),
            images=(partial(opened, folder / "pictures" / f"{row['id']}.png"),),
        )
        for row in json.loads(file.read_text())
    )


def score(answer: str, example: Example) -> float:
    """Whether it is the gold answer."""
    return float(answer == example.answers[0])


PAIRS = Task(
    name="pairs",
    version=1,
    cite="tests",
    licence="CC0",
    suffix="Answer with a number.",
    score=score,
    twin=twin,
    official=official,
    counts={"train": TRAIN, "test": TEST},
    sources=(Source(hub="lab/pairs", files=("*.json", "pictures/*.png"), note="of a test"),),
)
POSTED = replace(
    PAIRS, name="posted", sources=(Source(files=("*.json", "pictures/*"), urls=("https://posted.example/set.zip",)),)
)
PAIRS_ONLY = Stream(name="pairs-only", tasks=("pairs",), epochs={"pairs": 1}, general=())
