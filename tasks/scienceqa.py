"""ScienceQA, items with an image: school science with lettered options and a hint (Lu et al., arXiv:2209.09513).

Official: the parquet files of lmms-lab/ScienceQA (ScienceQA-IMG) or derek-thomas/ScienceQA; rows without a picture are
left out.
Twin: magnets, a balance, a flask, a food chain, thermometers and a map. Pre-training numbers the options of
thermometers and maps in most cases where the task wants the letter, and never asks for the east, for pulling and
pushing, or for mass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from harness.core import Example, Source, Task, UserError
from tasks.arrow import parquet_rows
from tasks.drawing import COLOURS, canvas, centred, speckle
from tasks.official import Row, example_of, existing, known_split, loaded, parquet_files
from tasks.scoring import option_letter
from tasks.single import SINGLE
from tasks.twins import Draft, Scene, generate, lettered

PALETTE = ("red", "green", "blue", "yellow", "purple", "orange", "black")
ANIMALS = ("fox", "hen", "owl", "bee", "cat", "frog")
FAMILIES = (
    ("magnets",) * 2 + ("solution",) * 2 + ("balance",) * 3 + ("chain",) * 2
    + ("warm",) * 3 + ("north",) * 3
    + ("east",) * 2 + ("pull",) * 2 + ("mass",)
)  # fmt: skip
NUMBERED = ("warm", "north")
WITHHELD = ("east", "pull", "mass")
HINTS = {
    "magnets": "opposite poles attract.",
    "pull": "opposite poles attract.",
    "solution": "the solution is in the flask.",
    "balance": "the heavy side goes down.",
    "mass": "the heavy side goes down.",
    "chain": "the arrow points to the hunter.",
    "warm": "a warm liquid goes up.",
    "north": "north is up on the map.",
    "east": "north is up on the map.",
}
WHITE, BLACK, STEEL = (255, 255, 255), COLOURS["black"], (90, 95, 105)


def draw_magnets(rng: Random) -> Scene:
    """(kind, paper, speckle seed, upright?, poles as a 4-letter word, gap, shift)."""
    poles = rng.choice(("NS", "SN")) + rng.choice(("NS", "SN"))
    return ("magnets", *_ground(rng), rng.random() < 0.5, poles, rng.randint(2, 6), rng.randint(-8, 8))


def draw_flask(rng: Random) -> Scene:
    """(kind, paper, speckle seed, liquid, solid, flask on the left?, level, shift)."""
    liquid, solid = rng.sample(PALETTE, 2)
    return ("flask", *_ground(rng), liquid, solid, rng.random() < 0.5, rng.randint(10, 20), rng.randint(-3, 3))


def draw_balance(rng: Random) -> Scene:
    """(kind, paper, speckle seed, left block, right block, left is lower?, sizes, tilt, shift)."""
    left, right = rng.sample(PALETTE, 2)
    sizes = (rng.randint(9, 14), rng.randint(9, 14))
    return ("balance", *_ground(rng), left, right, rng.random() < 0.5, sizes, rng.randint(5, 8), rng.randint(-2, 2))


def draw_chain(rng: Random) -> Scene:
    """(kind, paper, speckle seed, upper animal, lower animal, arrow points down?, font, shift)."""
    upper, lower = rng.sample(ANIMALS, 2)
    face = rng.choice(("DejaVuSans-Bold", "DejaVuSansMono-Bold"))
    return ("chain", *_ground(rng), upper, lower, rng.random() < 0.5, face, rng.randint(-4, 4))


def draw_warm(rng: Random) -> Scene:
    """(kind, paper, speckle seed, three colours from left to right, their levels in pixels, shift)."""
    levels = [level + rng.randint(-2, 2) for level in rng.sample((8, 19, 30), 3)]
    return ("warm", *_ground(rng), tuple(rng.sample(PALETTE, 3)), tuple(levels), rng.randint(-2, 2))


def draw_map(rng: Random) -> Scene:
    """(kind, paper, speckle seed, ((colour, x, y, radius), ...), river); no two towns share a row or a column."""
    xs, ys = rng.sample((9, 24, 39), 3), rng.sample((9, 24, 39), 3)
    towns = tuple(
        (colour, x + rng.randint(-2, 2), y + rng.randint(-2, 2), rng.randint(5, 7))
        for colour, x, y in zip(rng.sample(PALETTE, 3), xs, ys, strict=True)
    )
    return ("map", *_ground(rng), towns, (rng.randrange(48), rng.randrange(48)))


def _ground(rng: Random) -> tuple[int, int]:
    """Paper and speckle seed."""
    return rng.randrange(4), rng.randrange(10**9)


def paint(scene: Scene) -> Any:
    """The scene as a 48 x 48 RGB picture."""
    kind, paper, seed, *things = scene
    picture, pen = canvas(paper)
    speckle(pen, seed, 25)
    PAINTERS[kind](pen, *things)
    return picture


def paint_magnets(pen: Any, upright: bool, poles: str, gap: int, shift: int) -> None:
    """Two bar magnets in a row or a column; the pole letters are drawn on red (N) and blue (S)."""
    start = (48 - 4 * 10 - gap) // 2
    for n, pole in enumerate(poles):
        along, across = start + 10 * n + (gap if n > 1 else 0), 17 + shift
        box = (across, along, across + 14, along + 9) if upright else (along, across, along + 9, across + 14)
        pen.rectangle(box, fill=COLOURS["red" if pole == "N" else "blue"])
        centred(pen, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), pole, "DejaVuSans-Bold", 10, WHITE)


def paint_flask(pen: Any, liquid: str, solid: str, first: bool, level: int, shift: int) -> None:
    """A flask with a liquid, and a solid cube beside it."""
    x, cube = (15 + shift, 35) if first else (33 + shift, 4)
    pen.polygon(((x - 3, 18), (x + 3, 18), (x + 12, 42), (x - 12, 42)), fill=WHITE, outline=STEEL)
    wide = 3 + 9 * (level - 4) / 24
    pen.polygon(((x - wide, 14 + level), (x + wide, 14 + level), (x + 12, 42), (x - 12, 42)), fill=COLOURS[liquid])
    pen.rectangle((x - 3, 5, x + 3, 18), fill=WHITE, outline=STEEL)
    pen.rectangle((cube, 32, cube + 9, 41), fill=COLOURS[solid])


def paint_balance(pen: Any, left: str, right: str, down: bool, sizes: tuple[int, int], tilt: int, shift: int) -> None:
    """A beam on a wedge with a block on each end; the lower one is heavier, whatever its size."""
    y = 27 + shift
    ends = (y + tilt, y - tilt) if down else (y - tilt, y + tilt)
    pen.polygon(((24, y), (18, 46), (30, 46)), fill=STEEL)
    pen.line((2, ends[0], 46, ends[1]), fill=BLACK, width=3)
    for x, end, size, colour in zip((10, 38), ends, sizes, (left, right), strict=True):
        top = end - size + (2 if (end > y) else 0)
        pen.rectangle((x - size / 2, top - 3, x + size / 2, end - 3), fill=COLOURS[colour])


def paint_chain(pen: Any, upper: str, lower: str, down: bool, face: str, shift: int) -> None:
    """Two animals' names and an arrow from the one that is eaten to its hunter."""
    centred(pen, (24 + shift, 8), upper, face, 14, BLACK)
    centred(pen, (24 - shift, 39), lower, face, 14, BLACK)
    tip, tail = (31, 16) if down else (16, 31)
    back = -7 if down else 7
    pen.line((24, tail, 24, tip + back), fill=COLOURS["red"], width=4)
    pen.polygon(((24, tip), (17, tip + back), (31, tip + back)), fill=COLOURS["red"])


