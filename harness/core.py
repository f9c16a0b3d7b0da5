"""The nouns: frozen values that say what an experiment is.

A Task says what the questions are and how an answer is marked. A Stream puts tasks in an order. A Paradigm says which
data a stage sees, which examples it keeps, how it learns and how it asks. The runner is one loop over them, and
everything printed, ranked or plotted is read off the Cells that it writes. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

SPLITS = ("train", "validation", "test", "pretrain")


class UserError(Exception):
    """A mistake that the user can mend: one line saying what is wrong and what to do. The command exits with 2."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One question of a task.

    ``answers`` holds the single gold answer first (what SFT learns and RFT is rewarded for); ten-annotator tasks list
    all ten. For an option question the gold answer is the option's letter and ``choices`` holds the options' texts.
    ``images`` are functions that open the picture when it is needed. The text marks a picture's place with
    ``<image 1>``; pictures without a mark come before the text. Examples that share a picture share ``group``.
    ``rationale`` is a worked solution where the data has one; only pre-training reads it.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    images: tuple[Callable[[], Any], ...] = field(default=(), compare=False)
    group: str = ""
    rationale: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A data set: its questions, and the one function that marks an answer.

    ``twin(split, index)`` generates an item, ``official(folder, split)`` reads the published data; both are marked by
    ``score(answer, example) -> [0, 1]``. ``suffix`` is the "answer directly" instruction of the direct style alone.
    ``version`` is raised by hand whenever an item, a prompt or a mark changes. ``counts`` says how many items each
    official split has.
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

    def load(self, split: str, limit: int, folder: Path | None = None) -> tuple[Example, ...]:
        """The first ``limit`` examples of a split: of the twin, or of the official data in ``folder``."""
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}: use one of {', '.join(SPLITS)}")
        if folder is None:
            return tuple(self.twin(split, index) for index in range(limit))
        if self.official is None:
            raise UserError(f"task {self.name} has no loader for official data: leave out --data to use its twin")
        examples = tuple(self.official(folder / self.name, split)[:limit])
        if not examples:
            raise UserError(f"{folder / self.name} holds no {split} items of {self.name}: check the folder")
        return examples


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a question is asked and its answer written and read; instruction and parser live together.

    Law: ``read(write(a)) == a``. ``read`` returns None where no answer can be read (the reply is malformed).
    ``follows`` is the format that the reward pays ``format_weight`` for.
    """

    name: str
    ask: Callable[[Task, Example], str]
    write: Callable[[str, str], str]
    read: Callable[[str], str | None]
    follows: Callable[[str], bool]
    format_weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Tasks in their order, each with its epochs, and the suites that are watched but never trained."""

    name: str
    tasks: tuple[str, ...]
    epochs: Mapping[str, int]
    general: tuple[str, ...]
    cite: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training run of a paradigm: its name and the tasks whose training data it sees."""

    name: str
    tasks: tuple[str, ...]


def one_by_one(stream: Stream) -> tuple[Stage, ...]:
    """A stage for each task, in the stream's order."""
    return tuple(Stage(name=task, tasks=(task,)) for task in stream.tasks)


def joint(stream: Stream) -> tuple[Stage, ...]:
    """One stage on the union of all tasks; what needs an order is undefined after it."""
    return (Stage(name="joint", tasks=stream.tasks),)


