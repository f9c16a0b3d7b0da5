"""One item as a model will see it: its prompt, what marks the reply, and its pictures as they are decoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from harness.asking.evaluate import open_pictures
from harness.core import SPLITS, Example, Scale, Style, Task, UserError, collecting
from harness.scales import model_folder
from harness.store import disk
from harness.values import cut

SEARCHED = 1000  # items of a twin among which an id is looked for


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An item of a split, its place there, its prompt in a style, its decoded pictures, and its prompt's length.

    ``tokens`` is None where the scale's model is not on this machine.
    """

    example: Example
    place: int
    prompt: str
    pictures: tuple[Any, ...]
    tokens: int | None


def shown(task: Task, data: Path | None, split: str, item: str, style: Style, scale: Scale) -> Shown:
    """The item of this id, or of this place in the split, counted from 0.

    Raises:
        UserError: where there is none, or a picture of it does not open.
    """
    if split not in SPLITS:
        raise UserError(f"--split {cut(split, 40)} is unknown: use one of {', '.join(SPLITS)}")
    place, example = _found(task, data, split, item)
    prompt, pictures = style.ask(task, example), open_pictures(example)
    return Shown(
        example=example, place=place, prompt=prompt, pictures=pictures, tokens=_tokens(scale, prompt, pictures)
    )


def _found(task: Task, data: Path | None, split: str, item: str) -> tuple[int, Example]:
    if data is None:
        count = task.twin_items or SEARCHED
        if _is_place(item) and int(item) < count:
            return int(item), task.twin(split, int(item))
        examples: Iterable[Example] = (task.twin(split, place) for place in range(0 if _is_place(item) else count))
    elif task.official is None:
        raise UserError(f"task {task.name} has no loader for official data: leave out --data to see its twin")
    else:
        with collecting():
            items = task.official(data / task.name, split)
        examples, count = items, len(items)
        if _is_place(item) and int(item) < count:
            return int(item), items[int(item)]
    for place, example in enumerate(examples):
        if example.id == item:
            return place, example
    raise UserError(f"{task.name} {split} has no item {cut(item, 60)!r}: give an id, or a number from 0 to {count - 1}")


def _is_place(item: str) -> bool:
    return item.isascii() and item.isdigit() and len(item) < 10


def _tokens(scale: Scale, prompt: str, pictures: tuple[Any, ...]) -> int | None:
    """The prompt's length for the scale's model; None where that is not here."""
    from harness.asking.engines.prompts import prompt_lengths
    from harness.asking.engines.transformers import load_processor

    try:
        folder = model_folder(scale)
    except UserError:
        return None
    return prompt_lengths(load_processor(folder, scale), [(prompt, pictures)])[0]


def visible(text: str) -> str:
    r"""A text as a terminal may show it: lines stay, all else that is not printed is written as its escape.

    >>> print(visible("one\ntwo\x1b[31m\u202e"))
    one
    two\x1b[31m\u202e
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def write_pictures(pictures: Sequence[Any], file: Path) -> list[Path]:
    """Write pictures as PNG: the first as ``file``, the others as ``file-2`` and so on; their files.

    Raises:
        UserError: where the name is not one of a PNG file, or cannot be written.
    """
    if file.suffix.lower() != ".png":
        raise UserError(f"--picture {cut(str(file))} is no PNG file: give a name that ends in .png")
    written = []
    with disk.refusing_disk_faults(file):
        for number, picture in enumerate(pictures, start=1):
            target = file if number == 1 else file.with_name(f"{file.stem}-{number}{file.suffix}")
            buffer = BytesIO()
            picture.save(buffer, "PNG")
            disk.write(target, buffer.getvalue())
            written.append(target)
    return written


__all__ = ["Shown", "shown", "visible", "write_pictures"]
