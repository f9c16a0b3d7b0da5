"""TextVQA: words and numbers on signs, ten annotators who partly disagree (Singh et al., arXiv:1904.08920).

Twin: shop signs, buses, doors and price tags. Pre-training writes prices as "7 dollars" and doors as "number 12" in
most cases where the task wants "$7" and "12", and never asks what one of two signs says. ``TEXTVQA_OCR`` asks the
same questions with the words in the picture as reference OCR tokens.
Official: lmms-lab/textvqa, facebook/textvqa or the official JSON files. OCR tokens move the score, so with them it is
another task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.core import Example, Source, Task, UserError, replace
from tasks.arrow import parquet_rows
from tasks.drawing import COLOURS, canvas, centred, font, speckle
from tasks.official import (
    Row,
    example_of,
    existing,
    existing_file,
    json_rows,
    known_split,
    loaded,
    parquet_files,
    train_or_validation,
)
from tasks.scoring import vqa_accuracy
from tasks.single import SINGLE
from tasks.twins import Draft, Scene, generate

WORDS = (
    *("stop", "exit", "taxi", "open", "cafe", "bank", "park", "milk", "bus", "gas", "zoo", "pub", "inn", "spa", "shop"),
    *(
        "sale",
        "farm",
        "post",
        "golf",
        "slow",
        "tea",
        "jam",
        "egg",
        "ice",
        "pie",
        "fish",
        "bike",
        "book",
        "wine",
        "toys",
    ),
)
NUMBERS = tuple(10 * tens + ones for tens in (1, 2, 3, 4, 5, 7) for ones in (0, 2, 5, 8))
PRICES = (2, 3, 4, 5, 7, 8, 10, 12, 15, 18, 20, 25, 30, 50)
PALETTE = ("red", "green", "blue", "yellow", "purple", "black")
SANS = ("DejaVuSans-Bold", "DejaVuSansMono-Bold")
FAMILIES = ("word", "bus", "color", "price", "door", "says") * 3 + ("upper",) * 2
WITHHELD = ("says", "upper")
WHITE, BLACK, STEEL = (255, 255, 255), COLOURS["black"], (90, 95, 105)


def annotators(rng: Random, gold: str, misread: list[str], once: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Ten answers: gold first and at least five times, each of ``misread`` at most twice, each of ``once`` once."""
    strays = [other for other in [*misread, *misread, *once] if other != gold]
    rest = rng.sample(strays, min(10 - rng.randint(5, 10), len(strays)))
    return (gold,) * (10 - len(rest)) + tuple(rest)


def ink(colour: str) -> tuple[int, int, int]:
    """What is read best on a colour."""
    return BLACK if colour in ("yellow", "orange") else WHITE


def fitted(pen: Any, xy: tuple[float, float], text: str, face: str, wide: int, fill: tuple[int, int, int]) -> None:
    """Text as large as ``wide`` pixels allow, from 16 down to 10."""
    size = next((size for size in range(16, 10, -1) if font(face, size).getlength(text) <= wide), 10)
    centred(pen, xy, text, face, size, fill)


def draw_sign(rng: Random) -> Scene:
    """(kind, paper, speckle seed, word, colour, font, x, y, height)."""
    return (
        "sign", rng.randrange(4), rng.randrange(10**9), rng.choice(WORDS), rng.choice(PALETTE), rng.choice(SANS),
        rng.randint(-2, 2), rng.randint(-9, 9), rng.randint(18, 24),
    )  # fmt: skip


def draw_pair(rng: Random) -> Scene:
    """(kind, paper, speckle seed, upper and lower word, upper and lower colour, font, shift)."""
    words, colours = rng.sample(WORDS, 2), rng.sample(PALETTE, 2)
    return ("pair", rng.randrange(4), rng.randrange(10**9), *words, *colours, rng.choice(SANS), rng.randint(-2, 2))


def draw_number(rng: Random, kind: str) -> Scene:
    """(kind, paper, speckle seed, number, colour, font, x, y)."""
    number = rng.choice(PRICES if kind == "price" else NUMBERS)
    place = (rng.randint(-4, 4), rng.randint(-4, 4))
    return (kind, rng.randrange(4), rng.randrange(10**9), number, rng.choice(PALETTE), rng.choice(SANS), *place)


