"""MMLU-Pro: knowledge questions in text alone, with up to ten options (Wang et al., arXiv:2406.01574).

Twin: a few dozen facts (kinds of things, opposites, days, small numbers) asked with three to ten options. The splits
differ in question and options; the facts behind them are shared, for the suite measures knowledge that is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from harness.core import Example, Source, Task, UserError
from tasks.arrow import parquet_rows
from tasks.gqa import PALETTE, TOYS
from tasks.official import Row, example_of, existing, known_split, loaded, parquet_files
from tasks.scoring import option_letter
from tasks.twins import Draft, generate, lettered

KINDS = {
    "animal": ("dog", "cat", "cow", "horse", "fish", "bird", "lion", "mouse"),
    "fruit": ("apple", "pear", "plum", "grape", "lemon", "melon", "cherry", "peach"),
    "color": PALETTE,
    "toy": tuple(sorted(TOYS)),
    "tool": ("hammer", "saw", "drill", "knife", "spade", "brush", "wrench", "file"),
    "garment": ("hat", "shoe", "coat", "sock", "shirt", "scarf", "glove", "belt"),
}
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("old", "new"), ("wet", "dry"), ("up", "down"),
    ("open", "closed"), ("full", "empty"), ("hard", "soft"), ("early", "late"), ("rich", "poor"), ("day", "night"),
)  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FAMILIES = ("kind", "kind", "opposite", "opposite", "sum", "next", "day")
OPTIONS = (3, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8, 9, 10)
LAST = 12


def world(rng: Random, split: str, slot: int) -> Draft:
    """A fact, a question for it, and three to ten options."""
    family = rng.choice(FAMILIES)
    question, right, wrong, why = {"kind": _kind, "opposite": _opposite, "day": _day}.get(family, _number)(rng, family)
    count = min(rng.choice(OPTIONS), 1 + len(wrong))
    choices, letter = lettered(rng, right, rng.sample(wrong, count - 1))
    rationale = f"{why} , {right} is {letter}"
    return Draft(question=question, answers=(letter,), choices=choices, rationale=rationale)


Asked = tuple[str, str, list[str], str]


def _kind(rng: Random, family: str) -> Asked:
    """Which word is of a kind: (question, right option, wrong options, reason)."""
    kind = rng.choice(sorted(KINDS))
    right = rng.choice(KINDS[kind])
    wrong = [word for other, members in KINDS.items() if other != kind for word in members]
    article = "an" if kind == "animal" else "a"
    question = rng.choice((f"Which of these is {article} {kind}?", f"Which word names {article} {kind}?"))
    return question, right, wrong, f"{right} is {article} {kind}"


def _opposite(rng: Random, family: str) -> Asked:
    """The opposite of a word, among words that are not."""
    pair = rng.choice(OPPOSITES)
    given, right = rng.sample(pair, 2)
    wrong = [word for other in OPPOSITES if other != pair for word in other]
    question = rng.choice((f"What is the opposite of {given}?", f"Which word is the opposite of {given}?"))
    return question, right, wrong, f"the opposite of {given} is {right}"


def _day(rng: Random, family: str) -> Asked:
    """The day after or before a day."""
    at = rng.randrange(7)
    step, name = rng.choice(((1, "after"), (-1, "before")))
    right = DAYS[(at + step) % 7]
    wrong = [day for day in DAYS if day not in (right, DAYS[at])]
    return f"Which day comes {name} {DAYS[at]}?", right, wrong, f"{right} comes {name} {DAYS[at]}"


def _number(rng: Random, family: str) -> Asked:
    """A sum of two digits up to five, or the number after or before one."""
    if family == "sum":
        a, b = rng.randint(1, 5), rng.randint(1, 5)
        question = rng.choice((f"What is {a} plus {b}?", f"How much is {a} plus {b}?"))
        right, why = a + b, f"{a} plus {b}"
    else:
        step, name = rng.choice(((1, "after"), (-1, "before")))
        start = rng.randint(1, LAST - 1)
        right, question, why = start + step, f"Which number comes {name} {start}?", f"{name} {start}"
    wrong = [str(number) for number in range(LAST + 1) if number != right]
    return question, str(right), wrong, f"{why} is {right}"


def twin(split: str, index: int) -> Example:
    """Item ``index`` of the twin's split."""
    return generate("mmlu-pro", world, None, split, index)


COUNTS = {"validation": 70, "test": 12032}
SOURCES = (Source(hub="TIGER-Lab/MMLU-Pro", files=("data/*.parquet",)),)


def official(folder: Path, split: str) -> Sequence[Example]:
    """The items of TIGER-Lab/MMLU-Pro, from ``<split>-*.parquet`` in ``folder`` or its ``data/``.

    Columns: question_id, question, options (1 to 10 texts), answer (a letter).
    """
    prefix = known_split(split, {name: name for name in COUNTS}, "mmlu-pro")
    files = parquet_files(existing(folder, "mmlu-pro"), prefix)
    if not files:
        raise UserError(f"{folder} has no {prefix}-*.parquet: download TIGER-Lab/MMLU-Pro into it")
    return loaded(_rows, _read, files)


def _rows(files: Sequence[Path]) -> Iterator[Row]:
    return parquet_rows(files, "mmlu-pro", ("question_id", "question", "options", "answer"), images=())


def _read(row: Row) -> Example:
    """One published row as an Example."""
    item, options = f"mmlu-pro/{row.key('question_id')}", row.options(row.values["options"])
    letter = row.letter("answer", options)
    return example_of(row, item, question=row.text("question"), answers=(letter,), choices=options, group=item)


MMLU_PRO = Task(
    name="mmlu-pro",
    version=2,
    cite="arXiv:2406.01574",
    licence="MIT (the official data); twin: Apache-2.0",
    suffix="Answer with the option's letter from the given choices directly.",
    score=option_letter,
    twin=twin,
    official=official,
    counts=COUNTS,
    sources=SOURCES,
)
