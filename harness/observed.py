"""The nouns of what was seen: replies, their marks, cells, verdicts, progress. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.values import UserError, cut, is_number

OWN_STYLE = "own"  # the style of a suite, which asks in its own words


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One thing that is looked at after a stage: a task in a style, an outside suite, or a probe of the weights.

    ``kind`` is "task", "suite" or "probe"; a suite's style is "own", a probe has neither style nor decoding.
    """

    stage: int
    stage_name: str
    kind: str
    name: str
    style: str = ""
    decoding: str = ""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model said to one prompt: text, length in tokens (its end mark included), and whether it was cut off."""

    example: str
    group: str
    prompt_digest: str
    text: str
    tokens: int
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a reply was worth: the answer read (None: malformed) and its score, a fraction (0 when malformed)."""

    example: str
    read: str | None
    score: float

    def __post_init__(self) -> None:
        if not is_number(self.score, 0, 1):
            raise ValueError(f"the score of {self.example} is {self.score!r}: a scorer gives a number from 0 to 1")
        if self.read is None and self.score:
            raise ValueError(f"{self.example} was not read, but scores {self.score!r}: what cannot be read scores 0")

    @property
    def malformed(self) -> bool:
        """Whether no answer could be read."""
        return self.read is None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A further number of a cell: a fraction, and the count of the items that it is over."""

    value: float
    n: int

    def __post_init__(self) -> None:
        if type(self.n) is not int or self.n < 1 or not is_number(self.value, 0, 1):
            raise UserError(
                f"{cut(repr(self.value), 40)} over {cut(repr(self.n), 40)} items is no Part: give a number from 0 to 1"
                " over 1 item or more, and leave out what is undefined"
            )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a selector decided about one training example of a task: kept or not, and on which evidence."""

    task: str
    id: str
    kept: bool
    correct: int
    rollouts: int
    sampled_tokens: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One optimiser step of a stage, for the live display: loss or reward, whichever the learner has.

    ``tokens`` are those that the stage has trained on so far, where the learner counts them.
    """

    step: int
    steps: int
    loss: float | None = None
    reward: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A score with its identity: the key (run, stage, task, style, decoding, scorer, engine), and what it was made of.

    ``task`` is a task's or a suite's name. Law: absent means not observed; a cell is never 0 or NaN for lack of data,
    and holds no timings.
    """

    run: str
    stage: int
    stage_name: str
    task: str
    style: str
    decoding: str
    scorer: str
    engine: str
    n: int
    score: float
    malformed: float
    truncated: float
    weights: str
    data: str

    def __post_init__(self) -> None:
        shares = (self.score, self.malformed, self.truncated)
        if self.n < 1 or not all(is_number(share, 0, 1) for share in shares):
            raise ValueError(f"cell {self.run}/{self.stage}/{self.task}: {self.score} of {self.n} items is no score")


@dataclass(frozen=True, kw_only=True)
class Detail:
    """A further number of a cell, a row of details.csv: what a breakdown gives under ``name``, over ``n`` items."""

    run: str
    stage: int
    stage_name: str
    task: str
    style: str
    scorer: str
    name: str
    n: int
    value: float


@dataclass(frozen=True, kw_only=True)
class ProbeValue:
    """One number of a probe, a row of probes.csv; digests say between which weights it was measured."""

    run: str
    stage: int
    stage_name: str
    probe: str
    version: int
    unit: str
    value: float
    before: str
    after: str

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)) or not math.isfinite(self.value):
            raise UserError(f"probe {self.probe} gives {self.value!r}: its measure must give a finite number")


__all__ = ["OWN_STYLE", "Cell", "Detail", "Mark", "Observation", "Part", "ProbeValue", "Progress", "Reply", "Verdict"]
