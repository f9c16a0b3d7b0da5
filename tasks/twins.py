"""How a twin's items come to be: deterministic in (split, index), unlimited, with disjoint splits.

A *world* is a function ``world(rng, split, slot) -> Draft``. It first draws its scene from ``rng`` and then asks a
question about it. The splits are disjoint by construction: a hash of the scene (of the question, where there is no
picture) assigns each scene to one split, and a split's generator only keeps its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from harness.core import Example

_SHARES = ("test", "validation", "train", "train", "pretrain", "pretrain", "pretrain", "pretrain")
Scene = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A generated question. ``scenes`` are plain tuples from which the pictures can be painted, again and again.

    ``answers``: gold first. For options, ``choices`` holds their texts and the gold answer is a letter.
    """

    question: str
    answers: tuple[str, ...]
    scenes: tuple[Scene, ...] = ()
    choices: tuple[str, ...] = ()
    rationale: str = ""


World = Callable[[Random, str, int], Draft]


def split_of(draft: Draft) -> str:
    """The split that a draft's scenes (its words, where it has none) belong to."""
    content = repr(draft.scenes or (draft.question, draft.choices))
    return _SHARES[hashlib.sha256(content.encode()).digest()[0] % len(_SHARES)]


def generate(
    name: str, world: World, paint: Callable[[Scene], Any] | None, split: str, index: int, per_picture: int = 1
) -> Example:
    """Item ``index`` of a split; ``per_picture`` consecutive items share one scene and ask different things of it."""
    group, slot = divmod(index, per_picture)
    attempt = 0
    while True:
        draft = world(Random(f"{name}/{split}/{group}/{attempt}"), split, slot)
        if split_of(draft) == split:
            break
        attempt += 1
    return Example(
        id=f"{name}/{split}/{index}",
        question=draft.question,
        answers=draft.answers,
        choices=draft.choices,
        images=tuple(partial(paint, scene) for scene in draft.scenes) if paint else (),
        group=f"{name}/{split}/{group}",
        rationale=draft.rationale,
    )


def lettered(rng: Random, right: str, wrong: list[str]) -> tuple[tuple[str, ...], str]:
    """The options in a drawn order, and the letter of the right one."""
    options = [right, *wrong]
    rng.shuffle(options)
    return tuple(options), chr(65 + options.index(right))
