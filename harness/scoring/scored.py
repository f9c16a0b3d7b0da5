"""What was seen of models that were trained elsewhere, and what can and cannot be said from it.

A table of accuracies gives metrics; replies give their intervals and the items that flip, too. Nothing here is a run:
who trained what, on which data and from which weights, is the word of the one who asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.core import OWN_STYLE, Cell, Mark, Observation, Run, UserError, joint, one_by_one
from harness.results.marks import Place, Scores
from harness.results.matrix import BASE, AccuracyMatrix
from harness.run_inputs import Asked, cells_of, observations
from harness.scoring.paradigm import ELSEWHERE
from harness.values import cut

JOINT = "joint"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One arm that was trained elsewhere: a matrix for each seed in one style, and its items where they are known.

    ``source`` is "models", "predictions" or "matrix"; ``marks`` are by seed, empty for tables of accuracies.
    ``options`` says how many options the items of a task have, where all of them have some. ``inputs`` says what was
    read, with its digest; ``notes`` are lines that a reader of the numbers must know.
    """

    source: str
    style: str
    seeds: tuple[str, ...]
    matrices: tuple[AccuracyMatrix, ...]
    marks: tuple[Mapping[Place, Scores], ...] = ()
    options: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def mean(self) -> AccuracyMatrix:
        """The mean matrix over the seeds; a cell that one of them lacks is not observed."""
        return replace(
            self.matrices[0],
            scores=_means([one.scores for one in self.matrices]),
            general=_means([one.general for one in self.matrices]),
            malformed=_means([one.malformed for one in self.matrices]),
        )


def _means(tables: Sequence[tuple[tuple[float | None, ...], ...]]) -> tuple[tuple[float | None, ...], ...]:
    """The mean of tables of one shape, cell by cell."""
    return tuple(tuple(_mean(values) for values in zip(*rows, strict=True)) for rows in zip(*tables, strict=True))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def scores_of(groups: Sequence[str], marks: Sequence[Mark]) -> Scores:
    """The scores of a cell's items, as those of a published run are read."""
    return Scores(
        examples=tuple(mark.example for mark in marks),
        groups=tuple(groups),
        scores=tuple(mark.score for mark in marks),
        malformed=tuple(mark.malformed for mark in marks),
    )


def options_of(asked: Mapping[str, Asked]) -> dict[str, tuple[int, ...]]:
    """How many options the items of each task have; only of tasks whose items all have two or more."""
    counts = {name: tuple(len(example.choices) for example in one.examples) for name, one in asked.items()}
    return {name: found for name, found in counts.items() if min(found, default=0) > 1}


def digest_of(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def asked_run(run: Run, stages: Sequence[str]) -> Run:
    """The run as an arm from elsewhere whose stages have these names: those of the stream, or one joint stage.

    Raises:
        UserError: where a name is no stage of the stream.
    """
    wanted = joint if list(stages) == [JOINT] else one_by_one
    known = [BASE, *(stage.name for stage in wanted(run.stream))]
    for name in stages:
        if name not in known:
            raise UserError(
                f"{cut(repr(name), 60)} is no stage of stream {run.stream.name}: use {', '.join(known)}; or {JOINT}"
            )
    return replace(run, paradigm=replace(ELSEWHERE, stages=wanted, style=run.paradigm.style))


def wanted_cells(run: Run, styles: Sequence[str]) -> tuple[Observation, ...]:
    """The observations of a run in these styles, and of suites that ask in their own; no probes."""
    return tuple(one for one in cells_of(observations(run)) if one.style in (*styles, OWN_STYLE))


__all__ = ["JOINT", "Scored", "asked_run", "digest_of", "options_of", "scores_of", "wanted_cells"]