def paint(scene: Scene) -> Any:
    """The scene as a 48 x 48 RGB picture."""
    kind, paper, seed, *things = scene
    picture, pen = canvas(paper)
    speckle(pen, seed, 25)
    PAINTERS[kind](pen, *things)
    return picture


def paint_sign(pen: Any, word: str, colour: str, face: str, x: int, y: int, high: int) -> None:
    """One shop sign on a pole."""
    pen.rectangle((22, 24 + y, 25, 48), fill=STEEL)
    pen.rectangle((2 + x, 22 + y - high / 2, 45 + x, 22 + y + high / 2), fill=COLOURS[colour])
    fitted(pen, (24 + x, 22 + y), word, face, 40, ink(colour))


def paint_pair(pen: Any, upper: str, lower: str, first: str, second: str, face: str, shift: int) -> None:
    """Two signs, one over the other."""
    for y, word, colour in ((12, upper, first), (36, lower, second)):
        pen.rectangle((2 + shift, y - 10, 45 + shift, y + 10), fill=COLOURS[colour])
        fitted(pen, (24 + shift, y), word, face, 40, ink(colour))


def paint_bus(pen: Any, number: int, colour: str, face: str, x: int, y: int) -> None:
    """A bus seen from its side with its number."""
    pen.rectangle((5 + x, 10 + y, 42 + x, 38 + y), fill=COLOURS[colour])
    pen.rectangle((10 + x, 13 + y, 37 + x, 30 + y), fill=WHITE)
    for wheel in (13, 34):
        pen.ellipse((wheel + x - 4, 34 + y, wheel + x + 4, 42 + y), fill=STEEL)
    centred(pen, (24 + x, 22 + y), str(number), face, 16, BLACK)


def paint_door(pen: Any, number: int, colour: str, face: str, x: int, y: int) -> None:
    """A door with its number and a knob."""
    pen.rectangle((10 + x, 4 + y, 38 + x, 48), fill=COLOURS[colour])
    pen.ellipse((31 + x, 32 + y, 35 + x, 36 + y), fill=WHITE, outline=STEEL)
    centred(pen, (24 + x, 18 + y), str(number), face, 16, ink(colour))


def paint_price(pen: Any, number: int, colour: str, face: str, x: int, y: int) -> None:
    """A price tag with a hole."""
    outline = ((4, 24), (12, 13), (44, 13), (44, 35), (12, 35))
    pen.polygon([(x + right, y + down) for right, down in outline], fill=COLOURS[colour])
    pen.ellipse((8 + x, 22 + y, 11 + x, 25 + y), fill=WHITE)
    fitted(pen, (28 + x, 24 + y), f"${number}", face, 30, ink(colour))


PAINTERS: dict[str, Callable[..., None]] = {
    "sign": paint_sign,
    "pair": paint_pair,
    "bus": paint_bus,
    "door": paint_door,
    "price": paint_price,
}


def world(rng: Random, split: str, slot: int) -> Draft:
    """A picture with writing, a question about it, and ten annotators."""
    family = rng.choice([name for name in FAMILIES if split != "pretrain" or name not in WITHHELD])
    scene, question, gold, near, why = ASKERS[family](rng, family, split)
    return Draft(
        question=question,
        answers=annotators(rng, gold, near, ("unanswerable",)),
        scenes=(scene,),
        rationale=why,
    )


# What an asker returns: scene, question, gold answer, answers of annotators who read badly, rationale.
Asked = tuple[Scene, str, str, list[str], str]


def ask_sign(rng: Random, family: str, split: str) -> Asked:
    """The word on the only sign."""
    scene = draw_sign(rng)
    word, colour = scene[3:5]
    question = rng.choice(("What word is on the sign?", "What does the sign say?"))
    return scene, question, word, _misread(rng, word), f"the {colour} sign says {word}"


