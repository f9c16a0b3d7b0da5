"""The tree of a sweep: stages that runs share are done once, and what is done at once never waits for one another.

A leg is one task: ``harness run --until STAGE``, or without ``--until`` to its end. It ends where another run branches
off. Two runs share a row of the base where they observe alike, and a stage where all that decides its training is the
same up to there; what a run needs from a shared stage it then finds in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core import Run, Stage, digest
from harness.run_inputs import declared, run_id, run_stages, training_items
from harness.runner import BASE
from harness.store.lineage import style_inputs


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A task of a sweep: the run, its words, the stages it trains first, and the numbers of the legs it comes after.

    ``until`` is empty for a leg that ends its run. ``cpus`` and ``gpus`` are what it takes.
    """

    run: str
    words: tuple[str, ...]
    until: str
    trains: tuple[str, ...]
    after: tuple[int, ...]
    cpus: int
    gpus: int

    @property
    def name(self) -> str:
        """What a user knows it by."""
        return f"{self.run} until {self.until}" if self.until else self.run

    @property
    def command(self) -> tuple[str, ...]:
        """The words after ``harness``."""
        return (*self.words, "--until", self.until) if self.until else self.words


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A run of a sweep with the words that do it, and what a task of it takes."""

    run: Run
    words: tuple[str, ...]
    cpus: int
    gpus: int


def chain(run: Run) -> tuple[str, ...]:
    """Digests of the rows of a run: of what the base is asked, and of all that decides each stage up to there."""
    known = declared(run)
    looks = ("model", "engine", "sizes", "styles", "decodings", "tasks", "others", "limit", "split")
    found = [digest([BASE, {name: known[name] for name in looks}, run.data, run.left_out])]
    before = digest([known["model"], run.data, run.left_out])
    for stage in run_stages(run):
        before = digest([before, _decides(run, known, stage)])
        found.append(before)
    return tuple(found)


def _decides(run: Run, known: dict[str, object], stage: Stage) -> list[object]:
    """What decides a stage beside the weights it starts from."""
    tasks = known["tasks"]
    return [
        known["learner"],
        known["select"],
        known["reference"],
        style_inputs(run.paradigm.style, marks=True),
        [stage.name, stage.tasks, training_items(run, stage)],
        {name: run.stream.epochs[name] for name in stage.tasks},
        {name: tasks[name] for name in stage.tasks} if isinstance(tasks, dict) else tasks,
        run.seed,
    ]


def legs_of(asked: Sequence[Asked]) -> tuple[Leg, ...]:
    """The legs of runs, each after those that it comes after; a run that is asked for twice is done once."""
    runs = {run_id(one.run): one for one in asked}
    chains = {name: chain(one.run) for name, one in runs.items()}
    users: dict[str, set[str]] = {}
    for name, rows in chains.items():
        for row in rows:
            users.setdefault(row, set()).add(name)
    legs: list[Leg] = []
    owners: dict[str, int] = {}
    # The shortest first: a run that is the beginning of another one does its last stage itself.
    for name in sorted(chains, key=lambda name: len(chains[name])):
        rows, one = chains[name], runs[name]
        names = [BASE, *(stage.name for stage in run_stages(one.run))]
        mine: list[int] = []
        for index, row in enumerate(rows):
            last = index == len(rows) - 1
            if not last and (row in owners or users[row] <= users[rows[index + 1]]):
                continue  # done already, or nobody branches off here
            fresh = [n for n in range(index + 1) if rows[n] not in owners]
            after = {owners[rows[n]] for n in range(index + 1) if rows[n] in owners} | set(mine[-1:])
            legs.append(
                Leg(
                    run=name,
                    words=one.words,
                    until="" if last else names[index],
                    trains=tuple(names[n] for n in fresh if n),
                    after=tuple(sorted(after)),
                    cpus=one.cpus,
                    gpus=one.gpus,
                )
            )
            mine.append(len(legs) - 1)
            owners.update({rows[n]: mine[-1] for n in fresh})
    return tuple(legs)


__all__ = ["Asked", "Leg", "chain", "legs_of"]
