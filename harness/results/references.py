"""What some metrics need beside an arm's own marks: joint training of the same group, and the options of its items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.core import UserError
from harness.results.arms import Arm, Column
from harness.results.published import PublishedRun, sound_runs
from harness.results.undefined import mean

NEEDING = ("intransigence", "chance_adjusted_forgetting")


def with_references(arm: Arm, runs: Sequence[PublishedRun], results: Path) -> Arm:
    """An arm with what joint training reaches, and with the odds of its items, each where it can be known.

    Joint training is the published runs of the arm's group that train all its tasks in one stage, mean over them, asked
    in the arm's style. Options are read from the twins; official data would have to be loaded again.
    """
    if not runs:
        return arm
    tasks = tuple(column.name for column in arm.tasks)
    joint = joint_scores(runs[0], arm.style, tasks, results)
    return replace(arm, joint=joint, tasks=with_odds(arm.tasks, runs[0]))


def joint_scores(run: PublishedRun, style: str, tasks: Sequence[str], results: Path) -> tuple[float | None, ...]:
    """The final scores of joint training by task; empty where no such run is published."""
    found = []
    for other in sound_runs(results)[0]:
        stages = other.record.stages
        if other.group == run.group and len(stages) == 1 and set(stages[0].tasks) == set(other.tasks) == set(tasks):
            matrix = other.matrix(style)
            found.append(dict(zip(matrix.tasks, matrix.final, strict=True)))
    return tuple(mean(scores[task] for scores in found) for task in tasks) if found else ()


def with_odds(columns: Sequence[Column], run: PublishedRun) -> tuple[Column, ...]:
    """The columns with 1 / (k - 1) of each item of k options, where every item of a twin's task has options."""
    import numpy

    from harness.results.remark import run_of
    from harness.run_inputs import asked_examples, run_tasks

    if run.record.official:
        return tuple(columns)
    try:
        asked = run_of(run.record, None)
        tasks = run_tasks(asked)
    except UserError:  # its nouns are a plugin's that is not here
        return tuple(columns)
    found = []
    for column in columns:
        choices = {one.id: len(one.choices) for one in asked_examples(asked, tasks[column.name])}
        counts = [choices.get(item, 0) for item in column.items]
        odds = numpy.array([1 / (count - 1) for count in counts]) if min(counts) > 1 else None
        found.append(replace(column, odds=odds))
    return tuple(found)


__all__ = ["NEEDING", "joint_scores", "with_odds", "with_references"]