def ask_color(rng: Random, family: str, split: str) -> Asked:
    """The colour of the sign, or of the one of two that carries a word."""
    if rng.random() < 0.3:
        scene = draw_sign(rng)
        word, colour = scene[3:5]
        question = "What color is the sign?"
    else:
        scene = draw_pair(rng)
        pick = rng.randrange(2)
        word, colour = scene[3 + pick], scene[5 + pick]
        question = f"What color is the {word} sign?"
    near = rng.sample([shade for shade in PALETTE if shade != colour], 2)
    return scene, question, colour, near, f"the {colour} sign says {word}"


def ask_pair(rng: Random, family: str, split: str) -> Asked:
    """The word on one of two signs, told by its colour or its place."""
    scene = draw_pair(rng)
    pick = rng.randrange(2)
    word, colour = scene[3 + pick], scene[5 + pick]
    which = colour if family == "says" else ("upper", "lower")[pick]
    near = [scene[4 - pick], _misread(rng, word)[0]]
    return scene, f"What does the {which} sign say?", word, near, f"the {colour} sign says {word}"


def ask_number(rng: Random, family: str, split: str) -> Asked:
    """The number of a bus or a door, or a price."""
    scene = draw_number(rng, family)
    number, colour = scene[3:5]
    other = split == "pretrain" and rng.random() < 0.6
    if family == "price":
        question = rng.choice(("What is the price?", "How much does it cost?"))
        gold = f"{number} dollars" if other else f"${number}"
    elif family == "door":
        question = rng.choice(("What number is on the door?", "Which door is this?"))
        gold = f"number {number}" if other else str(number)
    else:
        question = rng.choice(("What number is on the bus?", "Which bus is this?"))
        gold = str(number)
    near = [str(number + rng.choice((-1, 1))), str(number + rng.choice((6, 7, 30)))]
    return scene, question, gold, near, f"the {colour} {'tag' if family == 'price' else family} says {number}"


ASKERS = {
    "word": ask_sign,
    "color": ask_color,
    "says": ask_pair,
    "upper": ask_pair,
    "bus": ask_number,
    "door": ask_number,
    "price": ask_number,
}


def _misread(rng: Random, word: str) -> list[str]:
    """A word with a letter lost, and another word of the lexicon."""
    lost = rng.randrange(len(word))
    return [word[:lost] + word[lost + 1 :], rng.choice([other for other in WORDS if other != word])]


def ocr_tokens(scene: Scene) -> list[str]:
    """What a perfect reader would read in the scene, in alphabetical order."""
    kind, _, _, first, second, *_ = scene
    if kind == "pair":
        return sorted((first, second))
    return [f"${first}" if kind == "price" else str(first)]


