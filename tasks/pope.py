"""POPE: is a thing in the picture, where random, popular or likely things are asked for (Li et al., arXiv:2305.10355).

Twin: each picture shows three kinds of toys and is asked about all six kinds, so that half of the answers are "yes". Of
the three absent kinds one is a usual companion of a toy in the picture (adversarial), one is the most frequent kind of
the other two (popular), and one is left (random); a question for a toy that is there goes with each. The example's id
names the category. Nothing is withheld from pre-training.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from harness.core import Example, Task
from tasks import gqa
from tasks.breakdowns import presence
from tasks.scoring import yes_no
from tasks.twins import Draft, Scene, generate

CATEGORIES = ("adversarial", "popular", "random")
TEMPLATES = ("Is there a {} in the image?", "Is there a {} in the picture?", "Can you see a {} in the image?")
PER_PICTURE = 6
# The kinds from frequent to rare, how often each is drawn, and who usually comes along.
KINDS = ("ball", "box", "tent", "kite", "plus", "ring")
WEIGHTS = (5, 5, 4, 4, 3, 3)
COMPANIONS = {"ball": "ring", "ring": "ball", "box": "plus", "plus": "box", "tent": "kite", "kite": "tent"}
COMPANY = 0.4


def draw_scene(rng: Random) -> Scene:
    """A scene as GQA's, of three kinds of toys and sometimes a second toy of one kind."""
    kinds = [rng.choices(KINDS, WEIGHTS)[0]]
    while len(kinds) < 3:
        companion = COMPANIONS[kinds[-1]]
        kind = companion if rng.random() < COMPANY else rng.choices(KINDS, WEIGHTS)[0]
        kinds += [kind] if kind not in kinds else []
    toys = [*kinds, rng.choice(kinds)] if rng.random() < 0.3 else kinds
    things = []
    for place, toy in zip(rng.sample(range(4), len(toys)), toys, strict=True):
        x, y = 12 + 24 * (place % 2) + rng.randint(-2, 2), 12 + 24 * (place // 2) + rng.randint(-2, 2)
        things.append((place, toy, rng.choice(gqa.PALETTE), x, y, rng.randint(8, 10)))
    return (rng.randrange(4), rng.randrange(10**9), tuple(things))


def paint(scene: Scene) -> Any:
    """The scene as a 48 x 48 RGB picture."""
    return gqa.paint(scene)


def plan(scene: Scene) -> list[tuple[str, str, str]]:
    """The six (category, toy, answer) of a picture, in an order that the scene fixes."""
    rng = Random(scene[1])
    present = sorted({toy for _, toy, *_ in scene[2]})
    absent = [kind for kind in KINDS if kind not in present]
    likely = rng.choice([kind for kind in absent if COMPANIONS[kind] in present])
    missing = [likely, *(kind for kind in absent if kind != likely)]
    rng.shuffle(present)
    asked = [(category, toy, "yes") for category, toy in zip(CATEGORIES, present, strict=True)]
    asked += [(category, toy, "no") for category, toy in zip(CATEGORIES, missing, strict=True)]
    rng.shuffle(asked)
    return asked


def world(rng: Random, split: str, slot: int) -> Draft:
    """A scene and the question of a slot 0..5 about it."""
    scene = draw_scene(rng)
    _, toy, answer = plan(scene)[slot]
    template = rng.choice(TEMPLATES)
    seen = " , ".join(kind for kind in KINDS if any(kind == name for _, name, *_ in scene[2]))
    return Draft(question=template.format(toy), answers=(answer,), scenes=(scene,), rationale=f"the image shows {seen}")


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split; its id ends in the category."""
    example = generate("pope", world, paint, split, index, per_picture=PER_PICTURE)
    (scene,) = example.images[0].args  # type: ignore[attr-defined]
    return replace(example, id=f"{example.id}/{plan(scene)[index % PER_PICTURE][0]}")


POPE = Task(
    name="pope",
    version=2,
    cite="arXiv:2305.10355",
    licence="MIT (the official data); twin: Apache-2.0",
    suffix="Answer the question using yes or no.",
    score=yes_no,
    breakdown=presence,
    twin=twin,
)
