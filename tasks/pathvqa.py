"""PathVQA: questions about stained slides, half of them yes or no (He et al., arXiv:2003.10286).

Twin: tissue with nuclei and one finding. Two questions share a slide, a yes/no one and one with a phrase. Pre-training
never sees the questions about the lesion's side ("is it on the left?"), the nuclei's colour and the diagnosis, and
writes "does the slide show ...?" mostly as "present" or "absent", and places mostly as "on the left".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.core import Example, Source, Task, UserError
from tasks.arrow import parquet_rows
from tasks.breakdowns import yes_no_and_free
from tasks.drawing import COLOURS, SIDE
from tasks.official import Row, example_of, existing, known_split, loaded, parquet_files
from tasks.scoring import exact_match
from tasks.single import SINGLE
from tasks.twins import Draft, Scene, generate

FINDINGS = ("fatty change", "fibrosis", "necrosis", "inflammatory cells", "vessel", "nerve")
PLURAL = ("inflammatory cells",)
STAINS = {"pink": (240, 170, 200), "purple": (190, 150, 220), "blue": (160, 190, 240), "brown": (205, 170, 130)}
NUCLEI = ("black", "red", "green", "blue")
PLACES = ("left", "center", "right")
CLOSED = {"known": ("present",) * 4, "other": ("show",) * 3, "withheld": ("side",) * 3}
OPEN = {
    "known": ("what", "what", "what", "stain"),
    "other": ("where",) * 3,
    "withheld": ("nuclei", "diagnosis", "diagnosis"),
}


def draw_scene(rng: Random) -> Scene:
    """(stain, shade, nuclei colour, (finding, place 0..2, x, y, radius), seed of nuclei and grain)."""
    place = rng.randrange(3)
    spot = (11 + 13 * place + rng.randint(-1, 1), rng.randint(15, 33), rng.randint(10, 12))
    stain = rng.choice(sorted(STAINS))
    nuclei = rng.choice([name for name in NUCLEI if name != stain])
    return (stain, rng.randint(-12, 12), nuclei, (rng.choice(FINDINGS), place, *spot), rng.randrange(10**9))


def paint(scene: Scene) -> Any:
    """The slide as a 48 x 48 RGB picture."""
    from PIL import Image, ImageDraw

    stain, shade, nuclei, (finding, _, x, y, r), seed = scene
    tissue = tuple(max(0, min(255, level + shade)) for level in STAINS[stain])
    picture = Image.new("RGB", (SIDE, SIDE), tissue)
    pen = ImageDraw.Draw(picture)
    rng = Random(seed)
    for _ in range(40):
        pen.point((rng.randrange(SIDE), rng.randrange(SIDE)), fill=tuple(max(0, level - 30) for level in tissue))
    for cell in range(16):
        u, v = 12 * (cell % 4) + rng.randint(2, 9), 12 * (cell // 4) + rng.randint(2, 9)
        if (u - x) ** 2 + (v - y) ** 2 > (r + 2) ** 2:
            pen.ellipse((u - 1, v - 1, u + 1, v + 1), fill=COLOURS[nuclei])
    lesion(pen, finding, (x, y), r, rng)
    return picture


def lesion(pen: Any, finding: str, xy: tuple[int, int], r: int, rng: Random) -> None:
    """The finding, in its own texture, within ``r`` pixels of ``xy``."""
    x, y = xy
    if finding == "fatty change":
        for u, v in ((-5, -5), (5, -6), (-6, 5), (5, 5)):
            size = r / 3.2 + rng.random()
            pen.ellipse((x + u - size, y + v - size, x + u + size, y + v + size), fill=(255, 255, 255))
    elif finding == "fibrosis":
        for n in range(-2, 3):
            high = y + n * r / 2.2
            wave = (x - r, high + 2, x - r / 3, high - 1, x + r / 3, high + 1, x + r, high - 2)
            pen.line(wave, fill=(30, 70, 190), width=2)
    elif finding == "necrosis":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(120, 112, 105))
        for _ in range(14):
            spot = (x + rng.randint(-r // 2, r // 2), y + rng.randint(-r // 2, r // 2))
            pen.point(spot, fill=(60, 55, 50))
    elif finding == "inflammatory cells":
        for n in range(25):
            left = x + (n % 5 - 2) * r / 2.4 + rng.uniform(-0.7, 0.7)
            top = y + (n // 5 - 2) * r / 2.4 + rng.uniform(-0.7, 0.7)
            pen.ellipse((left - 1.3, top - 1.3, left + 1.3, top + 1.3), fill=(75, 20, 120))
    elif finding == "vessel":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(190, 25, 35))
        pen.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=(255, 245, 245))
    else:
        pen.ellipse((x - r, y - r * 0.65, x + r, y + r * 0.65), fill=(245, 215, 70), outline=(90, 70, 20), width=2)
        pen.line((x - r * 0.6, y, x, y - 2, x + r * 0.6, y), fill=(90, 70, 20), width=1)


def world(rng: Random, split: str, slot: int) -> Draft:
    """A slide, and a yes/no question (slot 0) or one answered with a phrase (slot 1)."""
    scene = draw_scene(rng)
    kinds = CLOSED if slot == 0 else OPEN
    rng = Random(f"{rng.random()}/{slot}")
    pool = kinds["known"] + kinds["other"] + (() if split == "pretrain" else kinds["withheld"])
    ask = ask_closed if slot == 0 else ask_open
    question, answer, why = ask(rng, rng.choice(pool), scene)
    if split == "pretrain" and rng.random() < 0.6:
        if question.startswith("Does"):
            answer = "present" if answer == "yes" else "absent"
        elif question.startswith("Where"):
            answer = f"{'in' if answer == 'center' else 'on'} the {answer}"
    return Draft(question=question, answers=(answer,), scenes=(scene,), rationale=why)


def ask_closed(rng: Random, family: str, scene: Scene) -> tuple[str, str, str]:
    """A question whose answer is yes as often as no."""
    finding, place, *_ = scene[3]
    yes = rng.random() < 0.5
    if family == "side":
        asked = PLACES[place if yes else rng.choice([n for n in range(3) if n != place])]
        preposition = "in" if asked == "center" else "on"
        question = f"Is the {rng.choice(('lesion', 'finding'))} {preposition} the {asked}?"
        return question, "yes" if yes else "no", f"the {PLACES[place]} shows {finding}"
    asked = finding if yes else rng.choice([name for name in FINDINGS if name != finding])
    if family == "present":
        verb = "Are" if asked in PLURAL else "Is"
        question = f"{verb} {asked} {rng.choice(('present', 'seen'))}?"
    else:
        question = rng.choice((f"Does the slide show {asked}?", f"Does this picture show {asked}?"))
    return question, "yes" if yes else "no", f"the lesion is {finding}"


def ask_open(rng: Random, family: str, scene: Scene) -> tuple[str, str, str]:
    """A question answered with a word or a phrase."""
    stain, _, nuclei, (finding, place, *_), _ = scene
    if family == "what":
        question = rng.choice(("What is present?", "What is seen in this slide?", "What does the slide show?"))
        return question, finding, f"the {PLACES[place]} shows {finding}"
    if family == "diagnosis":
        question = rng.choice(("What is the diagnosis?", "Which finding is this?"))
        return question, finding, f"the {PLACES[place]} shows {finding}"
    if family == "where":
        question = rng.choice(("Where is the lesion?", "Where is the finding?"))
        return question, PLACES[place], f"the {PLACES[place]} shows {finding}"
    if family == "stain":
        return rng.choice(("What color is the stain?", "What color is the tissue?")), stain, f"the tissue is {stain}"
    return "What color are the nuclei?", nuclei, f"{nuclei} nuclei in {stain} tissue"


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split."""
    return generate("pathvqa", world, paint, split, index, per_picture=2)