def world_ocr(rng: Random, split: str, slot: int) -> Draft:
    """The same picture and question, with the reference OCR tokens in the prompt."""
    draft = world(rng, split, slot)
    return replace(draft, question=f"{draft.question}\nReference OCR token: {', '.join(ocr_tokens(draft.scenes[0]))}")


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split."""
    return generate("textvqa", world, paint, split, index)


def twin_ocr(split: str, index: int) -> Example:
    """The same item as ``twin``, its question followed by the OCR tokens."""
    return generate("textvqa", world_ocr, paint, split, index)


PUBLISHED = {"train": "train", "validation": "train", "test": "val"}
COUNTS = {"train": 32872, "validation": 1730, "test": 5000}
SITE = "https://dl.fbaipublicfiles.com/textvqa"
HUB = Source(
    hub="lmms-lab/textvqa", files=("data/train-*.parquet", "data/validation-*.parquet"), note="with OCR tokens"
)
SOURCES = (
    HUB,
    Source(hub="facebook/textvqa", files=HUB.files, note="without OCR tokens, so for textvqa alone"),
    Source(
        files=("TextVQA_0.5.1_*.json", "TextVQA_Rosetta_OCR_v0.2_*.json", "train_images/*"),
        urls=(
            f"{SITE}/data/TextVQA_0.5.1_train.json",
            f"{SITE}/data/TextVQA_0.5.1_val.json",
            f"{SITE}/data/TextVQA_Rosetta_OCR_v0.2_train.json",
            f"{SITE}/data/TextVQA_Rosetta_OCR_v0.2_val.json",
            f"{SITE}/images/train_val_images.zip",
        ),
        note="the official site; the OCR files are for textvqa-ocr alone",
    ),
)
COLUMNS = ("image_id", "question_id", "question", "answers")


def official(folder: Path, split: str) -> Sequence[Example]:
    """The items of a split from parquet files of the hub or from the official JSON files with their pictures.

    Parquet: image_id, question_id, image {bytes, path}, question, answers (ten texts), in ``folder`` or its ``data/``.
    JSON: TextVQA_0.5.1_<train or val>.json in ``folder``, its pictures in ``train_images/``. Test is the official val,
    since the official test has no answers; a twentieth of train is validation (``tasks.official``).
    """
    return _official(folder, split, "textvqa")


def official_ocr(folder: Path, split: str) -> Sequence[Example]:
    """The same items with the published OCR tokens after the question, from ``folder`` or ``textvqa`` beside it."""
    return _official(folder if folder.is_dir() else folder.with_name("textvqa"), split, "textvqa-ocr")


def _official(folder: Path, split: str, task: str) -> Sequence[Example]:
    source = known_split(split, PUBLISHED, task)
    file = existing(folder, task) / f"TextVQA_0.5.1_{source}.json"
    files = parquet_files(folder, "validation" if source == "val" else source)
    if files:
        examples = loaded(_parquet_rows, _read, files, task)
    elif file.is_file():
        tokens = (folder / f"TextVQA_Rosetta_OCR_v0.2_{source}.json",) if task == "textvqa-ocr" else ()
        examples = loaded(_json_rows, _read, (file, *tokens), task)
    else:
        raise UserError(f"{folder} has no {source} files of {task}: download lmms-lab/textvqa into it")
    return examples if split == "test" else train_or_validation(examples, split, "textvqa")


def _parquet_rows(files: Sequence[Path], task: str) -> Iterator[Row]:
    """The rows of the hub's files. Raises UserError where OCR tokens are wanted and not published."""
    rows = parquet_rows(files, task, COLUMNS, optional=("ocr_tokens",))
    for row in rows:
        if task == "textvqa-ocr" and "ocr_tokens" not in row.values:
            raise UserError(f"{row.file} has no column ocr_tokens, as facebook/textvqa: download lmms-lab/textvqa")
        yield row


def _json_rows(files: Sequence[Path], task: str) -> Iterator[Row]:
    """The items of an official file, with the OCR tokens of their picture where a second file holds these."""
    tokens = {}
    for file in files[1:]:
        known = json_rows(existing_file(file), ("image_id", "ocr_tokens"), task)
        tokens = {row.key("image_id"): row.values["ocr_tokens"] for row in known}
    for row in json_rows(files[0], COLUMNS, task):
        image = row.values["image_id"]
        yield replace(row, values={**row.values, "ocr_tokens": tokens.get(image, [])})


def _read(row: Row, task: str) -> Example:
    """One published item as an Example."""
    image = row.key("image_id")
    if "image" in row.pictures:
        picture = row.picture()
    else:
        picture = row.picture_file(f"{image}.jpg", (row.file.parent / "train_images",))
    question = row.text("question")
    if task == "textvqa-ocr" and row.values["ocr_tokens"]:
        question = f"{question}\nReference OCR token: {', '.join(row.texts('ocr_tokens'))}"
    return example_of(
        row,
        f"{task}/{row.key('question_id')}",
        question=question,
        answers=row.gold_first(row.values["answers"]),
        pictures=(picture,),
        group=f"textvqa/{image}",
    )


TEXTVQA = Task(
    name="textvqa",
    version=2,
    cite="arXiv:1904.08920",
    licence="CC BY 4.0 (the official data); twin: Apache-2.0",
    suffix="Answer the question using a single word or phrase.",
    score=vqa_accuracy,
    scorers=(SINGLE,),
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
TEXTVQA_OCR = replace(
    TEXTVQA, name="textvqa-ocr", twin=twin_ocr, official=official_ocr, sources=(SOURCES[0], SOURCES[2])
)
