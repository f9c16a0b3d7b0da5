"""How many items a run sees: as it will read them, or as they are published where the data is not here yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.core import Run, Stage, Task, UserError
from harness.run_inputs import (
    asked_examples,
    run_suites,
    run_tasks,
    suite_examples,
    task_of,
    training_examples,
    training_items,
)


def is_official(run: Run) -> bool:
    """Whether a run is one on official data: it is given, or the scale wants all there is."""
    return run.data is not None or run.scale.train_items is None


def here(run: Run, name: str) -> bool:
    """Whether the items of a task or suite can be read: a twin's always, official ones where their folder is."""
    task = task_of(name)
    if not is_official(run) or task is None:
        return True
    return run.data is not None and (Path(run.data) / task.name).is_dir()


def missing(run: Run) -> tuple[str, ...]:
    """The tasks and suites of a run whose official data is not here."""
    names = (*run_tasks(run), *run_suites(run), *(task for task in run.stream.tasks))
    return tuple(name for name in dict.fromkeys(names) if not here(run, name))


def training(run: Run, stage: Stage, tasks: Mapping[str, Task]) -> dict[str, int]:
    """The training items of a stage by task, each counted once. Raises UserError where nobody knows how many."""
    most = training_items(run, stage)
    if not is_official(run):
        return most
    if all(here(run, name) for name in stage.tasks):
        return {name: len(examples) for name, examples in training_examples(run, stage, tasks).items()}
    return {
        name: min(count, max(1, int(_published(tasks[name], "train") * _share(run, stage, name))))
        for name, count in most.items()
    }


def _share(run: Run, stage: Stage, task: str) -> float:
    """A stage's share of all items of a task; where the scale bounds the items it is in the bound."""
    return stage.shares.get(task, 1.0) if run.scale.train_items is None else 1.0


def asked(run: Run) -> dict[str, int]:
    """The items of one cell of each task and suite. Raises UserError where nobody knows how many."""
    found = {}
    for name, task in run_tasks(run).items():
        if is_official(run):
            found[name] = len(asked_examples(run, task)) if here(run, name) else _bounded(run, task)
        else:
            bounds = [bound for bound in (run.limit, run.scale.test_items, task.twin_items) if bound is not None]
            found[name] = min(bounds)
    for name, suite in run_suites(run).items():
        stands_for = task_of(name)
        absent = stands_for is not None and not here(run, name)
        found[name] = _bounded(run, stands_for) if absent and stands_for else len(suite_examples(run, suite))
    return found


def _bounded(run: Run, task: Task) -> int:
    bounds = [bound for bound in (run.limit, run.scale.test_items) if bound is not None]
    return min([*bounds, _published(task, run.split)])


def _published(task: Task, split: str) -> int:
    if split not in task.counts:
        raise UserError(
            f"the {split} items of {task.name} are not here, and how many there are is not published: --data"
        )
    return task.counts[split]


__all__ = ["asked", "here", "is_official", "missing", "training"]
