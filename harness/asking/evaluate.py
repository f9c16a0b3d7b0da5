"""Evaluation: one cell is one task asked in one style of one model, each reply marked by the one marking function."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from harness.asking.engines import Engine
from harness.asking.marking import mark
from harness.core import Cell, Decoding, Example, Row, Scale, Style, Task, UserError, digest

PICTURES_OF_OFFICIAL_DATA = 64


def evaluate_cell(
    engine: Engine, task: Task, examples: Sequence[Example], style: Style, decoding: Decoding, batch: int
) -> list[Row]:
    """A marked row for each example, in the examples' order.

    Batches are ``batch`` consecutive examples, so their composition is that of the cell and not of the moment. A bad
    reply is a row; a picture that does not open raises UserError.
    """
    rows = []
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        texts = [style.ask(task, example) for example in part]
        prompts = [(text, open_pictures(example)) for text, example in zip(texts, part, strict=True)]
        for text, example, reply in zip(texts, part, engine.generate(prompts, decoding), strict=True):
            marked = mark(task, style, example, reply.text)
            rows.append(
                Row(
                    example=example.id,
                    group=example.group,
                    prompt_digest=digest(text)[:16],
                    reply=reply.text,
                    read=marked.read,
                    score=float(marked.score),
                    malformed=marked.read is None,
                    truncated=reply.truncated,
                    tokens=reply.tokens,
                )
            )
    return rows


def open_pictures(example: Example) -> tuple[Any, ...]:
    """An example's pictures, opened. Raises UserError, naming the example, where one cannot be read."""
    try:
        return tuple(image() for image in example.images)
    except (OSError, SyntaxError, ValueError) as fault:
        reason = " ".join(str(fault).split())
        raise UserError(f"a picture of {example.id} cannot be read ({reason}): replace it in the data") from fault


def fingerprint(examples: Sequence[Example], pictures: int | None = None) -> str:
    """SHA-256, in hex, of every text field of every example and of the pixels of their pictures.

    With ``pictures``, pixels count for the first so many examples only: official data is large, so there the pictures
    of the first 64 stand for all.
    """
    total = hashlib.sha256()
    for number, example in enumerate(examples):
        texts = [example.id, example.question, example.answers, example.choices, example.group, example.rationale]
        total.update(digest([*texts, len(example.images)]).encode())
        if pictures is None or number < pictures:
            for picture in open_pictures(example):
                total.update(f"{picture.mode}{picture.size}".encode())
                total.update(picture.tobytes())
    return total.hexdigest()


def scorer_name(task: Task) -> str:
    """The scorer's part of a cell's identity: the scoring function and the task's version."""
    return f"{task.score.__name__}-v{task.version}"


def rows_key(
    weights: str, task: Task, examples: Sequence[Example], data: str, style: Style, decoding: Decoding, scale: Scale
) -> str:
    """The address of a cell's rows: digest of the weights and of all else that decides a reply and its mark.

    Beside task, data, style, decoding, scorer and prompts these are the engine's settings: precision, batch, picture
    size and prompt length. Never a path or a model's name.
    """
    prompts = digest([style.ask(task, example) for example in examples])
    engine = [scale.precision, scale.eval_batch, scale.min_pixels, scale.max_pixels, scale.max_prompt_tokens]
    return digest([weights, task.name, task.version, data, style, decoding, scorer_name(task), prompts, engine])[:32]


def summarise(
    rows: Sequence[Row],
    *,
    run: str,
    stage: int,
    stage_name: str,
    task: Task,
    style: Style,
    decoding: Decoding,
    weights: str,
    data: str,
) -> Cell:
    """The cell of some rows: means over the rows as fractions, the same whatever the rows' order."""
    n = len(rows)
    return Cell(
        run=run,
        stage=stage,
        stage_name=stage_name,
        task=task.name,
        style=style.name,
        decoding=decoding.name,
        scorer=scorer_name(task),
        n=n,
        score=mean([row.score for row in rows]),
        malformed=mean([row.malformed for row in rows]),
        truncated=mean([row.truncated for row in rows]),
        weights=weights,
        data=data,
    )


def mean(values: Sequence[float]) -> float:
    """The exactly rounded sum over the count."""
    return math.fsum(values) / len(values)
