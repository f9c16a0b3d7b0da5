"""What a stage shows and in which order: the same presentations for every learner.

The order depends on the job's seed alone. Each task's items are shuffled anew for each of its epochs; the tasks of a
joint stage are then merged at random. Pictures are opened when their batch comes up, never earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from harness.asking.engines.prompts import own_words
from harness.asking.evaluate import open_pictures
from harness.core import Example, Job, Style, Task, messages

Shown = tuple[Task, Example]
Row = dict[str, Any]


def presentations(job: Job) -> list[Shown]:
    """Every example of the job, once per epoch of its task, in the order of training."""
    decks: dict[str, list[Shown]] = {}
    for name in dict.fromkeys(task.name for task, _ in job.examples):
        items = [pair for pair in job.examples if pair[0].name == name]
        rng = Random(f"{job.seed}/{name}")
        decks[name] = [pair for _ in range(job.epochs[name]) for pair in rng.sample(items, len(items))]
    turns = [name for name, deck in decks.items() for _ in deck]
    Random(job.seed).shuffle(turns)
    hands = {name: iter(deck) for name, deck in decks.items()}
    return [next(hands[name]) for name in turns]


def rounded(shown: Sequence[Shown], batch: int) -> list[Shown]:
    """The presentations, filled up to whole batches by starting again from the first: nothing is dropped.

    >>> rounded("abcde", 4)
    ['a', 'b', 'c', 'd', 'e', 'a', 'b', 'c']
    """
    missing = -len(shown) % batch
    return [*shown, *(shown[n % len(shown)] for n in range(missing))]


def question(style: Style, task: Task, example: Example, processor: Any) -> Row:
    """The columns of a prompt as TRL wants them: the chat turn, in words of its own, and its opened pictures."""
    images = list(open_pictures(example))
    return {"prompt": own_words(processor, messages(style.ask(task, example), len(images))), "images": images}


def dataset(shown: Sequence[Shown], row: Callable[[Task, Example], Row]) -> Any:
    """A ``datasets.Dataset`` whose only stored column is the presentation's number; ``row`` fills in the others."""
    from datasets import Dataset

    return Dataset.from_dict({"item": list(range(len(shown)))}).with_transform(_Rows(shown, row))


class _Rows:
    """Turns numbers into rows. GRPO asks for a rollout batch once per update, so the last batch is kept."""

    def __init__(self, shown: Sequence[Shown], row: Callable[[Task, Example], Row]) -> None:
        self.shown, self.row = shown, row
        self.last: dict[int, Row] = {}

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        numbers = batch["item"]
        self.last = {n: self.last.get(n) or self.row(*self.shown[n]) for n in dict.fromkeys(numbers)}
        rows = [self.last[n] for n in numbers]
        return {"item": numbers, **{column: [row[column] for row in rows] for column in rows[0]}}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: datasets hashes its transforms for a cache on disk, which is not used here."""
        return {}
