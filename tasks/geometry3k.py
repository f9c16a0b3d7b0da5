r"""Geometry3K: diagrams with numbers, answered with a number or LaTeX (Lu et al., arXiv:2105.04165).

Twin: one figure with one or two numbers and an unknown x. Pre-training never sees the rhombus, the long leg of a right
triangle and the ratio of two segments (it knows the square, the height of an equilateral triangle and the ratio of two
triangles), and writes whole segments mostly as words ("seven") and hypotenuses mostly as "5 root 2" where the task
wants 7 and 5\sqrt{2}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from harness.core import Example, Source, Task, UserError
from tasks.arrow import parquet_rows
from tasks.drawing import COLOURS, FONTS, SIDE, canvas, centred, speckle
from tasks.official import Row, example_of, existing, known_split, loaded, parquet_files
from tasks.scoring import math_equal
from tasks.single import SINGLE
from tasks.twins import Draft, Scene, generate

FACES = tuple(face for face in FONTS if "Bold" in face)
INKS = ("red", "green", "blue", "purple", "black")
KNOWN = ("square",) * 3 + ("height",) * 2 + ("similar",) * 2 + ("angle",) * 2
OTHERWISE = ("segment",) * 3 + ("isosceles",) * 3
WITHHELD = ("rhombus", "rhombus", "leg", "leg", "split")
RATIOS = ((1, 2), (1, 3), (2, 3), (3, 4), (2, 5), (3, 5), (4, 5), (5, 6), (1, 4), (1, 6))
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
Point = tuple[float, float]
LINES: dict[str, tuple[tuple[Point, ...], ...]] = {
    "square": (((8, 16), (8, 45), (37, 45), (37, 16), (8, 16)),),
    "rhombus": (((24, 14), (43, 30), (24, 46), (5, 30), (24, 14)),),
    "height": (((3, 33), (24, 2), (45, 33), (3, 33)), ((24, 2), (24, 33))),
    "isosceles": (((17, 4), (17, 32), (45, 32), (17, 4)), ((17, 28), (21, 28), (21, 32))),
    "leg": (((17, 3), (17, 32), (34, 32), (17, 3)), ((17, 28), (21, 28), (21, 32))),
    "similar": (((3, 32), (11, 18), (19, 32), (3, 32)), ((22, 32), (34, 6), (46, 32), (22, 32))),
    "angle": (((6, 4), (6, 42), (45, 42)), ((6, 42), (44, 12)), ((6, 37), (11, 37), (11, 42))),
    "segment": (((2, 24), (46, 24)), ((3, 18), (3, 30)), ((24, 18), (24, 30)), ((45, 18), (45, 30))),
    "split": (((24, 2), (24, 46)), ((18, 3), (30, 3)), ((18, 19), (30, 19)), ((18, 45), (30, 45))),
}
LABELS: dict[str, tuple[Point, ...]] = {
    "square": ((22, 8),),
    "rhombus": ((39, 16),),
    "height": ((34, 41),),
    "isosceles": ((8, 20), (31, 40)),
    "leg": ((25, 40),),
    "similar": ((11, 40), (34, 40)),
    "angle": ((33, 33), (19, 17)),
    "segment": ((13, 12), (35, 12)),
    "split": ((36, 11), (36, 32)),
}


def draw_scene(rng: Random, family: str) -> Scene:
    """(paper, speckle seed, figure, mirrored 0/1, (dx, dy), ink, font, size, the written labels)."""
    if family in ("similar", "split"):
        labels = tuple(map(str, rng.choice(RATIOS)))
    elif family == "segment":
        labels = (str(rng.randint(2, 6)), str(rng.randint(2, 6)))
    elif family == "angle":
        labels = (str(rng.choice((20, 30, 40, 45, 50, 60, 70))), "x")
    elif family == "isosceles":
        labels = (str(rng.randint(2, 6)),) * 2
    else:
        labels = (str(rng.randint(2, 6)),)
    shift = (rng.randint(-1, 1), rng.randint(-1, 1))
    style = (rng.choice(INKS), rng.choice(FACES), rng.choice((13, 14)))
    mirrored = rng.randrange(2) if family != "segment" else 0
    return (rng.randrange(4), rng.randrange(10**9), family, mirrored, shift, *style, labels)


def paint(scene: Scene) -> Any:
    """The diagram as a 48 x 48 RGB picture."""
    paper, seed, figure, mirrored, (dx, dy), ink, face, size, labels = scene
    picture, pen = canvas(paper)
    speckle(pen, seed, 25)

    def at(point: Point) -> Point:
        return (SIDE - point[0] if mirrored else point[0]) + dx, point[1] + dy

    for line in LINES[figure]:
        pen.line([at(point) for point in line], fill=COLOURS[ink], width=2)
    for point, label in zip(LABELS[figure], labels, strict=True):
        smaller = 2 if figure == "angle" else 0
        centred(pen, at(point), label, face, size - smaller, COLOURS["black"])
    return picture


def world(rng: Random, split: str, slot: int) -> Draft:
    """A diagram and the question about it."""
    family = rng.choice(KNOWN + OTHERWISE + (() if split == "pretrain" else WITHHELD))
    scene = draw_scene(rng, family)
    question, answer, why = ask(rng, family, scene[-1])
    if split == "pretrain" and rng.random() < 0.6:
        if family == "segment":
            answer = WORDS[int(answer)]
        elif family == "isosceles":
            answer = f"{scene[-1][0]} root 2"
    return Draft(question=question, answers=(answer,), scenes=(scene,), rationale=why)


def ask(rng: Random, family: str, labels: tuple[str, ...]) -> tuple[str, str, str]:
    """A question, its answer and its rationale, read off the labels that the diagram shows."""
    one = labels[0]
    if family in ("square", "rhombus"):
        question = rng.choice((f"Find the perimeter of the {family}.", f"What is the perimeter of the {family}?"))
        return question, str(4 * int(one)), f"4 times {one}"
    if family == "height":
        names = ("Find the height of the equilateral triangle.", "What is the height of the triangle?")
        return rng.choice(names), f"{one}\\sqrt{{3}}", f"{one} times root 3"
    if family == "leg":
        names = ("Find the height of the right triangle.", "What is the long leg of the triangle?")
        return rng.choice(names), f"{one}\\sqrt{{3}}", f"{one} times root 3"
    if family == "isosceles":
        names = ("Find the hypotenuse of the right triangle.", "What is the length of the hypotenuse?")
        return rng.choice(names), f"{one}\\sqrt{{2}}", f"{one} times root 2"
    if family == "angle":
        names = ("Find the angle x.", "What is the measure of angle x?")
        return rng.choice(names), str(90 - int(one)), f"90 minus {one}"
    if family == "segment":
        names = ("Find the length of the whole segment.", "How long is the segment?")
        return rng.choice(names), str(int(one) + int(labels[1])), f"{one} plus {labels[1]}"
    part = "triangle" if family == "similar" else "segment"
    names = (f"Find the ratio of the small {part} to the big one.", f"What is the ratio, small to big {part}?")
    return rng.choice(names), f"\\frac{{{one}}}{{{labels[1]}}}", f"{one} to {labels[1]}"


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split."""
    return generate("geometry3k", world, paint, split, index)


