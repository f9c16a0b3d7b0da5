"""POPE: is a thing in the picture, where random, popular or likely things are asked for (Li et al., arXiv:2305.10355).

Twin: each picture shows three kinds of toys and is asked about all six kinds, so that half of the answers are "yes". Of
the three absent kinds one is a usual companion of a toy in the picture (adversarial), one is the most frequent kind of
the other two (popular), and one is left (random); a question for a toy that is there goes with each. The example's id
names the category. Nothing is withheld from pre-training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from harness.core import Example, Source, Task, UserError
from tasks import gqa
from tasks.arrow import parquet_rows
from tasks.breakdowns import presence
from tasks.official import Row, example_of, existing, jsonl_rows, known_split, loaded, parquet_files
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


COUNTS = {"test": 9000}
SITE = "https://raw.githubusercontent.com/RUCAIBox/POPE/main/output/coco/coco_pope_"
SOURCES = (
    Source(hub="lmms-lab/POPE", files=("data/test-*.parquet",), note="the three categories in one file"),
    Source(
        hub="lmms-lab/POPE", files=tuple(f"Full/{name}-*.parquet" for name in CATEGORIES), note="the same by category"
    ),
    Source(
        files=("coco_pope_*.json", "val2014/*"),
        urls=(*(f"{SITE}{name}.json" for name in CATEGORIES), "http://images.cocodataset.org/zips/val2014.zip"),
        note="the official lists; 500 of the COCO pictures are shown",
    ),
)


def official(folder: Path, split: str) -> Sequence[Example]:
    """The items of the three categories; the id of each ends in its category.

    Parquet (lmms-lab/POPE, config default or Full): question_id, question, answer, image_source, image, category. JSON
    lines (the official ``coco_pope_<category>.json``, in ``folder`` or its ``output/coco/``): question_id, image, text,
    label, with COCO's pictures in ``val2014/`` or ``images/``. There is a test split alone.
    """
    known_split(split, {"test": "test"}, "pope")
    files = parquet_files(existing(folder, "pope"), "test")
    for name in () if files else CATEGORIES:
        files += parquet_files(folder / "Full", name, ())
    if files:
        return loaded(_parquet_rows, _read_parquet, files)
    places = (folder, folder / "output" / "coco")
    lists = [place / f"coco_pope_{name}.json" for place in places for name in CATEGORIES]
    files = tuple(file for file in lists if file.is_file())
    if len(files) != len(CATEGORIES):
        raise UserError(
            f"{folder} has neither parquet files nor three coco_pope_*.json: download lmms-lab/POPE into it"
        )
    return loaded(_json_rows, _read_json, files, (folder / "val2014", folder / "images"))


def _parquet_rows(files: Sequence[Path]) -> Iterator[Row]:
    return parquet_rows(files, "pope", ("question_id", "question", "answer", "image_source", "category"))


def _read_parquet(row: Row) -> Example:
    """One row of lmms-lab's parquet files."""
    return _example(row, row.text("category"), "question", "answer", row.text("image_source"), row.picture())


def _json_rows(files: Sequence[Path], folders: Sequence[Path]) -> Iterator[Row]:
    for file in files:
        yield from jsonl_rows(file, ("question_id", "image", "text", "label"), "pope")


def _read_json(row: Row, folders: Sequence[Path]) -> Example:
    """One line of an official list."""
    category = row.file.stem.rpartition("_")[2]
    picture = row.picture_file(row.values["image"], folders)
    return _example(row, category, "text", "label", row.text("image"), picture)


def _example(row: Row, category: str, question: str, answer: str, source: str, picture: Any) -> Example:
    """One published item as an Example; ``question`` and ``answer`` are the columns that hold them."""
    gold = row.text(answer).lower()
    if gold not in ("yes", "no") or category not in CATEGORIES:
        raise row.broken(f"{answer} is {gold!r:.40} in category {category!r:.40}: download the file again")
    return example_of(
        row,
        f"pope/{row.key('question_id')}/{category}",
        question=row.text(question),
        answers=(gold,),
        pictures=(picture,),
        group=f"pope/{source.rsplit('.', 1)[0]}",
    )


POPE = Task(
    name="pope",
    version=2,
    cite="arXiv:2305.10355",
    licence="MIT (the official data); twin: Apache-2.0",
    suffix="Answer the question using yes or no.",
    score=yes_no,
    breakdown=presence,
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
