"""The one entry of training: a job runs in place, in a process of its own, or on several ranks.

The weights are the same in place and in one process; on several ranks they are so up to rounding, where nothing is
sampled. The parent alone holds locks and writes checkpoints and records; a job writes in its own folder only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from harness.core import Job, Trained, UserError, Verdict, replace
from harness.job import unheard
from harness.processes import Say, Worker
from harness.training.ranks import train_on_ranks


class Obeyed:
    """A noun of which only the declared fields can be read: what its key does not hold can move no number."""

    def __init__(self, noun: Any, fields: frozenset[str], reader: str) -> None:
        """Show ``fields`` of the noun, and its name, which messages tell."""
        self._noun, self._fields, self._reader = noun, fields, reader

    def __getattr__(self, name: str) -> Any:
        """The noun's field. Raises UserError where the reader does not declare it."""
        if name.startswith("_") or not hasattr(self._noun, name):
            raise AttributeError(name)
        if name != "name" and name not in self._fields:
            raise UserError(
                f"{self._reader} reads {type(self._noun).__name__.lower()}.{name}, which it does not obey:"
                " add the field to its obeys"
            )
        return getattr(self._noun, name)


def train(job: Job) -> Trained:
    """Train a stage as the scale says: in place, in a process of its own, or on several ranks.

    Raises:
        UserError: what the learner refuses, or where the job cannot be sent.
    """
    if job.scale.ranks == 0 or job.paradigm.learner.takes_all_devices:
        return train_in_place(job)
    if job.scale.ranks > 1:
        return train_on_ranks(job)
    with Worker() as worker:
        return worker.call(_train_for, replace(job, report=unheard), cast(Callable[[Any], None], job.report))


def _train_for(job: Job, say: Say) -> Trained:
    return train_in_place(replace(job, report=say))


def train_in_place(job: Job) -> Trained:
    """Train a stage in this process."""
    learner = job.paradigm.learner
    trained = learner.train(limited(job, learner.obeys, f"learner {learner.name}"))
    if not isinstance(trained, Trained):
        raise UserError(f"learner {learner.name} returns {type(trained).__name__}: its train must return a Trained")
    return trained


def select(job: Job) -> Sequence[Verdict]:
    """The selector's verdicts, one for each example of the job.

    Raises:
        UserError: where it gives others.
    """
    selector = job.paradigm.select
    if selector is None:
        return ()
    verdicts = tuple(selector.choose(limited(job, selector.obeys, f"selector {selector.name}")))
    wanted = sorted((task.name, example.id) for task, example in job.examples)
    if not all(isinstance(verdict, Verdict) for verdict in verdicts) or wanted != sorted(
        (verdict.task, verdict.id) for verdict in verdicts
    ):
        raise UserError(f"selector {selector.name} does not give one Verdict for each example of the stage: mend it")
    return verdicts


def limited(job: Job, obeys: frozenset[str], reader: str) -> Job:
    """The job with paradigm and scale reduced to what the reader obeys."""
    paradigm, scale = Obeyed(job.paradigm, obeys, reader), Obeyed(job.scale, obeys, reader)
    return replace(job, paradigm=cast(Any, paradigm), scale=cast(Any, scale))


__all__ = ["Obeyed", "limited", "select", "train", "train_in_place"]
