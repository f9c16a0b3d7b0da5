"""How other frameworks read training data: the columns of a row, and where its pictures are.

| format | file | prompt | reply | gold answer | pictures | its reader |
|---|---|---|---|---|---|---|
| llamafactory | jsonl, dataset_info.json | messages | messages | - | files | llamafactory 0.9.5, data/converter.py |
| easyr1 | parquet | problem | - | answer | bytes | github.com/hiyouga/EasyR1, verl/utils/dataset.py |
| ms-swift | jsonl | messages | messages | solution | files | ms-swift 4.6, docs Customization/Custom-dataset |
| trl | parquet | prompt | completion | solution | bytes | trl 1.16, docs dataset_formats (prompt-completion) |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.asking.chat import literal, messages
from harness.core import Example, Style, Task, UserError
from harness.values import cut

Row = dict[str, Any]
TAG = "<image>"  # a picture's place in a text; the same words inside a question are written apart, see ``literal``


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One presentation: the chat's parts before the reply, the reply that SFT learns, and the gold answer."""

    task: str
    id: str
    parts: tuple[Mapping[str, str], ...]
    reply: str
    answer: str

    @property
    def tagged(self) -> str:
        """The prompt as one text, with a tag in each picture's place."""
        return "".join(TAG if part["type"] == "image" else part["text"] for part in self.parts)


def entry_of(style: Style, task: Task, example: Example) -> Entry:
    """A task's example as a style asks and writes it. Special tokens inside its texts are text."""
    (turn,) = messages(style.ask(task, example), len(example.images))
    reply = style.write(example.answers[0], example.rationale)
    return Entry(
        task=task.name,
        id=example.id,
        parts=tuple(turn["content"]),
        reply=literal(reply),
        answer=example.answers[0],
    )


def nothing_about(split: str) -> Mapping[str, Any]:
    """No further files."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Format:
    """A framework's format: a row of an entry and its pictures, which are names of files, or bytes in ``parquet``.

    ``about(split)`` gives further files by their names, as JSON types.
    """

    name: str
    row: Callable[[Entry, Sequence[Any]], Row]
    parquet: bool = False
    about: Callable[[str], Mapping[str, Any]] = nothing_about

    def file(self, split: str) -> str:
        """The name of a split's file."""
        return f"{split}.parquet" if self.parquet else f"{split}.jsonl"


def dialogue(entry: Entry) -> list[dict[str, str]]:
    """The two turns, with a tag in each picture's place."""
    return [{"role": "user", "content": entry.tagged}, {"role": "assistant", "content": entry.reply}]


def llamafactory_row(entry: Entry, pictures: Sequence[Any]) -> Row:
    """LLaMA-Factory's "sharegpt" row."""
    return {"task": entry.task, "id": entry.id, "messages": dialogue(entry), "images": list(pictures)}


def llamafactory_info(split: str) -> Mapping[str, Any]:
    """The file that names LLaMA-Factory's data sets: one, called as the split is."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    entry = {"file_name": f"{split}.jsonl", "formatting": "sharegpt", "columns": columns, "tags": tags}
    return {"dataset_info.json": {split: entry}}


def swift_row(entry: Entry, pictures: Sequence[Any]) -> Row:
    """ms-swift's row; its GRPO takes the last turn away and hands ``solution`` to the reward."""
    return {**llamafactory_row(entry, pictures), "solution": entry.answer}


def easyr1_row(entry: Entry, pictures: Sequence[Any]) -> Row:
    """EasyR1's row, with ``data.prompt_key=problem``, ``answer_key=answer`` and ``image_key=images``."""
    return {
        "task": entry.task, "id": entry.id, "problem": entry.tagged, "answer": entry.answer, "images": list(pictures)
    }  # fmt: skip


def trl_row(entry: Entry, pictures: Sequence[Any]) -> Row:
    """TRL's prompt-completion row; its GRPO leaves ``completion`` alone and hands ``solution`` to the reward."""
    return {
        "task": entry.task,
        "id": entry.id,
        "prompt": [{"role": "user", "content": [{"text": None, **part} for part in entry.parts]}],
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": entry.reply}]}],
        "images": list(pictures),
        "solution": entry.answer,
    }


FORMATS = {
    form.name: form
    for form in (
        Format(name="llamafactory", row=llamafactory_row, about=llamafactory_info),
        Format(name="easyr1", row=easyr1_row, parquet=True),
        Format(name="ms-swift", row=swift_row),
        Format(name="trl", row=trl_row, parquet=True),
    )
}


def format_of(name: str) -> Format:
    """The format of this name. Raises UserError where there is none."""
    if name not in FORMATS:
        raise UserError(f"unknown format {cut(repr(name), 40)}: use one of {', '.join(FORMATS)}")
    return FORMATS[name]


__all__ = ["FORMATS", "Entry", "Format", "entry_of", "format_of"]