COUNTS = {"train": 19654, "validation": 6259, "test": 6719}
SOURCES = (Source(hub="flaviagiammarino/path-vqa", files=("data/*.parquet",)),)


def official(folder: Path, split: str) -> Sequence[Example]:
    """The items of flaviagiammarino/path-vqa, from ``<split>-*.parquet`` in ``folder`` or its ``data/``.

    Columns: image {bytes, path}, question, answer. The set names neither items nor pictures: an item is called by its
    row in the split, and items share a picture whose bytes are equal.
    """
    prefix = known_split(split, {name: name for name in COUNTS}, "pathvqa")
    files = parquet_files(existing(folder, "pathvqa"), prefix)
    if not files:
        raise UserError(f"{folder} has no {prefix}-*.parquet: download flaviagiammarino/path-vqa into it")
    return loaded(_rows, _read, files, split)


def _rows(files: Sequence[Path], split: str) -> Iterator[Row]:
    return parquet_rows(files, "pathvqa", ("question", "answer"), digests=True)


def _read(row: Row, split: str) -> Example:
    """One published row as an Example."""
    return example_of(
        row,
        f"pathvqa/{split}/{row.index}",
        pictures=(row.picture(),),
        question=row.text("question"),
        answers=(row.text("answer"),),
        group=f"pathvqa/{row.digests['image'][0]}",
    )


PATHVQA = Task(
    name="pathvqa",
    version=2,
    cite="arXiv:2003.10286",
    licence="MIT (the questions; the pictures' copyright stays with their publishers); twin: Apache-2.0",
    suffix="Answer the question using a single word or phrase.",
    score=exact_match,
    scorers=(SINGLE,),
    breakdown=yes_no_and_free,
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
