"""What a library asks, as Examples; how it marks replies, as Marks."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.asking.suites.library import CHILD, Library, Row, cache, call
from harness.core import Example, Mark, Reply, UserError, digest

ASKED = "asked.jsonl"
_MARK = re.compile(r"<image (?=\d+>)")


@dataclass(frozen=True, kw_only=True)
class Question(Example):
    """An Example in a library's own words; ``row`` is the item in the library's own columns, without its pictures."""

    row: Row = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item that a library is to ask: its id here, its right answer, and its row in the library's own columns.

    The number in the row's column that ``Form.key`` names is the library's name for it; the column ``image``, where
    there is one, lists the names of picture files.
    """

    id: str
    answer: str
    row: Row


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a library is told of items: the column that numbers them, and what else it is told.

    ``stop`` are the texts at which the library wants replies to end; another wish of its is refused.
    """

    library: Library
    key: str
    stop: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


def questions(form: Form, items: Sequence[Item], opened: Callable[[Path, str], Any], **more: Any) -> list[Question]:
    """The items as the library asks them; ``opened(file, id)`` opens a picture, ``more`` is told to the library.

    Prompts and pictures are kept in ``cache()``, by the digest of all that they are made of. Raises UserError where the
    library fails, or wants replies to end at other texts than the suite says.
    """
    rows = [item.row for item in items]
    told = {name: value for name, value in more.items() if name != "pictures"}  # a folder; the rows name what is in it
    made_of = [form.library.package, form.library.version, CHILD.read_text(encoding="utf-8"), rows, form.more, told]
    kept = cache() / "suites" / digest(made_of)[:32]
    if not (kept / ASKED).is_file():
        _keep(form, rows, kept, {**form.more, **more})
    lines = (kept / ASKED).read_text(encoding="utf-8").splitlines()
    asked = {row["key"]: row for row in map(json.loads, lines)}
    if set(asked) != {row[form.key] for row in rows}:
        raise UserError(f"{form.library.package} asked other items than it was given: remove {kept} and try again")
    for row in asked.values():
        if tuple(row["until"]) != form.stop:
            raise UserError(
                f"{form.library.package} ends replies at {row['until']}, the suite at {list(form.stop)}: mend it"
            )
    return [_question(form, item, asked[item.row[form.key]], kept, opened) for item in items]


def _keep(form: Form, rows: Sequence[Row], kept: Path, more: Mapping[str, Any]) -> None:
    """Ask the library, and keep prompts and pictures at once or not at all."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="room-", dir=kept.parent) as name:
        room, draft = Path(name), Path(name) / "kept"
        answers = call(form.library, "ask", rows, room, **more)
        (draft / "pictures").mkdir(parents=True)
        for part in (part for answer in answers for part in answer.get("parts", ()) if "picture" in part):
            part["picture"] = _kept_picture(room, part["picture"], draft / "pictures")
        text = "".join(json.dumps(answer) + "\n" for answer in answers)
        (draft / ASKED).write_text(text, encoding="utf-8")
        if kept.exists():
            shutil.rmtree(kept)  # without its prompts: what an interrupted removal left
        os.replace(draft, kept)


def _kept_picture(room: Path, file: str, folder: Path) -> str:
    """Keep a picture of the room in a folder under its digest; the name there."""
    path = (room / file).resolve()
    if not path.is_relative_to(room.resolve()):
        raise UserError(f"the library names a picture outside its folder ({path}): install it again")
    content = path.read_bytes()
    name = f"{hashlib.sha256(content).hexdigest()[:32]}.png"
    if not (folder / name).exists():
        (folder / name).write_bytes(content)
    return name


def _question(form: Form, item: Item, asked: Row, kept: Path, opened: Callable[[Path, str], Any]) -> Question:
    """An item with the library's prompt: earlier turns, or texts and pictures in their order."""
    turns = [(str(role), str(text)) for role, text in asked.get("turns", ())]
    text, files = (turns.pop()[1], []) if turns else _said(asked["parts"])
    return Question(
        id=item.id,
        question=text,
        answers=(item.answer,),
        images=tuple(partial(opened, kept / "pictures" / file, item.id) for file in files),
        group=files[0] if files else item.id,
        turns=tuple(turns),
        row={name: value for name, value in item.row.items() if name != "image"},
    )


def _said(parts: Sequence[Mapping[str, str]]) -> tuple[str, list[str]]:
    """A prompt's text with a mark where each picture stands, and the pictures' files; a mark in the data is text."""
    text, files = "", []
    for part in parts:
        if "picture" in part:
            files.append(part["picture"])
            text += f"<image {len(files)}>"
        else:
            text += _MARK.sub("<image  ", part["text"])
    return text, files


def marks(form: Form, examples: Sequence[Example], replies: Sequence[Reply]) -> list[Mark]:
    """The library's marks of replies to its own questions; what it could not read is malformed and worth 0."""
    rows: list[Row] = []
    for example, reply in zip(examples, replies, strict=True):
        if not isinstance(example, Question) or reply.example != example.id:
            raise UserError(
                f"the replies of {example.id} are to other items than {form.library.package} asked: ask again"
            )
        rows.append({**example.row, "reply": reply.text})
    with tempfile.TemporaryDirectory(prefix="room-") as name:
        found = {row["key"]: row for row in call(form.library, "score", rows, Path(name), **form.more)}
    if set(found) != {row[form.key] for row in rows}:
        raise UserError(f"{form.library.package} marked other items than it was given: install it again")
    made = []
    for example, row in zip(examples, rows, strict=True):
        read, score = found[row[form.key]]["read"], found[row[form.key]]["score"]
        made.append(Mark(example=example.id, read=read, score=score if read is not None else 0.0))
    return made


__all__ = ["Form", "Item", "Question", "marks", "questions"]