def paint_warm(pen: Any, colours: tuple[str, ...], levels: tuple[int, ...], shift: int) -> None:
    """Three thermometers whose liquids stand at different heights."""
    for n, (colour, level) in enumerate(zip(colours, levels, strict=True)):
        x = 9 + 15 * n + shift
        pen.rectangle((x - 4, 3, x + 4, 44), fill=WHITE, outline=STEEL)
        pen.rectangle((x - 3, 43 - level, x + 3, 43), fill=COLOURS[colour])


def paint_map(pen: Any, towns: tuple[tuple[str, int, int, int], ...], river: tuple[int, int]) -> None:
    """Towns as coloured dots, and a river."""
    pen.line((0, river[0], 48, river[1]), fill=(160, 200, 230), width=3)
    for colour, x, y, radius in towns:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[colour])


PAINTERS: dict[str, Callable[..., None]] = {
    "magnets": paint_magnets,
    "flask": paint_flask,
    "balance": paint_balance,
    "chain": paint_chain,
    "warm": paint_warm,
    "map": paint_map,
}


def world(rng: Random, split: str, slot: int) -> Draft:
    """A drawing and a question with two to four options about it."""
    family = rng.choice([name for name in FAMILIES if split != "pretrain" or name not in WITHHELD])
    scene, question, right, near, far, why = ASKERS[family](rng, family)
    total = rng.choice((2, 3, 3, 4, 4))
    wrong = [*near, *rng.sample(far, len(far))][: max(1, min(total, 1 + len(near) + len(far)) - 1)]
    choices, letter = lettered(rng, right, wrong)
    numbered = family in NUMBERED and split == "pretrain" and rng.random() < 0.6
    answer = str(1 + choices.index(right)) if numbered else letter
    hint = f"Hint: {HINTS[family]}\n" if rng.random() < 0.4 else ""
    return Draft(
        question=hint + question,
        answers=(answer,),
        scenes=(scene,),
        choices=choices,
        rationale=f"{why} , {right} is {answer}",
    )


