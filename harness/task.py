"""Tasks and their questions: what is asked, where the official data comes from, how an answer is marked.

A row of official data that cannot be used is a ``BrokenItem``. A loader hands it to ``broken``, which raises it; inside
``collecting(limit)`` it is noted instead, so that the caller learns of all of them and the loader leaves them out:

    with collecting(limit=3) as faults:
        examples = task.load("train", 100, folder)
    print([fault.item for fault in faults])

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from harness.observed import Mark, Part
from harness.values import Checked, UserError

SPLITS = ("train", "validation", "test", "pretrain")


class BrokenItem(UserError):
    """An item of official data that cannot be used.

    ``item`` names it without its folder ("pope/12/random", or "pope/test-00000-of-00001.parquet, row 3" where nobody
    can read its id), ``reason`` says in one line what is wrong, and ``where`` is the file and row that a user looks at.
    """

    def __init__(self, item: str, reason: str, where: str = "") -> None:
        super().__init__(f"{where}, {item}: {reason}" if where and item not in where else f"{where or item}: {reason}")
        self.item, self.reason, self.where = item, reason, where


class _Collector:
    """The broken items that were left out, each once, and how many may be."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.found: list[BrokenItem] = []
        self.names: set[str] = set()

    def note(self, fault: BrokenItem) -> None:
        """One more; UserError where that is one too many."""
        if fault.item in self.names:
            return
        self.found.append(fault)
        self.names.add(fault.item)
        if self.limit is not None and len(self.found) > self.limit:
            count, names = len(self.found), "; ".join(known.item for known in self.found[:5])
            raise UserError(f"{count} items are broken where {self.limit} may be left out ({names}): {fault}")


_collector: ContextVar[_Collector | None] = ContextVar("collector", default=None)


@contextmanager
def collecting(limit: int | None = None) -> Iterator[list[BrokenItem]]:
    """Inside, broken items are left out and stand in the list, each once, in the order of their reading.

    One more than ``limit`` raises UserError; None is without a limit. Of two that stand in each other, the inner one
    collects.
    """
    collector = _Collector(limit)
    token = _collector.set(collector)
    try:
        yield collector.found
    finally:
        _collector.reset(token)


def broken(fault: BrokenItem) -> None:
    """Raises a broken item, or notes it where the caller is ``collecting``; the loader then leaves it out."""
    collector = _collector.get()
    if collector is None:
        raise fault
    collector.note(fault)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One question of a task.

    ``answers`` holds the single gold answer first (what SFT learns and RFT is rewarded for); ten-annotator tasks list
    all ten. For an option question the gold answer is the option's letter and ``choices`` holds the options' texts.
    ``images`` are functions that open the picture when it is needed. The text marks a picture's place with
    ``<image 1>``; pictures without a mark come before the text. Examples that share a picture share ``group``.
    ``rationale`` is a worked solution where the data has one; pre-training and ``sft-cot`` read it. ``turns`` are the
    (role, text) of the chat before the question, where an outside suite has some.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    images: tuple[Callable[[], Any], ...] = field(default=(), compare=False)
    group: str = ""
    rationale: str = ""
    turns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that a task's official data is published at, and which of its files the loader reads.

    ``hub`` is a data set's id on the Hugging Face hub; ``files`` are patterns as ``fnmatch`` knows them, of its files
    and of those in the task's folder. ``urls`` are archives of the official site, where the hub lacks them. ``note`` is
    what a user must know beside them, in one line.
    """

    hub: str = ""
    files: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Another way to mark a task's answers, under a name of its own; no run is trained or ranked by it.

    ``score`` is as a Task's; ``version`` is raised by hand whenever its mark changes.
    """

    name: str
    version: int
    score: Callable[[str, Example], float]

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.count("version")
        checked.functions("score")


# Further numbers of a cell by their names, from its examples and their marks, in one order.
Breakdown = Callable[[Sequence[Example], Sequence[Mark]], Mapping[str, Part]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A data set: its questions, and the one function that marks an answer.

    ``twin(split, index)`` generates an item, ``official(folder, split)`` reads the published data; both are marked by
    ``score(answer, example) -> [0, 1]``. ``suffix`` is the "answer directly" instruction of the direct style alone.
    ``version`` is raised by hand whenever a mark changes. ``counts`` says how many items each official split has,
    ``sources`` where they are published. ``scorers`` are further ways to mark the same replies, each under its name;
    ``breakdown`` gives further numbers of a cell, such as the mean of a part of its items.
    """

    name: str
    version: int
    cite: str
    licence: str
    suffix: str
    score: Callable[[str, Example], float]
    twin: Callable[[str, int], Example]
    official: Callable[[Path, str], Sequence[Example]] | None = None
    twin_items: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    scorers: tuple[Scorer, ...] = ()
    breakdown: Breakdown | None = None

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.count("version")
        checked.text("licence", "suffix")
        checked.functions("score")
        checked.calls("twin")
        checked.calls("official", absent=True)
        checked.count("twin_items", absent=True)
        if not isinstance(self.sources, tuple) or not all(isinstance(one, Source) for one in self.sources):
            checked.refuse("sources", "a tuple of Sources")
        checked.several(Scorer, "scorers")
        checked.functions("breakdown", absent=True)

    def by(self, scorer: str) -> Task:
        """This task as its scorer of that name marks it; itself where it has none."""
        found = [one for one in self.scorers if one.name == scorer]
        return replace(self, score=found[0].score, version=found[0].version) if found else self

    def load(self, split: str, limit: int, folder: Path | None = None) -> tuple[Example, ...]:
        """``limit`` examples of a split: the first of the twin, or a seeded sample of the official data in ``folder``.

        A smaller sample is part of a larger one, and a sample stands in the order of the file. A row that cannot be
        used raises BrokenItem, or is left out where the caller is ``collecting``.
        """
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}: use one of {', '.join(SPLITS)}")
        if folder is None:
            return tuple(self.twin(split, index) for index in range(limit))
        if self.official is None:
            raise UserError(f"task {self.name} has no loader for official data: leave out --data to use its twin")
        found = self.official(folder / self.name, split)
        if not found:
            raise UserError(f"{folder / self.name} holds no {split} items of {self.name}: check the folder")
        if limit >= len(found):
            return tuple(found)
        return tuple(found[index] for index in sampled(f"{self.name}/{split}", len(found), limit))


def sampled(name: str, items: int, limit: int) -> list[int]:
    """The places of ``limit`` of so many items, drawn by a name: a smaller sample is part of a larger one; in order.

    >>> set(sampled("pope/test", 9000, 8)) < set(sampled("pope/test", 9000, 16)), sampled("pope/test", 3, 9)
    (True, [0, 1, 2])
    """
    return sorted(Random(name).sample(range(items), items)[:limit])


__all__ = [
    "SPLITS",
    "Breakdown",
    "BrokenItem",
    "Example",
    "Scorer",
    "Source",
    "Task",
    "broken",
    "collecting",
    "sampled",
]
