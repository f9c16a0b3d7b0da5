"""VizWiz-VQA: photos taken by blind people, many of them unanswerable (Gurari et al., arXiv:1802.08218).

Official: the published JSON files with their pictures; for the test items the parquet files of lmms-lab/VizWiz-VQA do
too, which have no train split. Test is the official val, since the official test has no answers; a twentieth of the
official train is validation.
Twin: things at home, photographed sharply, slightly badly, or so badly (blurred, dark, beside the thing) that nobody
can tell; 43% are unanswerable. Pre-training says what went wrong ("too blurry") in most cases where the task wants
"unanswerable", and never asks for a label's colour or which of two things it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.core import Example, Source, Task, UserError
from tasks.arrow import parquet_rows
from tasks.breakdowns import answerability
from tasks.drawing import COLOURS, canvas, centred, speckle
from tasks.official import (
    Row,
    example_of,
    existing,
    json_rows,
    known_split,
    loaded,
    parquet_files,
    train_or_validation,
)
from tasks.scoring import vqa_accuracy
from tasks.single import SINGLE
from tasks.textvqa import annotators, fitted, ink
from tasks.twins import Draft, Scene, generate

THINGS = ("can", "box", "bottle", "shirt", "cup", "book", "lamp")
LABELLED = ("can", "box", "bottle", "book")
LABELS = ("milk", "tea", "jam", "egg", "soup", "rice", "cola", "oil")
BILLS = ("1", "5", "10", "20", "50", "100")
PALETTE = ("red", "green", "blue", "yellow", "purple", "orange")
FAMILIES = ("what",) * 4 + ("color",) * 4 + ("bill",) * 3 + ("label",) * 4 + ("tint",) * 3 + ("either",) * 2
WITHHELD = ("tint", "either")
SPOILT = {"blur": "too blurry", "dark": "too dark", "away": "not visible"}
UNANSWERABLE = "unanswerable"
WHITE, BLACK = (255, 255, 255), COLOURS["black"]


def draw_photo(rng: Random, family: str) -> Scene:
    """(paper, speckle seed, thing, colour, label colour, label or amount, x, y, mode, blur, light).

    ``mode`` is "good" or a key of ``SPOILT``. A colour survives blur, so colours are spoilt only by the dark or by
    missing the thing.
    """
    things = {"label": LABELLED, "tint": LABELLED, "bill": ("bill",)}.get(family, THINGS)
    colour, tint = rng.sample(PALETTE, 2)
    bad = rng.random() < 0.43
    mode = rng.choice([mode for mode in SPOILT if mode != "blur" or family not in ("color", "tint")]) if bad else "good"
    text = rng.choice(BILLS if family == "bill" else LABELS)
    blur = rng.randint(50, 70) if mode == "blur" else rng.choice((0, 0, 0, rng.randint(1, 7)))
    light = rng.randint(3, 8) if mode == "dark" else rng.randint(60, 100)
    place = (rng.randint(-3, 3), rng.randint(-3, 3))
    return (rng.randrange(4), rng.randrange(10**9), rng.choice(things), colour, tint, text, *place, mode, blur, light)


def paint(scene: Scene) -> Any:
    """The photo as a 48 x 48 RGB picture; blur in tenths of a pixel, light in percent."""
    from PIL import ImageEnhance, ImageFilter

    paper, seed, thing, colour, tint, text, x, y, mode, blur, light = scene
    picture, pen = canvas(paper)
    speckle(pen, seed, 40)
    pen.rectangle((0, 43 + y, 48, 48), fill=(190, 165, 130))
    if mode == "away":
        pen.rectangle((0, 0, 3 + x, 48) if x > 0 else (45 + x, 0, 48, 48), fill=(150, 140, 130))
    elif thing == "bill":
        pen.rectangle((3 + x, 12 + y, 44 + x, 36 + y), fill=(190, 220, 190), outline=(60, 110, 70))
        centred(pen, (24 + x, 24 + y), text, "DejaVuSans-Bold", 16, (30, 70, 40))
    else:
        paint_thing(pen, thing, x, y, COLOURS[colour])
        if thing in LABELLED:
            pen.rectangle((6 + x, 19 + y, 41 + x, 34 + y), fill=COLOURS[tint])
            fitted(pen, (24 + x, 26 + y), text, "DejaVuSans-Bold", 33, ink(tint))
    if blur:
        picture = picture.filter(ImageFilter.GaussianBlur(blur / 10))
    return ImageEnhance.Brightness(picture).enhance(light / 100)


def paint_thing(pen: Any, thing: str, x: int, y: int, fill: tuple[int, int, int]) -> None:
    """A thing in one colour; the labelled ones leave room for a label across their middle."""
    if thing == "can":
        pen.rectangle((9 + x, 8 + y, 38 + x, 43 + y), fill=fill)
        pen.ellipse((9 + x, 3 + y, 38 + x, 12 + y), fill=(205, 205, 210), outline=BLACK)
    elif thing == "box":
        pen.rectangle((5 + x, 10 + y, 42 + x, 43 + y), fill=fill)
        pen.line((5 + x, 10 + y, 42 + x, 10 + y), fill=BLACK, width=2)
        pen.line((24 + x, 10 + y, 24 + x, 18 + y), fill=BLACK, width=2)
    elif thing == "bottle":
        pen.rectangle((20 + x, 1 + y, 28 + x, 10 + y), fill=fill)
        pen.polygon(((20 + x, 8 + y), (28 + x, 8 + y), (37 + x, 18 + y), (11 + x, 18 + y)), fill=fill)
        pen.rectangle((11 + x, 18 + y, 37 + x, 43 + y), fill=fill)
    elif thing == "book":
        pen.rectangle((6 + x, 4 + y, 41 + x, 44 + y), fill=WHITE, outline=BLACK)
        pen.rectangle((6 + x, 4 + y, 37 + x, 44 + y), fill=fill)
    elif thing == "shirt":
        sleeves = ((3, 14), (15, 6), (33, 6), (45, 14), (40, 22), (8, 22))
        pen.polygon([(x + right, y + down) for right, down in sleeves], fill=fill)
        pen.rectangle((13 + x, 10 + y, 35 + x, 42 + y), fill=fill)
    elif thing == "cup":
        pen.rectangle((9 + x, 15 + y, 32 + x, 40 + y), fill=fill)
        pen.ellipse((28 + x, 19 + y, 43 + x, 34 + y), outline=fill, width=4)
    else:
        pen.polygon(((16 + x, 6 + y), (32 + x, 6 + y), (42 + x, 24 + y), (6 + x, 24 + y)), fill=fill)
        pen.rectangle((22 + x, 24 + y, 26 + x, 41 + y), fill=BLACK)
        pen.rectangle((14 + x, 39 + y, 34 + x, 43 + y), fill=BLACK)


def world(rng: Random, split: str, slot: int) -> Draft:
    """A photo, a question about it, and ten annotators."""
    family = rng.choice([name for name in FAMILIES if split != "pretrain" or name not in WITHHELD])
    scene = draw_photo(rng, family)
    question, gold, misses, why = ask(rng, family, scene)
    mode = scene[8]
    if mode == "good":
        unsure = (UNANSWERABLE,) if rng.random() < 0.5 else ()
        answers = annotators(rng, gold, misses, unsure)
    else:
        told = SPOILT[mode] if split == "pretrain" and rng.random() < 0.6 else UNANSWERABLE
        answers, why = annotators(rng, told, misses), f"the picture is {SPOILT[mode]}"
    return Draft(question=question, answers=answers, scenes=(scene,), rationale=why)


def ask(rng: Random, family: str, scene: Scene) -> tuple[str, str, list[str], str]:
    """(question, gold answer of a good photo, two wrong guesses, rationale)."""
    thing, colour, tint, text = scene[2:6]
    if family == "what":
        question = rng.choice(("What is this?", "What is this item?"))
        return question, thing, _guesses(rng, THINGS, thing), f"the {thing} is {colour}"
    if family == "color":
        question = rng.choice(("What color is this?", "Can you tell me the color?"))
        return question, colour, _guesses(rng, PALETTE, colour), f"the {thing} is {colour}"
    if family == "bill":
        question = rng.choice(("How much is this bill?", "What bill is this?"))
        return question, text, _guesses(rng, BILLS, text), f"the bill says {text}"
    if family == "label":
        question = rng.choice(("What does the label say?", "What is in here?"))
        return question, text, _guesses(rng, LABELS, text), f"the {thing} says {text}"
    if family == "tint":
        return "What color is the label?", tint, _guesses(rng, PALETTE, tint), f"the label is {tint}"
    other = _guesses(rng, THINGS, thing)[0]
    first, second = rng.sample((thing, other), 2)
    return f"Is this a {first} or a {second}?", thing, [other, "yes"], f"the {thing} is {colour}"


def _guesses(rng: Random, among: tuple[str, ...], gold: str) -> list[str]:
    """Two wrong answers."""
    return rng.sample([other for other in among if other != gold], 2)


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split."""
    return generate("vizwiz", world, paint, split, index)