@dataclass(frozen=True, kw_only=True)
class Paradigm:
    """A way to post-train: which data a stage sees, what it keeps, how it learns and how it asks.

    ``learn(job)`` trains one stage. ``select(job)`` returns a verdict per example before the stage, or is None.
    ``kl`` is the coefficient in nats towards ``reference`` ("previous" stage or "base"). ``rate`` multiplies the
    scale's learning rate for this learner. ``version`` is raised by hand whenever the same fields would train
    otherwise.
    """

    name: str
    learn: Callable[[Job], Trained]
    style: Style
    stages: Callable[[Stream], tuple[Stage, ...]] = one_by_one
    select: Callable[[Job], Sequence[Verdict]] | None = None
    kl: float = 0.0
    reference: str = "previous"
    rate: float = 1.0
    version: int = 1
    cite: str = ""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Greedy decoding with a named length in new tokens; part of a cell's identity."""

    name: str
    max_new_tokens: int


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The size of an experiment: model, precision, batch, rollouts, lengths, rates and limits.

    ``train_items`` is how many training presentations a stage has (items times epochs), None for all the data;
    ``test_items`` bounds the items of a cell. ``rates`` maps a learner's name to its learning rate.
    """

    name: str
    model: str
    precision: str
    sft_batch: int
    rollouts: int
    prompts_per_update: int
    updates_per_rollout_batch: int
    decodings: Mapping[str, Decoding]
    rates: Mapping[str, float]
    train_items: int | None
    test_items: int | None
    eval_batch: int
    min_pixels: int
    max_pixels: int
    max_prompt_tokens: int
    top_p: float = 1.0
    micro_batch: int | None = None
    attention: str = "dense"
    engine: str = "transformers"
    ranks: int = 0
    cite: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a user asked for. Its id covers the declared inputs and the hand-raised versions."""

    paradigm: Paradigm
    stream: Stream
    scale: Scale
    seed: int = 0
    limit: int | None = None
    split: str = "test"
    data: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a filter decided about one training example: kept or not, and on which evidence."""

    id: str
    kept: bool
    correct: int
    rollouts: int
    sampled_tokens: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One optimiser step of a stage, for the live display: loss or reward, whichever the learner has."""

    step: int
    steps: int
    loss: float | None = None
    reward: float | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a learner or a filter gets for one stage.

    ``examples`` pairs each training presentation with its task, epochs already unrolled into ``epochs`` per task.
    ``folder`` keeps the trainer's resume state; ``report`` shows progress.
    """

    paradigm: Paradigm
    scale: Scale
    stage: Stage
    examples: tuple[tuple[Task, Example], ...]
    epochs: Mapping[str, int]
    model: Path
    reference: Path | None
    seed: int
    folder: Path
    report: Callable[[Progress], None] = field(default=lambda progress: None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a stage produced: the folder of weights, and what it cost in steps and tokens."""

    weights: Path
    optimiser_steps: int
    sampled_tokens: int
    trained_tokens: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One marked reply. ``read`` is None where the reply was malformed; its score is then 0."""

    example: str
    group: str
    prompt_digest: str
    reply: str
    read: str | None
    score: float
    malformed: bool
    truncated: bool
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A score with its identity: the key (run, stage, task, style, decoding, scorer), and what it was made of.

    Law: absent means not observed; a cell is never 0 or NaN for lack of data, and holds no timings.
    """

    run: str
    stage: int
    stage_name: str
    task: str
    style: str
    decoding: str
    scorer: str
    n: int
    score: float
    malformed: float
    truncated: float
    weights: str
    data: str

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.score <= 1 or math.isnan(self.score):
            raise ValueError(f"cell {self.run}/{self.stage}/{self.task}: {self.score} of {self.n} items is no score")


def digest(value: object) -> str:
    """SHA-256, in hex, of a value's canonical JSON; functions count by their name, nouns by their fields."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """A value as JSON types: dataclasses become mappings, functions their dotted names, paths their text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Path):
        return str(value)
    return value


def stage_seed(run_seed: int, parent_digest: str, stage: str) -> int:
    """A stage's seed, a function of run seed, parent weights and stage, so that shared prefixes stay shared."""
    return int(digest([run_seed, parent_digest, stage])[:8], 16) % (2**31)


def messages(text: str, images: int) -> list[dict[str, Any]]:
    """The chat turn for a prompt: pictures at their ``<image N>`` marks, those without a mark before the text.

    A picture stands at its first mark; a further one stays as words. Raises UserError where the marks would need the
    pictures in another order than the example's: a loader numbers pictures as the text first mentions them.

    >>> [part["type"] for part in messages("Compare <image 1> with <image 2> .", 2)[0]["content"]]
    ['text', 'image', 'text', 'image', 'text']
    >>> [part["type"] for part in messages("What is it?", 1)[0]["content"]]
    ['image', 'text']
    """
    marks: dict[int, re.Match[str]] = {}
    for match in re.finditer(r"<image (\d+)>", text):
        if 1 <= int(match[1]) <= images:
            marks.setdefault(int(match[1]), match)
    order = [number for number in range(1, images + 1) if number not in marks] + list(marks)
    if order != sorted(order):
        raise UserError(f"a question marks its pictures as {list(marks)} of {images}: number them as first mentioned")
    parts: list[dict[str, Any]] = [{"type": "image"}] * (images - len(marks))
    start = 0
    for match in marks.values():
        parts += [*_text_part(text[start : match.start()]), {"type": "image"}]
        start = match.end()
    parts += _text_part(text[start:])
    return [{"role": "user", "content": parts}]


def _text_part(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text.strip() else []


__all__ = [
    "SPLITS",
    "Cell",
    "Decoding",
    "Example",
    "Job",
    "Paradigm",
    "Progress",
    "Row",
    "Run",
    "Scale",
    "Stage",
    "Stream",
    "Style",
    "Task",
    "Trained",
    "UserError",
    "Verdict",
    "digest",
    "joint",
    "messages",
    "one_by_one",
    "plain",
    "replace",
    "stage_seed",
]  # fmt: skip