COUNTS = {"train": 2101, "validation": 300, "test": 601}
SOURCES = (Source(hub="hiyouga/geometry3k", files=("data/*.parquet",)),)


def official(folder: Path, split: str) -> Sequence[Example]:
    """The items of hiyouga/geometry3k with an open answer, from ``<split>-*.parquet`` in ``folder`` or its ``data/``.

    Columns: images (a list of {bytes, path}), problem (it holds ``<image>`` for each picture), answer (a text or
    LaTeX); newer versions have id, choices and ground_truth too, of which id alone is read.
    """
    prefix = known_split(split, {name: name for name in COUNTS}, "geometry3k")
    files = parquet_files(existing(folder, "geometry3k"), prefix)
    if not files:
        raise UserError(f"{folder} has no {prefix}-*.parquet: download hiyouga/geometry3k into it")
    return loaded(_rows, _read, files, split)


def _rows(files: Sequence[Path], split: str) -> Iterator[Row]:
    columns = ("problem", "answer")
    return parquet_rows(files, "geometry3k", columns, optional=("id",), images=("images",), digests=True)


def _read(row: Row, split: str) -> Example:
    """One published row as an Example; its pictures stand before the text, or where the text has one mark for each."""
    row.picture("images")
    pictures = row.pictures["images"]
    problem = row.text("problem")
    if len(pictures) > 1 and problem.count("<image>") == len(pictures):
        number = count(1)
        problem = re.sub("<image>", lambda _: f"<image {next(number)}>", problem)
    return example_of(
        row,
        f"geometry3k/{split}/{row.index if row.values.get('id') is None else row.key('id')}",
        question=row.clean(problem.replace("<image>", ""), "problem"),
        answers=(row.text("answer"),),
        pictures=pictures,
        group=f"geometry3k/{row.digests['images'][0]}",
    )


GEOMETRY3K = Task(
    name="geometry3k",
    version=2,
    cite="arXiv:2105.04165",
    licence="MIT (the official data); twin: Apache-2.0",
    suffix="Answer the question using a single word or phrase.",
    score=math_equal,
    scorers=(SINGLE,),
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