PUBLISHED = {"train": "train", "validation": "train", "test": "val"}
COUNTS = {"train": 19497, "validation": 1026, "test": 4319}
SITE = "https://vizwiz.cs.colorado.edu/VizWiz_final"
SOURCES = (
    Source(
        files=("train.json", "val.json", "train/*", "val/*"),
        urls=(f"{SITE}/vqa_data/Annotations.zip", f"{SITE}/images/train.zip", f"{SITE}/images/val.zip"),
        note="the only publication of the train split",
    ),
    Source(
        hub="lmms-lab/VizWiz-VQA", files=("data/val-*.parquet",), note="test items alone: the hub has no train split"
    ),
)
KEYS = ("image", "question", "answers")


def official(folder: Path, split: str) -> Sequence[Example]:
    """The items of a split, from ``train.json`` and ``val.json`` or, for the test items, from lmms-lab's parquet files.

    JSON: image, question, answers [{answer, answer_confidence}], in ``folder`` or its ``Annotations/``, with the
    pictures in ``<train or val>/`` or ``images/``. Parquet: question_id, image {bytes, path}, question, answers (ten
    texts). Gold is the most common answer. A twentieth of train is validation (``tasks.official``).
    """
    source = known_split(split, PUBLISHED, "vizwiz")
    places = (existing(folder, "vizwiz"), folder / "Annotations")
    file = next((place / f"{source}.json" for place in places if (place / f"{source}.json").is_file()), None)
    if file is not None:
        examples = loaded(_json_rows, _read_json, (file,), (folder / source, folder / "images"))
    elif files := parquet_files(folder, source):
        examples = loaded(_parquet_rows, _read_parquet, files)
    else:
        hub = "" if source == "train" else " nor val-*.parquet"
        raise UserError(f"{folder} has no {source}.json{hub}: download VizWiz-VQA's annotations and pictures into it")
    return examples if split == "test" else train_or_validation(examples, split, "vizwiz")


