"""MMMU: college questions over one or several pictures with options (Yue et al., arXiv:2311.16502).

Twin: bar charts, clocks, and toys in one or two pictures. Nothing is withheld from pre-training: a suite measures what
the base already knows.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.core import Example, Source, Task, UserError
from tasks import gqa
from tasks.arrow import parquet_rows
from tasks.drawing import COLOURS, SIDE, canvas, shape, speckle
from tasks.official import Row, example_of, existing, known_split, loaded, parquet_files
from tasks.scoring import option_letter
from tasks.twins import Draft, Scene, generate, lettered

INK = (40, 40, 40)
FAMILIES = ("bars", "bars", "clock", "toy", "color", "color", "mark", "both")
PAIRED = ("mark", "both")


def draw_bars(rng: Random) -> Scene:
    """("bars", paper, speckle seed, ((colour, height), ...)): three bars of clearly different heights."""
    heights = [rng.randint(8, 11), rng.randint(20, 24), rng.randint(33, 38)]
    rng.shuffle(heights)
    bars = tuple(zip(rng.sample(gqa.PALETTE, 3), heights, strict=True))
    return ("bars", rng.randrange(4), rng.randrange(10**9), bars)


def draw_clock(rng: Random) -> Scene:
    """("clock", paper, speckle seed, hour 1..12, colour of the hand, x, y)."""
    place = (24 + rng.randint(-1, 1), 24 + rng.randint(-1, 1))
    return ("clock", rng.randrange(4), rng.randrange(10**9), rng.randint(1, 12), rng.choice(gqa.PALETTE), *place)


def draw_toys(rng: Random, toys: tuple[str, ...], colours: tuple[str, ...]) -> Scene:
    """("toys", paper, speckle seed, ((place, toy, colour, x, y, radius), ...)): one big toy, or two side by side."""
    things = []
    for place, (toy, colour) in enumerate(zip(toys, colours, strict=True)):
        x = SIDE // 2 if len(toys) == 1 else 12 + 24 * place
        radius = rng.randint(13, 18) if len(toys) == 1 else rng.randint(9, 11)
        things.append((place, toy, colour, x + rng.randint(-1, 1), 24 + rng.randint(-4, 4), radius))
    return ("toys", rng.randrange(4), rng.randrange(10**9), tuple(things))


def paint(scene: Scene) -> Any:
    """The scene as a 48 x 48 RGB picture."""
    kind, paper, seed, *content = scene
    if kind == "toys":
        return gqa.paint((paper, seed, *content))
    picture, pen = canvas(paper)
    speckle(pen, seed, 25)
    if kind == "bars":
        for place, (colour, height) in enumerate(content[0]):
            pen.rectangle((3 + 16 * place, 44 - height, 12 + 16 * place, 44), fill=COLOURS[colour])
        pen.line((0, 45, SIDE, 45), fill=INK, width=2)
    elif kind == "clock":
        hour, colour, x, y = content
        turn = math.tau * hour / 12
        pen.ellipse((x - 21, y - 21, x + 21, y + 21), outline=INK, width=2, fill=(255, 255, 255))
        for tick in range(12):
            angle = math.tau * tick / 12
            shape(pen, "circle", (x + 18 * math.sin(angle), y - 18 * math.cos(angle)), 1, INK)
        pen.line((x, y, x + 15 * math.sin(turn), y - 15 * math.cos(turn)), fill=COLOURS[colour], width=5)
        shape(pen, "circle", (x, y), 3, COLOURS[colour])
    else:
        raise ValueError(f"no scene of kind {kind}")
    return picture


def world(rng: Random, split: str, slot: int) -> Draft:
    """A subject, its picture or pictures, and a question with three or four options."""
    family = rng.choice(FAMILIES)
    ask = _ask_pair if family in PAIRED else _ask_chart if family in ("bars", "clock") else _ask_toys
    scenes, question, right, wrong, why = ask(rng, family)
    choices, letter = lettered(rng, right, wrong[: rng.choice((2, 3))])
    rationale = f"{why} , {right} is {letter}"
    return Draft(question=question, answers=(letter,), scenes=scenes, choices=choices, rationale=rationale)


Asked = tuple[tuple[Scene, ...], str, str, list[str], str]


def _ask_chart(rng: Random, family: str) -> Asked:
    """A question about a bar chart or a clock: (scenes, question, right option, wrong options, reason)."""
    if family == "bars":
        scene = draw_bars(rng)
        bars = sorted(scene[3], key=lambda bar: bar[1])
        which, right = rng.choice((("highest", bars[2][0]), ("lowest", bars[0][0]), ("highest", bars[2][0])))
        others = [colour for colour, _ in bars if colour != right]
        spare = rng.choice([colour for colour in gqa.PALETTE if colour not in others and colour != right])
        question = rng.choice((f"Which bar is the {which}?", f"What color is the {which} bar in <image 1> ?"))
        return (scene,), question, right, [*others, spare], f"the {which} bar is {right}"
    scene = draw_clock(rng)
    hour = scene[3]
    far = [other for other in range(1, 13) if 3 <= (other - hour) % 12 <= 9]
    question = rng.choice(("What hour does the clock show?", "Which hour is on the clock in <image 1> ?"))
    return (scene,), question, str(hour), [str(n) for n in rng.sample(far, 3)], f"the clock shows {hour}"


def _ask_toys(rng: Random, family: str) -> Asked:
    """A question about one big toy, or about one of two toys."""
    names = sorted(gqa.TOYS)
    if family == "toy":
        scene = draw_toys(rng, (rng.choice(names),), (rng.choice(gqa.PALETTE),))
        right = scene[3][0][1]
        question = rng.choice(("Which toy is in <image 1> ?", "What is in the picture?"))
        wrong = rng.sample([name for name in names if name != right], 3)
        return (scene,), question, right, wrong, f"the picture shows a {right}"
    toys, colours = rng.sample(names, 2), rng.sample(gqa.PALETTE, 2)
    scene = draw_toys(rng, tuple(toys), tuple(colours))
    at = rng.randrange(2)
    toy, right = toys[at], colours[at]
    question = rng.choice((f"What color is the {toy}?", f"What color is the {toy} in <image 1> ?"))
    wrong = [colours[1 - at], *rng.sample([colour for colour in gqa.PALETTE if colour not in colours], 2)]
    return (scene,), question, right, wrong, f"the {toy} is {right}"


def _ask_pair(rng: Random, family: str) -> Asked:
    """A question about two pictures, which the text marks."""
    names = sorted(gqa.TOYS)
    shades = rng.sample(gqa.PALETTE, 4)
    if family == "mark":
        toy = rng.choice(names)
        scenes = tuple(draw_toys(rng, (toy,), (shade,)) for shade in shades[:2])
        which = rng.randrange(2)
        right, place = shades[which], ("first", "second")[which]
        question = f"See <image 1> and <image 2> . What color is the {place} {toy}?"
        return scenes, question, right, [shades[1 - which], *shades[2:]], f"the {place} {toy} is {right}"
    common, first, second, spare = shades
    scenes = []
    for other in (first, second):
        pair = [common, other]
        rng.shuffle(pair)
        scenes.append(draw_toys(rng, tuple(rng.sample(names, 2)), tuple(pair)))
    question = "Which color is in both <image 1> and <image 2> ?"
    return tuple(scenes), question, common, [first, second, spare], f"both pictures have {common}"


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split."""
    return generate("mmmu", world, paint, split, index)


