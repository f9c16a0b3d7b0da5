"""Super-CLEVR: counting and comparing vehicles (Li et al., arXiv:2212.00259).

Twin: two to five vehicles on a 3 x 3 grid, each big or small. Pre-training never sees the questions "more" (are there
more cars than bikes?) and "big" (how many are big?), and writes the count of a colour mostly as "2 vehicles"
where the task wants the bare number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.core import Example, Source, Task, UserError
from tasks.arrow import parquet_rows
from tasks.drawing import COLOURS, canvas, speckle
from tasks.official import (
    Row,
    carved,
    example_of,
    existing,
    known_split,
    loaded,
    order_of,
    parquet_files,
    train_or_validation,
)
from tasks.scoring import clevr_match
from tasks.single import SINGLE
from tasks.twins import Draft, Scene, generate

VEHICLES = {"car": "cars", "bus": "buses", "bike": "bikes", "plane": "planes"}
PALETTE = ("red", "green", "blue", "yellow", "purple")
SIZES = ("small", "big")
KNOWN = ("kind", "kind", "kind", "exists", "exists", "color", "color", "which", "size")
WITH_UNIT = ("shade",) * 6
WITHHELD = ("more", "more", "more", "big", "big")
GLASS, TYRE = (225, 240, 250), (20, 20, 20)


def draw_scene(rng: Random) -> Scene:
    """(paper, speckle seed, ((vehicle, colour, big 0/1, x, y), ...)) from two or three kinds and as many colours."""
    kinds = rng.sample(sorted(VEHICLES), rng.choice((2, 3)))
    shades = rng.sample(PALETTE, rng.choice((2, 3)))
    things = []
    for cell in rng.sample(range(9), rng.choice((2, 3, 4, 4, 5))):
        x, y = 8 + 16 * (cell % 3), 8 + 16 * (cell // 3)
        spot = (x + rng.randint(-1, 1), y + rng.randint(-1, 1))
        things.append((rng.choice(kinds), rng.choice(shades), rng.randrange(2), *spot))
    return (rng.randrange(4), rng.randrange(10**9), tuple(things))


def paint(scene: Scene) -> Any:
    """The scene as a 48 x 48 RGB picture."""
    paper, seed, things = scene
    picture, pen = canvas(paper)
    speckle(pen, seed, 25)
    for kind, colour, big, x, y in things:
        vehicle(pen, kind, COLOURS[colour], (x, y), 6.8 if big else 4.4)
    return picture


def vehicle(pen: Any, kind: str, fill: tuple[int, int, int], xy: tuple[float, float], r: float) -> None:
    """A car, bus, bike or plane of half-width ``r`` around ``xy``, in pixels."""
    x, y = xy
    if kind == "bike":
        thick = 2 if r > 6 else 1
        for side in (-1, 1):
            wheel = x + side * r * 0.55
            pen.ellipse((wheel - r * 0.5, y - r * 0.1, wheel + r * 0.5, y + r * 0.9), outline=fill, width=thick)
        pen.line((x - r * 0.5, y + r * 0.3, x, y - r * 0.5, x + r * 0.5, y + r * 0.3), fill=fill, width=thick)
        pen.line((x, y - r * 0.5, x + r * 0.5, y - r * 0.8), fill=fill, width=thick)
    elif kind == "plane":
        pen.ellipse((x - r * 0.25, y - r, x + r * 0.25, y + r), fill=fill)
        pen.polygon(((x, y - r * 0.5), (x - r, y + r * 0.35), (x + r, y + r * 0.35)), fill=fill)
        pen.polygon(((x, y + r * 0.4), (x - r * 0.5, y + r), (x + r * 0.5, y + r)), fill=fill)
    else:
        low = y + r * 0.5
        if kind == "car":
            roof = ((x - r * 0.6, y), (x - r * 0.3, y - r * 0.6), (x + r * 0.4, y - r * 0.6), (x + r * 0.7, y))
            pen.polygon(roof, fill=fill)
            pen.rectangle((x - r, y - r * 0.1, x + r, low), fill=fill)
        else:
            pen.rectangle((x - r, y - r, x + r, low), fill=fill)
            for n in (-1, 0, 1):
                left = x + r * (0.6 * n - 0.18)
                pen.rectangle((left, y - r * 0.65, left + r * 0.36, y - r * 0.2), fill=GLASS)
        for side in (-1, 1):
            wheel = x + side * r * 0.55
            pen.ellipse((wheel - r * 0.28, low - r * 0.2, wheel + r * 0.28, low + r * 0.4), fill=TYRE)


def world(rng: Random, split: str, slot: int) -> Draft:
    """A scene and a question about it."""
    family = rng.choice(KNOWN + WITH_UNIT + (() if split == "pretrain" else WITHHELD))
    scene = draw_scene(rng)
    while family in ("which", "color", "size") and not singled_out(family, scene):
        scene = draw_scene(rng)
    if family in ("kind", "shade", "big"):
        question, answer, why = count(rng, family, scene)
        if family == "shade" and split == "pretrain" and rng.random() < 0.6:
            answer = f"{answer} vehicle{'s' * (answer != '1')}"
    elif family in ("exists", "more"):
        question, answer, why = verify(rng, family, scene)
    else:
        question, answer, why = query(rng, family, scene)
    return Draft(question=question, answers=(answer,), scenes=(scene,), rationale=why)


def count(rng: Random, family: str, scene: Scene) -> tuple[str, str, str]:
    """A counting question, its answer in digits and its rationale; the counts asked for are spread, zero included."""
    kinds, shades, sizes = (Counter(thing[n] for thing in scene[2]) for n in range(3))
    if family == "big":
        number = sizes[1]
        question = rng.choice(("How many big vehicles are there?", "How many vehicles are big?"))
        return question, str(number), f"{number} big , {sizes[0]} small"
    found, names = (kinds, sorted(VEHICLES)) if family == "kind" else (shades, list(PALETTE))
    number = rng.choice(sorted({found[name] for name in names} | set(found.values())))
    name = rng.choice([name for name in names if found[name] == number])
    if family == "kind":
        question = rng.choice((f"How many {VEHICLES[name]} are there?", f"Count the {VEHICLES[name]}."))
    else:
        question = rng.choice((f"How many {name} vehicles are there?", f"How many vehicles are {name}?"))
    which = [thing[1] if family == "kind" else thing[0] for thing in scene[2] if name in thing[:2]]
    return question, str(number), " , ".join(which) or f"no {name}"


def verify(rng: Random, family: str, scene: Scene) -> tuple[str, str, str]:
    """A question whose answer is yes as often as no, where the scene allows it."""
    things = {thing[:2] for thing in scene[2]}
    want = rng.random() < 0.5
    if family == "exists":
        near = {(kind, shade) for kind, _ in things for _, shade in things} - things
        far = {(kind, shade) for kind in VEHICLES for shade in PALETTE} - things
        kind, shade = rng.choice(sorted(things if want else (near or far)))
        question = rng.choice((f"Is there a {shade} {kind}?", f"Are there any {shade} {VEHICLES[kind]}?"))
        shades = sorted(own for other, own in things if other == kind)
        return question, "yes" if want else "no", f"the {kind} is {' , '.join(shades)}" if shades else f"no {kind}"
    found = Counter(thing[0] for thing in scene[2])
    pairs = [(a, b) for a in VEHICLES for b in VEHICLES if a != b and found[a] + found[b]]
    pairs = [(a, b) for a, b in pairs if (found[a] > found[b]) == want]
    one, other = rng.choice(pairs)
    less = rng.random() < 0.3
    question = f"Are there {'fewer' if less else 'more'} "
    question += f"{VEHICLES[other]} than {VEHICLES[one]}?" if less else f"{VEHICLES[one]} than {VEHICLES[other]}?"
    return question, "yes" if want else "no", f"{found[one]} {VEHICLES[one]} , {found[other]} {VEHICLES[other]}"


def singled_out(family: str, scene: Scene) -> list[tuple[Any, ...]]:
    """The vehicles that are alone in their kind (in their colour, where the question names the colour)."""
    part = 1 if family == "which" else 0
    seen = Counter(thing[part] for thing in scene[2])
    return sorted(thing for thing in scene[2] if seen[thing[part]] == 1)


def query(rng: Random, family: str, scene: Scene) -> tuple[str, str, str]:
    """A question about a vehicle that its kind, or its colour, singles out."""
    kind, shade, big, *_ = rng.choice(singled_out(family, scene))
    why = f"{SIZES[big]} {shade} {kind}"
    if family == "which":
        return rng.choice((f"Which vehicle is {shade}?", f"What is the {shade} vehicle?")), kind, why
    if family == "color":
        return rng.choice((f"What color is the {kind}?", f"What is the color of the {kind}?")), shade, why
    return rng.choice((f"What size is the {kind}?", f"Is the {kind} big or small?")), SIZES[big], why


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split."""
    return generate("super-clevr", world, paint, split, index)


