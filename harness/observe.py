"""Looking at a checkpoint: the replies that its observations need, from the store or from an engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.asking.chat import Text
from harness.asking.devices import Engines
from harness.asking.engines import EngineKind
from harness.asking.evaluate import Asking, askings, data_digest, marks_of, replies_key, replies_to
from harness.asking.marking import parts_of, scorer_name
from harness.core import (
    Decoding,
    Mark,
    Observation,
    Part,
    Reply,
    Run,
    Scale,
    Style,
    Suite,
    Task,
    UserError,
    replace,
)
from harness.processes import Say
from harness.run_inputs import (
    Asked,
    asked_examples,
    pictures_of,
    prompt_of,
    run_styles,
    run_suites,
    run_tasks,
    suite_examples,
)
from harness.store.checkpoints import Store
from harness.store.environment import device_kind, environment
from harness.store.tables import Table
from harness.values import cut

UNKNOWN = "unknown"  # the engine of replies that were made elsewhere


@dataclass(frozen=True, kw_only=True)
class View:
    """What a run looks at: its tasks, suites and styles by name, and the items of each column."""

    run: Run
    tasks: Mapping[str, Task]
    suites: Mapping[str, Suite]
    styles: Mapping[str, Style]
    asked: Mapping[str, Asked]
    engine: str

    @property
    def scale(self) -> Scale:
        """The run's scale for an engine that is asked everything: prompts and replies as long as any suite's may be."""
        scale = self.run.scale
        for suite in self.suites.values():
            decodings = {**scale.decodings, suite.name: suite.decoding_at(self.run.scale)}
            scale = replace(suite.sized(scale), decodings=decodings)
        return scale

    def texts(self, observation: Observation) -> list[Text]:
        """The prompts of an observation: the style's words, or a suite's own."""
        examples = self.asked[observation.name].examples
        if observation.kind == "suite":
            return [prompt_of(example) for example in examples]
        task, style = self.tasks[observation.name], self.styles[observation.style]
        return [style.ask(task, example) for example in examples]

    def decoding(self, observation: Observation) -> Decoding:
        """How long its replies may be."""
        if observation.kind == "suite":
            return self.suites[observation.name].decoding_at(self.run.scale)
        return self.run.scale.decodings[observation.style]

    def key(self, weights: str, observation: Observation) -> dict[str, Any]:
        """All that decides the replies of an observation."""
        pictures, scale = self.asked[observation.name].pictures, self.run.scale
        if observation.kind == "suite":
            scale = self.suites[observation.name].sized(scale)
        texts, decoding = self.texts(observation), self.decoding(observation)
        return replies_key(weights, texts, pictures, decoding, self.engine, scale)

    def scorer(self, name: str) -> str:
        """The scorer's part of the identity of a column's cells."""
        return f"{name}-v{self.suites[name].version}" if name in self.suites else scorer_name(self.tasks[name])

    def marks(self, observation: Observation, replies: Sequence[Reply]) -> list[Mark]:
        """The marks of an observation's replies, made anew by the task's or the suite's scorer."""
        examples = self.asked[observation.name].examples
        if observation.kind == "task":
            return marks_of(self.tasks[observation.name], self.styles[observation.style], examples, replies)
        marks = list(self.suites[observation.name].mark(examples, replies))
        if [one.example for one in marks] != [example.id for example in examples]:
            raise UserError(f"suite {observation.name} does not give one Mark for each reply, in their order: mend it")
        return marks

    def parts(self, observation: Observation, marks: Sequence[Mark]) -> Mapping[str, Part]:
        """The further numbers of an observation's cell, where its task or suite has a breakdown."""
        noun = self.tasks[observation.name] if observation.kind == "task" else self.suites[observation.name]
        if noun.breakdown is None:
            return {}
        return parts_of(noun.name, noun.breakdown, self.asked[observation.name].examples, marks)

    def by(self, scorer: str) -> View:
        """This view with the marks of the tasks' scorers of that name; a task that has none keeps its own.

        Raises:
            UserError: where none of the tasks has such a scorer.
        """
        known = sorted({one.name for task in self.tasks.values() for one in task.scorers})
        if scorer not in known:
            named = f"use {', '.join(known)}" if known else "none of them has any"
            raise UserError(f"no task of this run has a scorer called {cut(repr(scorer), 60)}: {named}")
        return replace(self, tasks={name: task.by(scorer) for name, task in self.tasks.items()})