def _json_rows(files: Sequence[Path], folders: Sequence[Path]) -> Iterator[Row]:
    return json_rows(files[0], KEYS, "vizwiz")


def _read_json(row: Row, folders: Sequence[Path]) -> Example:
    """One item of an official JSON file."""
    answers = row.values["answers"]
    if not isinstance(answers, list) or not all(isinstance(one, dict) and "answer" in one for one in answers):
        raise row.broken("answers is no list of {answer, answer_confidence}: download the file again")
    picture = row.picture_file(row.values["image"], folders)
    return _example(row, row.text("image"), [one["answer"] for one in answers], picture)


def _parquet_rows(files: Sequence[Path]) -> Iterator[Row]:
    return parquet_rows(files, "vizwiz", ("question_id", "question", "answers"))


def _read_parquet(row: Row) -> Example:
    """One row of lmms-lab's parquet files."""
    return _example(row, row.key("question_id"), row.values["answers"], row.picture())


def _example(row: Row, name: str, answers: object, picture: Any) -> Example:
    """One published item as an Example; every photo has one question."""
    item = f"vizwiz/{name.rsplit('.', 1)[0]}"
    return example_of(
        row, item, question=row.text("question"), answers=row.gold_first(answers), pictures=(picture,), group=item
    )


VIZWIZ = Task(
    name="vizwiz",
    version=2,
    cite="arXiv:1802.08218",
    licence="CC BY 4.0 (the official data); twin: Apache-2.0",
    suffix="When the provided information is insufficient, respond with 'Unanswerable'. "
    "Answer the question using a single word or phrase.",
    score=vqa_accuracy,
    scorers=(SINGLE,),
    breakdown=answerability,
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