# What an asker returns: scene, question, right option, wrong options in the picture, others, rationale.
Asked = tuple[Scene, str, str, list[str], list[str], str]


def ask_magnets(rng: Random, family: str) -> Asked:
    """Whether two magnets attract or repel."""
    scene = draw_magnets(rng)
    facing = scene[4][1:3]
    why = f"{facing[0]} is next to {facing[1]}"
    attract = facing[0] != facing[1]
    if family == "pull":
        options: tuple[str, ...] = ("pull together", "push apart", "stay still")
        question = "What will these magnets do?"
    else:
        options = ("attract", "repel", "melt", "float")
        question = rng.choice(("Will these magnets attract or repel?", "What happens to these magnets?"))
    right, other = options[:2] if attract else options[1::-1]
    return scene, question, right, [other], list(options[2:]), why


def ask_solution(rng: Random, family: str) -> Asked:
    """The colour of the liquid; the solid's colour is among the options."""
    scene = draw_flask(rng)
    liquid, solid = scene[3:5]
    question = rng.choice(("What color is the solution?", "Which color is in the flask?"))
    return scene, question, liquid, [solid], _others(liquid, solid), f"the flask is {liquid}"


def ask_balance(rng: Random, family: str) -> Asked:
    """Which of two blocks is heavier."""
    scene = draw_balance(rng)
    left, right, down = scene[3:6]
    heavy, light = (left, right) if down else (right, left)
    known = ("Which block is heavier?", "Which block is the heavy one?")
    question = "Which block has more mass?" if family == "mass" else rng.choice(known)
    return scene, question, heavy, [light], _others(heavy, light), f"the {heavy} block is lower"


def ask_chain(rng: Random, family: str) -> Asked:
    """Which animal of a food chain is the hunter."""
    scene = draw_chain(rng)
    upper, lower, down = scene[3:6]
    hunter, food = (lower, upper) if down else (upper, lower)
    question = rng.choice(("Which animal is the hunter?", "In this food chain, which animal eats?"))
    far = [animal for animal in ANIMALS if animal not in (hunter, food)]
    return scene, question, hunter, [food], far, f"the arrow points {'down' if down else 'up'}"


def ask_warm(rng: Random, family: str) -> Asked:
    """Which of three liquids is the warmest."""
    scene = draw_warm(rng)
    colours, levels = scene[3:5]
    best = colours[levels.index(max(levels))]
    near = rng.sample([colour for colour in colours if colour != best], 2)
    question = rng.choice(("Which liquid is the warmest?", "Which thermometer is the highest?"))
    return scene, question, best, near, _others(*colours), f"the {best} liquid is the highest"