def engine_name(kind: EngineKind) -> str:
    """An engine's part of a reply's identity: its name and version, and the kind of device that it computes on."""
    return f"{kind.name}-v{kind.version}@{'elsewhere' if kind.elsewhere else device_kind()}"


def view_of(run: Run, kind: EngineKind | None) -> View:
    """Load all that a run looks at; without a kind of engine, for replies that were made elsewhere."""
    tasks, suites = run_tasks(run), run_suites(run)
    examples = {name: asked_examples(run, task) for name, task in tasks.items()}
    examples |= {name: suite_examples(run, suite) for name, suite in suites.items()}
    asked = {}
    for name, items in examples.items():
        pictures = pictures_of(run, name, items)
        asked[name] = Asked(examples=items, pictures=pictures, data=data_digest(items, pictures))
    return View(
        run=run,
        tasks=tasks,
        suites=suites,
        styles=run_styles(run),
        asked=asked,
        engine=engine_name(kind) if kind else UNKNOWN,
    )


def generate(
    view: View,
    store: Store,
    observations: Iterable[Observation],
    weights: str,
    engines: Engines,
    hear: Callable[[Observation, float], None],
) -> None:
    """Put the replies of each observation into the store, unless they are there; the model is loaded once, if at all.

    The engines are closed at the end. A cell of several parts keeps those that are done, so that a kill loses little.
    ``hear`` is told of each observation that was asked, and how many seconds it took.
    """
    with engines:
        for observation in observations:
            key = view.key(weights, observation)
            if store.replies_file(key).is_file():
                continue
            begun = time.monotonic()
            examples = view.asked[observation.name].examples
            texts, decoding = view.texts(observation), view.decoding(observation)
            asked = askings(examples, texts, decoding, view.run.scale.eval_batch)
            parts = store.parts_of_replies(key)
            replies = parts.all(len(asked), partial(_asked, engines, asked))
            store.save_replies(key, replies, environment())
            parts.remove()
            hear(observation, time.monotonic() - begun)


def _asked(engines: Engines, asked: Sequence[Asking], numbers: Sequence[int]) -> Iterator[list[Reply]]:
    """The replies of the parts of those numbers, in their order."""
    return engines.each(replies_to, [asked[number] for number in numbers])


def kept_replies(view: View, store: Store, weights: str, observation: Observation) -> Table[Reply]:
    """The replies of an observation from the store. Raises UserError where they are gone or damaged."""
    found = store.load_replies(view.key(weights, observation))
    if found is None:
        raise UserError(f"replies of {observation.name} vanished from {store.replies}: give the same command again")
    return found


def file_name(observation: Observation) -> str:
    """The file of a cell's replies, and of its marks, in the run's own folder."""
    return f"{observation.stage}-{observation.name}-{observation.style}.parquet"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a process of its own needs to generate the replies of some observations of a checkpoint."""

    run: Run
    engine: EngineKind
    out: Path
    model: Path
    weights: str
    observations: tuple[Observation, ...]


_views: dict[tuple[str, str], View] = {}


def look(asked: Look, say: Say) -> None:
    """Generate in a process of its own; says each observation and its seconds."""
    from harness.run_inputs import run_id

    place = (run_id(asked.run), str(asked.out))
    if place not in _views:
        _views[place] = view_of(asked.run, asked.engine)
    generate(
        _views[place],
        Store(asked.out),
        asked.observations,
        asked.weights,
        Engines(asked.engine, asked.model, _views[place].scale),
        lambda observation, seconds: say((observation, seconds)),
    )
