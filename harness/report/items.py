"""The items behind the cells of several runs: what each was asked, and what was said to it after every stage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.asking.chat import Text
from harness.asking.engines import EngineKind
from harness.core import Example, UserError
from harness.observe import View, view_of
from harness.registry import typed
from harness.report.answers import Answers, Place, answers_of
from harness.results.flips import flips
from harness.results.published import PublishedRun
from harness.results.remark import run_of

ABSENT, MALFORMED = -2, -1


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A run with its folder and its view, which holds the items of its tasks and suites."""

    run: PublishedRun
    folder: Path
    view: View


@dataclass(frozen=True, kw_only=True)
class Column:
    """A task or suite of a report: its items by id, their prompts by style, and every run's answers by its place.

    ``known`` is empty for items that are no longer those that were asked: these have replies, but no question.
    """

    name: str
    ids: tuple[str, ...]
    known: Mapping[str, Example]
    prompts: Mapping[str, Mapping[str, Text]]
    answers: tuple[Mapping[Place, Answers], ...]


def opened(folder: Path, run: PublishedRun, data: Path | None) -> Opened:
    """A run with the items that it was asked. Raises UserError where a noun of it is not registered."""
    asked = run_of(run.record, data)
    return Opened(run=run, folder=folder, view=view_of(asked, typed(EngineKind, asked.scale.engine)))


def columns_of(runs: Sequence[Opened]) -> list[str]:
    """The tasks and suites that a run observed, tasks first, each once."""
    named = [name for one in runs for name in (*one.run.tasks, *one.run.suites)]
    trained = {name for one in runs for name in one.run.tasks}
    return sorted(dict.fromkeys(named), key=lambda name: name not in trained)


def column(name: str, runs: Sequence[Opened]) -> Column:
    """A task or suite with the items of all the runs that observed it.

    Raises:
        UserError: where replies or marks are damaged, or two runs asked one item in other words.
    """
    known: dict[str, Example] = {}
    prompts: dict[str, dict[str, Text]] = {}
    answers, ids = [], dict[str, None]()
    for one in runs:
        found = answers_of(one.folder, one.run, name) if name in one.view.asked else {}
        answers.append(found)
        for cell in found.values():
            ids |= dict.fromkeys(cell.examples)
        if not found or not same_items(one, name):
            continue
        known |= {example.id: example for example in one.view.asked[name].examples}
        for style, texts in _asked(one, name).items():
            said = prompts.setdefault(style, {})
            if other := next((item for item, text in texts.items() if said.get(item, text) != text), None):
                raise UserError(f"the runs ask {other} of {name} in other words ({style} style): report them apart")
            said |= texts
    return Column(name=name, ids=tuple(ids), known=known, prompts=prompts, answers=tuple(answers))


def same_items(one: Opened, name: str) -> bool:
    """Whether the items of a task are, to the last pixel, those that the run was asked."""
    asked = one.run.record.data.get(name) or next((cell.data for cell in one.run.cells if cell.task == name), None)
    return one.view.asked[name].data == asked


def _asked(one: Opened, name: str) -> dict[str, dict[str, Text]]:
    examples = one.view.asked[name].examples
    first = {look.style: look for look in one.run.record.observations if look.name == name and look.stage == 0}
    return {
        style: dict(zip((example.id for example in examples), one.view.texts(look), strict=True))
        for style, look in first.items()
    }


def marks_of(found: Answers, ids: Sequence[str]) -> list[int]:
    """Marks in whole percent in the order of ``ids``; -1 for a reply that cannot be read, -2 where there is none.

    A share is rounded down, so that 50 and more is right and what is less is wrong, as in ``harness.results.flips``.
    """
    marks = {
        example: MALFORMED if read is None else math.floor(100 * score + 1e-9)
        for example, read, score in zip(found.examples, found.read, found.scores, strict=True)
    }
    return [marks.get(example, ABSENT) for example in ids]


def lost_and_won(found: Mapping[Place, Answers], style: str, since: int, stages: int) -> list[list[int] | None]:
    """For every stage the items lost and won since the stage ``since``; None before it, or where one lacks."""
    before = found.get((since, style))
    counted: list[list[int] | None] = []
    for stage in range(stages):
        after = found.get((stage, style))
        if stage < since or before is None or after is None or before.examples != after.examples:
            counted.append(None)
            continue
        counts = flips(before.scores, after.scores)
        counted.append([round(counts.lost), round(counts.won)])
    return counted


def shown(found: Column, pictures: Iterator[list[tuple[str, int, int]]]) -> Iterator[dict[str, Any]]:
    """All that the page shows of each item, in their order; ``pictures`` gives those of each that is known."""
    places = [
        {place: {example: row for row, example in enumerate(cell.examples)} for place, cell in answers.items()}
        for answers in found.answers
    ]
    for item in found.ids:
        example = found.known.get(item)
        about: dict[str, Any] = {}
        if example is not None:
            about = {
                "prompts": {style: texts[item] for style, texts in found.prompts.items() if item in texts},
                "answers": example.answers,
                "choices": example.choices,
                "rationale": example.rationale,
                "pictures": next(pictures),
            }
        replies = []
        for answers, rows in zip(found.answers, places, strict=True):
            said = {}
            for (stage, style), cell in answers.items():
                row = rows[(stage, style)].get(item)
                if row is not None:
                    said[f"{stage}/{style}"] = [
                        cell.texts[row], cell.read[row], round(cell.scores[row], 4), cell.tokens[row],
                        cell.truncated[row],
                    ]  # fmt: skip
            replies.append(said)
        yield {**about, "replies": replies}


__all__ = [
    "ABSENT", "MALFORMED", "Column", "Opened", "column", "columns_of", "lost_and_won", "marks_of", "opened",
    "same_items", "shown",
]  # fmt: skip
