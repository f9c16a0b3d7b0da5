"""What the published runs are known to within: an interval for each run, and the arms of a group beside one another.

Arms are compared in one style and one group only: the same stream, scale, base, items, scorers and engine. The best of
a metric is the arm with the best mean; another arm is told apart from it where the interval of their difference leaves
out zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import UserError, replace
from harness.results.arms import Arm, arm_of
from harness.results.marks import Place, Scores, marks_of
from harness.results.metrics import ALL
from harness.results.published import RUNS, PublishedRun, sound_runs
from harness.results.references import with_odds
from harness.results.stats import Estimate, Resampled, resample
from harness.results.undefined import mean
from harness.values import cut

TABLE = ("average_accuracy", "net_learning", "backward_transfer", "loss_rate", "general_delta", "malformed_share")
LOWER = ("loss_rate", "malformed_share")  # of those in the table, where low is good
BEST, ALIKE = "best", "alike"

Marks = Mapping[Place, Scores]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A published run with its marks, which give its cells to the last digit."""

    run: PublishedRun
    marks: Marks


def seen_runs(results: Path) -> tuple[list[Seen], tuple[str, ...]]:
    """The sound published runs, and a line for each other one: unreadable, or with marks that do not give its cells."""
    runs, damaged = sound_runs(results)
    found, lines = [], list(damaged)
    for run in runs:
        try:
            found.append(Seen(run=run, marks=marks_of(run, results / RUNS / run.id)))
        except UserError as fault:
            lines.append(f"{cut(str(fault), 500)} (left out)")
    return found, tuple(lines)


class Arms:
    """The arms of published runs, with what joint training reaches and the odds of their items, each made once."""

    def __init__(self, seen: Sequence[Seen]) -> None:
        """Take the runs."""
        self.seen = seen
        self._odds: dict[str, dict[str, Any]] = {}
        self._resampled: dict[tuple[tuple[str, ...], str], Resampled] = {}

    def of(self, runs: Sequence[Seen], style: str) -> Arm:
        """The runs of one arm in a style."""
        first = runs[0].run
        arm = arm_of([one.run for one in runs], [one.marks for one in runs], style)
        if first.group not in self._odds:
            self._odds[first.group] = {column.name: column.odds for column in with_odds(arm.tasks, first)}
        tasks = tuple(replace(column, odds=self._odds[first.group][column.name]) for column in arm.tasks)
        return replace(arm, tasks=tasks, joint=self._joint(first, style))

    def _joint(self, run: PublishedRun, style: str) -> tuple[float | None, ...]:
        """What joint training of the run's group reaches by task, mean over its seeds; empty where there is none."""
        found = [
            dict(zip(run.tasks, one.run.matrix(style).final, strict=True))
            for one in self.seen
            if one.run.group == run.group
            and len(one.run.record.stages) == 1
            and set(one.run.record.stages[0].tasks) == set(run.tasks)
        ]
        return tuple(mean(scores[task] for scores in found) for task in run.tasks) if found else ()

    def resampled(self, runs: Sequence[Seen], style: str) -> Resampled:
        """Its replicates."""
        key = (tuple(one.run.id for one in runs), style)
        if key not in self._resampled:
            self._resampled[key] = resample(self.of(runs, style))
        return self._resampled[key]


def intervals(seen: Sequence[Seen]) -> dict[str, dict[str, Estimate | None]]:
    """Every metric of each run in its own style, by the run's id, with the interval that its items give."""
    arms = Arms(seen)
    found = {}
    for one in seen:
        resampled = arms.resampled([one], one.run.style)
        found[one.run.id] = {name: resampled.estimate(name) for name in ALL}
    return found


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An arm: its seeds, its metrics, and of each whether it is the best or cannot be told apart from the best."""

    paradigm: str
    trained: str
    seeds: int
    estimates: Mapping[str, Estimate | None]
    words: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Board:
    """The arms of one group asked in one style, the best average accuracy first."""

    stream: str
    scale: str
    group: str
    style: str
    standings: tuple[Standing, ...]


def boards(seen: Sequence[Seen], names: Sequence[str] = TABLE) -> list[Board]:
    """A board for each group and style, sorted by stream, scale, group and style."""
    arms = Arms(seen)
    keys = sorted({(one.run.stream, one.run.scale, one.run.group) for one in seen})
    found = []
    for stream, scale, group in keys:
        members: dict[str, list[Seen]] = {}
        for one in seen:
            if one.run.group == group:
                members.setdefault(one.run.recipe, []).append(one)
        for style in sorted({style for runs in members.values() for style in runs[0].run.styles}):
            sides = [(runs, arms.resampled(runs, style)) for runs in members.values()]
            standings = sorted(_standings(sides, names), key=_order)
            board = Board(stream=stream, scale=scale, group=group, style=style, standings=tuple(standings))
            found.append(board)
    return found


def _standings(sides: Sequence[tuple[list[Seen], Resampled]], names: Sequence[str]) -> list[Standing]:
    """The arms of a board."""
    estimates = [{name: resampled.estimate(name) for name in names} for _, resampled in sides]
    words: list[dict[str, str]] = [{} for _ in sides]
    for name in names:
        known = [place for place, one in enumerate(estimates) if one[name] is not None]
        if not known:
            continue
        best = max(known, key=lambda place: _goodness(name, estimates[place][name]))
        words[best][name] = BEST
        for place in known:
            if place != best and not told_apart(sides[best][1], sides[place][1], name):
                words[place][name] = ALIKE
    return [
        Standing(
            paradigm=runs[0].run.paradigm,
            trained=runs[0].run.style,
            seeds=len(runs),
            estimates=estimate,
            words=said,
        )
        for (runs, _), estimate, said in zip(sides, estimates, words, strict=True)
    ]


def beside(one: Resampled, *others: Resampled) -> Resampled:
    """An arm alone, or two as one: of one group, so that the same draws are of the same items in the same order."""
    for other in others:
        one = Resampled(whole=one.whole + other.whole, drawn=one.drawn + other.drawn)
    return one


def told_apart(one: Resampled, other: Resampled, name: str) -> bool:
    """Whether the interval of the difference of two arms' metric leaves out zero; equal draws make them paired."""
    difference = beside(one, other).estimate(name)
    return difference is not None and not difference.low <= 0 <= difference.high


def _goodness(name: str, found: Estimate | None) -> float:
    value = -math.inf if found is None else found.value
    return -value if name in LOWER else value


def _order(one: Standing) -> tuple[float, str]:
    return -_goodness("average_accuracy", one.estimates.get("average_accuracy")), one.paradigm


__all__ = ["ALIKE", "BEST", "TABLE", "Arms", "Board", "Seen", "Standing", "beside", "boards", "intervals", "seen_runs"]