COUNTS = {"train": 7600, "validation": 400, "test": 642}
CONFIG = "Super-CLEVR(MathV360K)"
SOURCES = (Source(hub="lmms-lab/LLaVA-OneVision-Data", files=(f"{CONFIG}/*.parquet",)),)
# What MathV360K wraps a question and an answer into.
QUESTION = re.compile(r"(?s)\A\s*(?:<image>\s*)*(?:Hint:.*?\n\s*Question:)?(.*?)(?:\n\s*<image>\s*)?\Z")
ANSWER = re.compile(r"(?is)\A\s*(?:(?:the\s+)?answer\s*(?:is\b|:)\s*)?(.*?)\s*\.?\s*\Z")


def official(folder: Path, split: str) -> Sequence[Example]:
    """The slice of MathV360K in lmms-lab/LLaVA-OneVision-Data, from ``train-*.parquet`` in ``folder`` or its config's.

    Columns: id, image {bytes, path}, conversations (a question and its answer as [{from, value}]), whose wrapper
    "Hint: ... Question: ..." is left out. Published is one split of 8,642 items; the paper's 642 test items are not, so
    here they are the pictures that come first in the order of ``tasks.official.carved``, and of the 8,000 others a
    twentieth is validation.
    """
    known_split(split, dict.fromkeys(COUNTS, "train"), "super-clevr")
    files = parquet_files(existing(folder, "super-clevr"), "train", (CONFIG, "data"))
    if not files:
        raise UserError(f"{folder} has no train-*.parquet: download lmms-lab/LLaVA-OneVision-Data, {CONFIG}, into it")
    examples = loaded(_rows, _read, files)
    share = COUNTS["test"] / sum(COUNTS.values())
    rest, test = carved(examples, max(1, round(len(examples) * share)), "super-clevr")
    return test if split == "test" else train_or_validation(rest, split, "super-clevr")