PUBLISHED = {"validation": "dev", "test": "validation"}
COUNTS = {"validation": 150, "test": 900}
SOURCES = (
    Source(hub="MMMU/MMMU", files=("*/dev-*.parquet", "*/validation-*.parquet"), note="30 subjects"),
    Source(hub="lmms-lab/MMMU", files=("data/dev-*.parquet", "data/validation-*.parquet"), note="the subjects in one"),
)
IMAGES = tuple(f"image_{number}" for number in range(1, 8))
MARK = re.compile(r"<image (\d+)>")


def official(folder: Path, split: str) -> Sequence[Example]:
    """The items of MMMU, from ``folder``, its ``data/`` (lmms-lab/MMMU) or a folder for each subject (MMMU/MMMU).

    Columns: id, question, options (a text that holds a Python list), answer, question_type, image_1 to image_7. Test is
    the official validation split, since the official test has no answers, and validation the official dev. A question
    without options is open: its answer is a text, or several of them.
    """
    prefix = known_split(split, PUBLISHED, "mmmu")
    files = parquet_files(existing(folder, "mmmu"), prefix)
    for place in () if files else sorted(place for place in folder.iterdir() if place.is_dir()):
        files += parquet_files(place, prefix, ())
    if not files:
        raise UserError(f"{folder} has no {prefix}-*.parquet: download MMMU/MMMU or lmms-lab/MMMU into it")
    return loaded(_rows, _read, files)


