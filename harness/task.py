"""Tasks and their questions: what is asked, where the official data comes from, how an answer is marked.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from harness.values import Checked, UserError

SPLITS = ("train", "validation", "test", "pretrain")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One question of a task.

    ``answers`` holds the single gold answer first (what SFT learns and RFT is rewarded for); ten-annotator tasks list
    all ten. For an option question the gold answer is the option's letter and ``choices`` holds the options' texts.
    ``images`` are functions that open the picture when it is needed. The text marks a picture's place with
    ``<image 1>``; pictures without a mark come before the text. Examples that share a picture share ``group``.
    ``rationale`` is a worked solution where the data has one; pre-training and ``sft-cot`` read it.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    images: tuple[Callable[[], Any], ...] = field(default=(), compare=False)
    group: str = ""
    rationale: str = ""


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
class Task:
    """A data set: its questions, and the one function that marks an answer.

    ``twin(split, index)`` generates an item, ``official(folder, split)`` reads the published data; both are marked by
    ``score(answer, example) -> [0, 1]``. ``suffix`` is the "answer directly" instruction of the direct style alone.
    ``version`` is raised by hand whenever a mark changes. ``counts`` says how many items each official split has,
    ``sources`` where they are published.
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

    def load(self, split: str, limit: int, folder: Path | None = None) -> tuple[Example, ...]:
        """``limit`` examples of a split: the first of the twin, or a seeded sample of the official data in ``folder``.

        A smaller sample is part of a larger one, and a sample stands in the order of the file.
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
        drawn = Random(f"{self.name}/{split}").sample(range(len(found)), len(found))[:limit]
        return tuple(found[index] for index in sorted(drawn))


__all__ = ["SPLITS", "Example", "Source", "Task"]