def _rows(files: Sequence[Path]) -> Iterator[Row]:
    return parquet_rows(files, "super-clevr", ("id", "conversations"), digests=True)


def _read(row: Row) -> Example:
    """One published conversation as an Example; several may be about one picture, whose id is theirs."""
    turns = row.values["conversations"]
    if not isinstance(turns, list) or [turn.get("from") for turn in turns if isinstance(turn, dict)] != [
        "human",
        "gpt",
    ]:
        raise row.broken("conversations is no question of a human and answer of gpt: download the file again")
    asked, told = (row.clean(turn.get("value"), "a turn of conversations") for turn in turns)
    question = row.clean(QUESTION.sub(r"\1", asked), "the question")
    return example_of(
        row,
        f"super-clevr/{row.key('id')}/{order_of('super-clevr', question).hex()[:8]}",
        question=question,
        answers=(row.clean(ANSWER.sub(r"\1", told), "the answer"),),
        pictures=(row.picture(),),
        group=f"super-clevr/{row.digests['image'][0]}",
    )


SUPER_CLEVR = Task(
    name="super-clevr",
    version=2,
    cite="arXiv:2212.00259",
    licence="CC BY 4.0 (the official data); twin: Apache-2.0",
    suffix="Answer the question using a single word or phrase.",
    score=clevr_match,
    scorers=(SINGLE,),
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
