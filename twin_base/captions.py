"""Dense lessons for pre-training: describe a picture, look things up in it, look letters of options up.

A question pays for one fact of a picture, these pay for all of them: the vision tower learns to see from descriptions,
and attention learns to search, in pictures and in text, from look-ups. Nothing here asks a task's question or shows how
it writes an answer.
"""

from __future__ import annotations

from random import Random
from typing import Any

from harness.core import Example
from tasks.drawing import COLOURS
from tasks.twins import Scene

DESCRIBE = "Describe the picture."
LOOK_UP = "Name the colors of "
LETTERS = "Name the letters."
ONE_LETTER = "Name the letter of"
LOOK_UP_SHARE = 0.5
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")


def lesson(task: str, example: Example) -> tuple[str, str]:
    """(prompt, reply) of a dense lesson on an item with a picture: a look-up in it, or its description."""
    rng = Random(example.id)
    scenes = [opener.args[0] for opener in example.images]  # type: ignore[attr-defined]
    found = coloured(task, scenes[0]) if len(scenes) == 1 else {}
    if len(found) > 1 and rng.random() < LOOK_UP_SHARE:
        asked = rng.sample(sorted(found), len(found))
        return LOOK_UP + " , ".join(asked), "the " + " , the ".join(f"{thing} is {found[thing]}" for thing in asked)
    return DESCRIBE, " ; ".join(CAPTIONS[task](scene) for scene in scenes)


def letters(example: Example) -> tuple[str, str]:
    """A look-up among an item's own options, or among colours: the letter of one of them, or all in a drawn order.

    Where all are asked, the order stays out of the prompt: named there too, each option would be found in two places,
    and the look-up takes several times as long to learn.
    """
    rng = Random(f"{example.id} letters")
    words = example.choices if example.choices and rng.random() < 0.5 else tuple(COLOURS)
    options = rng.sample(words, min(len(words), rng.randint(2, 5)))
    lines = [f"{chr(65 + n)}. {option}" for n, option in enumerate(options)]
    order = rng.sample(range(len(options)), len(options))
    if rng.random() < 0.5:
        return "\n".join([f"{ONE_LETTER} {options[order[0]]}", *lines]), chr(65 + order[0])
    return "\n".join([LETTERS, *lines]), "so " + " , ".join(f"{options[n]} is {chr(65 + n)}" for n in order)


def coloured(task: str, scene: Scene) -> dict[str, str]:
    """The things of a scene that are the only ones of their name, with their colours."""
    if task in ("gqa", "pope"):
        things = [(toy, colour) for _, toy, colour, *_ in scene[-1]]
    elif task == "super-clevr":
        things = [(kind, colour) for kind, colour, *_ in scene[2]]
    elif task == "mmmu" and scene[0] == "toys":
        things = [(toy, colour) for _, toy, colour, *_ in scene[3]]
    elif task == "textvqa" and scene[0] == "pair":
        things = [(scene[3], scene[5]), (scene[4], scene[6])]
    else:
        things = []
    names = [name for name, _ in things]
    return {name: colour for name, colour in things if names.count(name) == 1}


def scienceqa(scene: Scene) -> str:
    """What a drawing of ScienceQA shows."""
    kind, _, _, *things = scene
    if kind == "magnets":
        upright, poles = things[:2]
        return f"magnets {'down' if upright else 'across'} {' '.join(poles)}"
    if kind == "flask":
        return f"the flask is {things[0]} , the block is {things[1]} on the {'right' if things[2] else 'left'}"
    if kind == "balance":
        low, high = things[:2] if things[2] else things[1::-1]
        return f"left {things[0]} , right {things[1]} , {low} is lower , {high} is higher"
    if kind == "chain":
        return f"upper {things[0]} , lower {things[1]} , the arrow points {'down' if things[2] else 'up'}"
    if kind == "warm":
        order = sorted(zip(things[1], things[0], strict=True), reverse=True)
        return f"{' '.join(things[0])} , highest to lowest {' '.join(colour for _, colour in order)}"
    towns = things[0]
    down = " ".join(town[0] for town in sorted(towns, key=lambda town: town[2]))
    across = " ".join(town[0] for town in sorted(towns, key=lambda town: town[1]))
    return f"towns top to bottom {down} , left to right {across}"


def textvqa(scene: Scene) -> str:
    """What stands written, and on what."""
    kind, _, _, *things = scene
    if kind == "sign":
        return f"a {things[1]} sign says {things[0]}"
    if kind == "pair":
        return f"a {things[2]} sign says {things[0]} , a {things[3]} sign says {things[1]}"
    return f"a {things[1]} {'tag' if kind == 'price' else kind} says {things[0]}"


def vizwiz(scene: Scene) -> str:
    """The thing on a photo, or why it cannot be seen."""
    from tasks.vizwiz import LABELLED, SPOILT

    _, _, thing, colour, tint, text, _, _, mode, *_ = scene
    if mode != "good":
        return f"the picture is {SPOILT[mode]}"
    if thing == "bill":
        return f"a bill says {text}"
    return f"a {colour} {thing}" + (f" , a {tint} label says {text}" if thing in LABELLED else "")


def gqa(scene: Scene) -> str:
    """Each toy with its place and colour, in reading order."""
    things = sorted(scene[-1])
    return " , ".join(
        f"{ROWS[2 * (place // 2)]} {COLUMNS[2 * (place % 2)]} {tone} {toy}" for place, toy, tone, *_ in things
    )


def geometry3k(scene: Scene) -> str:
    """The written labels, from the figure's first to its last."""
    return f"the labels are {' and '.join(scene[-1])}"


def pathvqa(scene: Scene) -> str:
    """Stain, finding and its side."""
    stain, _, _, (finding, place, *_), _ = scene
    return f"{stain} tissue , {COLUMNS[place]} {finding}"


def super_clevr(scene: Scene) -> str:
    """Each vehicle, in reading order of the 3 x 3 grid."""
    cells = sorted((round((y - 8) / 16), round((x - 8) / 16), kind, tone, big) for kind, tone, big, x, y in scene[2])
    return " , ".join(
        f"{ROWS[row]} {COLUMNS[column]} {'big' if big else 'small'} {tone} {kind}"
        for row, column, kind, tone, big in cells
    )


def mmmu(scene: Scene) -> str:
    """A chart's bars, a clock's hour, or toys from left to right."""
    kind, _, _, *content = scene
    if kind == "bars":
        order = sorted(content[0], key=lambda bar: -bar[1])
        return f"bars {' '.join(bar[0] for bar in content[0])} , highest to lowest {' '.join(bar[0] for bar in order)}"
    if kind == "clock":
        return f"a {content[1]} clock shows {content[0]}"
    return " , ".join(f"{tone} {toy}" for _, toy, tone, *_ in content[0])


CAPTIONS: dict[str, Any] = {
    "scienceqa": scienceqa,
    "textvqa": textvqa,
    "vizwiz": vizwiz,
    "gqa": gqa,
    "geometry3k": geometry3k,
    "pathvqa": pathvqa,
    "super-clevr": super_clevr,
    "mmmu": mmmu,
    "pope": gqa,
}
