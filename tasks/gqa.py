"""GQA: relations and attributes of things in a scene, answered with a word (Hudson & Manning, arXiv:1902.09506).

Twin: two to four toys on a table. Pre-training never sees the questions about "below" and "same color", and writes
sides mostly as "left side" where the task wants "left".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from harness.core import Example, Source, Task, UserError
from tasks.arrow import column_values, parquet_rows
from tasks.drawing import COLOURS, canvas, shape, speckle
from tasks.official import Row, example_of, existing, known_split, loaded, order_of, parquet_files
from tasks.scoring import EXACT, exact_match
from tasks.single import SINGLE
from tasks.twins import Draft, Scene, generate

TOYS = {"ball": "circle", "box": "square", "tent": "triangle", "kite": "diamond", "plus": "cross", "ring": "ring"}
PALETTE = ("red", "green", "blue", "yellow", "purple", "black")
FAMILIES = ("color", "exists", "left", "above", "side", "side", "below", "same")
WITHHELD = ("below", "same")
PLACES = ("top left", "top right", "bottom left", "bottom right")


def draw_scene(rng: Random) -> Scene:
    """(paper, speckle seed, ((place 0..3, toy, colour, x, y, radius), ...)): a toy comes once, a colour often twice."""
    toys = rng.sample(sorted(TOYS), rng.choice((3, 4, 4)))
    places = rng.sample(range(4), len(toys))
    shades = [rng.choice(PALETTE) for _ in toys]
    if rng.random() < 0.8:
        one, other = rng.sample(range(len(toys)), 2)
        shades[one] = shades[other]
    things = []
    for place, toy, shade in zip(places, toys, shades, strict=True):
        x, y = 12 + 24 * (place % 2), 12 + 24 * (place // 2)
        things.append((place, toy, shade, x + rng.randint(-2, 2), y + rng.randint(-2, 2), rng.randint(6, 9)))
    return (rng.randrange(4), rng.randrange(10**9), tuple(things))


def paint(scene: Scene) -> Any:
    """The scene as a 48 x 48 RGB picture."""
    paper, seed, things = scene
    picture, pen = canvas(paper)
    speckle(pen, seed, 25)
    for _, toy, colour, x, y, radius in things:
        shape(pen, TOYS[toy], (x, y), radius, COLOURS[colour])
    return picture


def world(rng: Random, split: str, slot: int) -> Draft:
    """A scene and a question about it."""
    scene = draw_scene(rng)
    colour = {toy: shade for _, toy, shade, *_ in scene[2]}
    place = {toy: where for where, toy, *_ in scene[2]}
    at = {where: toy for toy, where in place.items()}
    toys = sorted(place)
    family = rng.choice([name for name in FAMILIES if split != "pretrain" or name not in WITHHELD])
    toy = rng.choice(toys)
    if family == "color":
        question, answer, why = f"What color is the {toy}?", colour[toy], f"the {toy} is {colour[toy]}"
    elif family == "exists":
        shade = colour[toy] if rng.random() < 0.5 else rng.choice([c for c in PALETTE if c != colour[toy]])
        question, answer = f"Is there a {shade} {toy}?", "yes" if shade == colour[toy] else "no"
        why = f"the {toy} is {colour[toy]}"
    elif family == "side":
        side = "left" if place[toy] % 2 == 0 else "right"
        long = split == "pretrain" and rng.random() < 0.6
        question, answer = f"On which side is the {toy}?", f"{side} side" if long else side
        why = f"the {toy} is {PLACES[place[toy]]}"
    elif family == "same":
        pairs = [(a, b) for a in toys for b in toys if a != b]
        want = rng.random() < 0.5
        toy, other = rng.choice([(a, b) for a, b in pairs if (colour[a] == colour[b]) == want] or pairs)
        question = f"Are the {toy} and the {other} the same color?"
        answer = "yes" if colour[toy] == colour[other] else "no"
        why = f"the {toy} is {colour[toy]} , the {other} is {colour[other]}"
    else:
        step = {"left": -1, "above": -2, "below": 2}[family]
        spots = {name: place[name] + step for name in toys if _beside(place[name], step)}
        pairs = [(name, at[spot]) for name, spot in spots.items() if spot in at]
        if not pairs:
            return world(rng, split, slot)
        toy, answer = rng.choice(pairs)
        question = f"What is to the left of the {toy}?" if family == "left" else f"What is {family} the {toy}?"
        why = f"the {toy} is {PLACES[place[toy]]} , the {answer} is {PLACES[place[answer]]}"
    return Draft(question=question, answers=(answer,), scenes=(scene,), rationale=why)


def _beside(place: int, step: int) -> bool:
    """Whether the place has a neighbour at ``step`` in the 2 x 2 grid."""
    return place % 2 == 1 if step == -1 else 0 <= place + step < 4


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split."""
    return generate("gqa", world, paint, split, index)


