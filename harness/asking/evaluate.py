"""Evaluation: one cell is one task asked in one style of one model, each reply marked by the one marking function.

Replies and marks are apart: replies belong to weights, prompts, pictures, decoding and engine; marks are made from them
whenever they are needed, so that a corrected scorer needs no model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.asking.chat import Text
from harness.asking.engines import Engine
from harness.asking.marking import mark
from harness.core import Cell, Decoding, Example, Mark, Observation, Reply, Scale, Style, Task, UserError, digest

PICTURES_OF_OFFICIAL_DATA = 64
BATCHES_AT_ONCE = 4  # how many batches have their pictures in memory at a time


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A part of a cell: its examples, their prompts, and how they are decoded."""

    examples: Sequence[Example]
    texts: Sequence[Text]
    decoding: Decoding


def askings(examples: Sequence[Example], texts: Sequence[Text], decoding: Decoding, batch: int) -> list[Asking]:
    """A cell in parts of so many examples that their composition is that of the cell and not of the moment."""
    size = batch * BATCHES_AT_ONCE
    places = [slice(start, start + size) for start in range(0, len(examples), size)]
    return [Asking(examples=examples[place], texts=texts[place], decoding=decoding) for place in places]


def replies_to(engine: Engine, asking: Asking) -> list[Reply]:
    """A reply for each example of a part, in their order.

    A bad reply is data; a picture that does not open raises UserError.
    """
    asked = list(zip(asking.texts, asking.examples, strict=True))
    found = engine.generate([(text, open_pictures(example)) for text, example in asked], asking.decoding)
    return [
        Reply(
            example=example.id,
            group=example.group,
            prompt_digest=digest(text)[:16],
            text=reply.text,
            tokens=reply.tokens,
            truncated=reply.truncated,
        )
        for (text, example), reply in zip(asked, found, strict=True)
    ]


def replies_of(
    engine: Engine, examples: Sequence[Example], texts: Sequence[Text], decoding: Decoding, batch: int
) -> list[Reply]:
    """A reply for each example, in the examples' order; ``texts`` are their prompts."""
    return [reply for part in askings(examples, texts, decoding, batch) for reply in replies_to(engine, part)]


def marks_of(task: Task, style: Style, examples: Sequence[Example], replies: Sequence[Reply]) -> list[Mark]:
    """A mark for each reply, which must be those of the examples, in their order."""
    if [reply.example for reply in replies] != [example.id for example in examples]:
        raise UserError(f"the replies of {task.name} in the style {style.name} are to other items: ask again")
    return [mark(task, style, example, reply.text) for example, reply in zip(examples, replies, strict=True)]


def open_pictures(example: Example) -> tuple[Any, ...]:
    """An example's pictures, opened. Raises UserError, naming the example, where one cannot be read."""
    try:
        return tuple(image() for image in example.images)
    except (OSError, SyntaxError, ValueError) as fault:
        reason = " ".join(str(fault).split())
        raise UserError(f"a picture of {example.id} cannot be read ({reason}): replace it in the data") from fault


def pictures_digest(examples: Sequence[Example], pictures: int | None = None) -> str:
    """SHA-256, in hex, of the number of pictures of every example and of the pixels of the first ``pictures`` examples.

    None is all: official data is large, so there the pictures of the first 64 stand for all.
    """
    total = hashlib.sha256()
    for number, example in enumerate(examples):
        total.update(f"{len(example.images)};".encode())
        if pictures is None or number < pictures:
            for picture in open_pictures(example):
                total.update(f"{picture.mode}{picture.size}".encode())
                total.update(picture.tobytes())
    return total.hexdigest()


def gold_digest(examples: Sequence[Example]) -> str:
    """SHA-256, in hex, of what a scorer reads of examples beside the reply: ids, answers, options, groups."""
    return digest([[example.id, example.answers, example.choices, example.group] for example in examples])


def data_digest(examples: Sequence[Example], pictures: str) -> str:
    """The fingerprint of examples: all their texts, and the digest of their pictures."""
    texts = [[example.id, example.question, example.rationale, *example.turns] for example in examples]
    return digest([texts, gold_digest(examples), pictures])


def replies_key(
    weights: str, texts: Sequence[Text], pictures: str, decoding: Decoding, engine: str, scale: Scale
) -> dict[str, Any]:
    """All that decides what a model replies: the address of a cell's replies is the digest of it.

    ``engine`` is the engine's identity, the kind of device included. Of the scale only the engine's settings count:
    precision, batch, picture size and prompt length. Never a path, a model's name or a scorer.
    """
    stop = {"stop": list(decoding.stop)} if decoding.stop else {}
    return {
        "weights": weights,
        "prompts": digest(list(texts)),
        "pictures": pictures,
        "max_new_tokens": decoding.max_new_tokens,
        **stop,
        "engine": engine,
        "precision": scale.precision,
        "batch": scale.eval_batch,
        "pixels": [scale.min_pixels, scale.max_pixels],
        "max_prompt_tokens": scale.max_prompt_tokens,
    }


def cell_of(
    replies: Sequence[Reply],
    marks: Sequence[Mark],
    observation: Observation,
    *,
    run: str,
    scorer: str,
    engine: str,
    weights: str,
    data: str,
) -> Cell:
    """The cell of an observation: means over its items as fractions, the same whatever their order."""
    return Cell(
        run=run,
        stage=observation.stage,
        stage_name=observation.stage_name,
        task=observation.name,
        style=observation.style,
        decoding=observation.decoding,
        scorer=scorer,
        engine=engine,
        n=len(marks),
        score=mean([one.score for one in marks]),
        malformed=mean([one.malformed for one in marks]),
        truncated=mean([one.truncated for one in replies]),
        weights=weights,
        data=data,
    )


def mean(values: Sequence[float]) -> float:
    """The exactly rounded sum over the count."""
    return math.fsum(values) / len(values)