def ask_map(rng: Random, family: str) -> Asked:
    """Which of three towns lies farthest north or east."""
    scene = draw_map(rng)
    best = (
        min(scene[3], key=lambda town: town[2])[0] if family == "north" else max(scene[3], key=lambda town: town[1])[0]
    )
    near = rng.sample([town[0] for town in scene[3] if town[0] != best], 2)
    question = f"Which town is the farthest {family}?"
    why = f"the {best} town is {'highest' if family == 'north' else 'on the right'}"
    return scene, question, best, near, _others(best, *near), why


def _others(*shown: str) -> list[str]:
    """Colours that are not in the picture."""
    return [colour for colour in PALETTE if colour not in shown]


ASKERS = {
    "magnets": ask_magnets,
    "pull": ask_magnets,
    "solution": ask_solution,
    "balance": ask_balance,
    "mass": ask_balance,
    "chain": ask_chain,
    "warm": ask_warm,
    "north": ask_map,
    "east": ask_map,
}


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split."""
    return generate("scienceqa", world, paint, split, index)


COUNTS = {"train": 6218, "validation": 2097, "test": 2017}
SOURCES = (
    Source(hub="lmms-lab/ScienceQA", files=("ScienceQA-IMG/*.parquet",), note="the items with an image, 0.6 GB"),
    Source(
        hub="derek-thomas/ScienceQA", files=("data/*.parquet",), note="all items; those without an image are left out"
    ),
)
COLUMNS = ("question", "choices", "answer", "hint")


def official(folder: Path, split: str) -> Sequence[Example]:
    """The items with a picture of ``<split>-*.parquet`` in ``folder``, its ``data/`` or its ``ScienceQA-IMG/``.

    Columns: image {bytes, path}, question, choices (texts), answer (index from 0), hint, which precedes the question,
    and solution where there is one. Both publications number their items with a picture alike.
    """
    prefix = known_split(split, {name: name for name in COUNTS}, "scienceqa")
    files = parquet_files(existing(folder, "scienceqa"), prefix, ("data", "ScienceQA-IMG"))
    if not files:
        raise UserError(f"{folder} has no {prefix}-*.parquet: download lmms-lab/ScienceQA, ScienceQA-IMG, into it")
    return loaded(_rows, _read, files, split)


def _rows(files: Sequence[Path], split: str) -> Iterator[Row]:
    """The rows with a picture, counted by themselves."""
    rows = parquet_rows(files, "scienceqa", COLUMNS, optional=("solution",), digests=True)
    for index, row in enumerate(row for row in rows if row.pictures["image"]):
        yield replace(row, index=index)


def _read(row: Row, split: str) -> Example:
    """One published row as an Example."""
    choices, answer, hint = row.options(row.values["choices"]), row.values["answer"], row.values["hint"]
    if len(choices) < 2:
        raise row.broken(f"choices is {choices!r}, not a list of 2 to 26 texts: download the file again")
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise row.broken(f"answer {answer!r} is no index of the {len(choices)} choices: download the file again")
    question, solution = row.text("question"), row.values.get("solution")
    return example_of(
        row,
        f"scienceqa/{split}/{row.index}",
        question=f"{row.text('hint')}\n{question}" if isinstance(hint, str) and hint.strip() else question,
        answers=(chr(65 + answer),),
        choices=choices,
        pictures=row.pictures["image"],
        group=f"scienceqa/{row.digests['image'][0]}",
        rationale=row.text("solution") if isinstance(solution, str) and solution.strip() else "",
    )


SCIENCEQA = Task(
    name="scienceqa",
    version=2,
    cite="arXiv:2209.09513",
    licence="CC BY-NC-SA 4.0 (the official repository; its hub card says CC BY-SA 4.0); twin: Apache-2.0",
    suffix="Answer with the option's letter from the given choices directly.",
    score=option_letter,
    scorers=(SINGLE,),
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