PUBLISHED = {"train": "train", "validation": "val", "test": "testdev"}
COUNTS = {"train": 80000, "validation": 132062, "test": 12578}
SOURCES = (
    Source(
        hub="lmms-lab/GQA",
        files=("train_balanced_*/*.parquet", "val_balanced_*/*.parquet", "testdev_balanced_*/*.parquet"),
        note="val_balanced is read by --split validation alone",
    ),
)


def official(folder: Path, split: str) -> Sequence[Example]:
    """The balanced items of lmms-lab/GQA, whose questions and pictures are two configurations, joined on the image id.

    ``<train, val or testdev>_balanced_instructions/``: id, imageId, question, answer. ``..._balanced_images/``: id,
    image {bytes, path}. Test is testdev, as everywhere. Of the 943,000 balanced train questions 80,000 are train, those
    whose ids come first in the order of SHA-256 (the paper's number is inferred, its choice is not published).
    """
    name = known_split(split, PUBLISHED, "gqa")
    kinds = {kind: existing(folder, "gqa") / f"{name}_balanced_{kind}" for kind in ("instructions", "images")}
    found = {kind: parquet_files(place, name, ()) for kind, place in kinds.items()}
    for kind, files in found.items():
        if not files:
            raise UserError(f"{kinds[kind]} has no {name}-*.parquet: download lmms-lab/GQA, {kinds[kind].name}")
    files = (*found["instructions"], *found["images"])
    return loaded(_rows, _read, files, len(found["instructions"]), COUNTS[split] if split == "train" else None)


def _rows(files: Sequence[Path], instructions: int, most: int | None) -> Iterator[Row]:
    """The questions, with the picture of each; the first ``instructions`` files are the questions'."""
    asked, shown = files[:instructions], files[instructions:]
    pictures = {row.values["id"]: row.pictures["image"] for row in parquet_rows(shown, "gqa", ("id",))}
    keep = None
    if most is not None:
        ids = [str(name) for name in column_values(asked, "gqa", "id")]
        keep = ("id", sorted(ids, key=lambda name: order_of("gqa", name))[:most])
    for row in parquet_rows(asked, "gqa", ("id", "imageId", "question", "answer"), images=(), keep=keep):
        yield replace(row, pictures={"image": pictures.get(row.values["imageId"], ())})


def _read(row: Row, instructions: int, most: int | None) -> Example:
    """One published question as an Example."""
    return example_of(
        row,
        f"gqa/{row.key('id')}",
        question=row.text("question"),
        answers=(row.text("answer"),),
        pictures=(row.picture(),),
        group=f"gqa/{row.key('imageId')}",
    )


GQA = Task(
    name="gqa",
    version=2,
    cite="arXiv:1902.09506",
    licence="CC BY 4.0 (the official data); twin: Apache-2.0",
    suffix="Answer the question using a single word or phrase.",
    score=exact_match,
    scorers=(EXACT, SINGLE),
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