def _rows(files: Sequence[Path]) -> Iterator[Row]:
    columns = ("id", "question", "options", "answer", "question_type")
    return parquet_rows(files, "mmmu", columns, images=IMAGES, digests=True)


def _read(row: Row) -> Example:
    """One published row as an Example, its pictures numbered as its text first mentions them."""
    kind = row.text("question_type")
    options = row.options(_literal(row, "options")) if kind == "multiple-choice" else ()
    shown = {number: row.pictures[name][0] for number, name in enumerate(IMAGES, start=1) if row.pictures[name]}
    if not shown:
        raise row.broken("there is no picture: download the file again")
    texts, order = renumbered((row.text("question"), *options), tuple(shown))
    return example_of(
        row,
        f"mmmu/{row.key('id')}",
        question=texts[0],
        answers=(row.letter("answer", options),) if options else _open_answers(row),
        choices=texts[1:],
        pictures=[shown[number] for number in order],
        group=f"mmmu/{row.digests[IMAGES[min(shown) - 1]][0]}",
    )


def renumbered(texts: Sequence[str], pictures: Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The texts with marks that count from 1 as they first come, and which picture each number now means.

    Pictures without a mark come first, since they stand before the text. A mark without a picture becomes words.

    >>> renumbered(("Which is like <image 1>?", "<image 3>", "<image 2>", "<image 9>"), (1, 2, 3, 4))
    (('Which is like <image 2>?', '<image 3>', '<image 4>', 'image 9'), (4, 1, 3, 2))
    """
    mentioned = dict.fromkeys(int(number) for text in texts for number in MARK.findall(text))
    order = [number for number in pictures if number not in mentioned]
    order += [number for number in mentioned if number in pictures]
    new = {str(old): f"<image {place}>" for place, old in enumerate(order, start=1)}
    return tuple(MARK.sub(lambda mark: new.get(mark[1], f"image {mark[1]}"), text) for text in texts), tuple(order)


def _literal(row: Row, column: str) -> Any:
    """What a text that holds a Python list means; nothing in it is ever run."""
    written = row.text(column)
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise row.broken(f"{column} is {written!r:.80}, no Python list of texts: download the file again") from error


def _open_answers(row: Row) -> tuple[str, ...]:
    """The answers to an open question: one text, or a list of them, the first of which is gold."""
    written = row.text("answer")
    given = _literal(row, "answer") if written.startswith("[") else [written]
    if not isinstance(given, list) or not given:
        raise row.broken(f"answer is {written!r:.80}, no text and no list of them: download the file again")
    return tuple(row.clean(answer if isinstance(answer, str) else str(answer), "an answer") for answer in given)


MMMU = Task(
    name="mmmu",
    version=2,
    cite="arXiv:2311.16502",
    licence="Apache-2.0 (the official data and the twin)",
    suffix="Answer with the option's letter from the given choices directly.",
    score=option_letter,
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
