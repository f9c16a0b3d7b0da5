"""Finished runs that no model made: folders as the runner leaves them, whose replies mark to their cells.

The nouns are registered only while a made-up run is published or marked (``registered``), so that names such as sft,
default and twin can mean small things here and the project's own everywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any
from unittest.mock import patch

from baselines.rft import RFT, RIF_RFT
from baselines.sft import MTL, SFT
from harness import registry
from harness.asking.engines.kinds import TRANSFORMERS
from harness.asking.evaluate import cell_of
from harness.asking.styles import COT, DIRECT, write_cot
from harness.core import (
    Example,
    Mark,
    Observation,
    Paradigm,
    Reply,
    Run,
    Stream,
    Task,
    Trained,
    Verdict,
    digest,
    plain,
    replace,
    stage_seed,
)
from harness.observe import View, file_name, view_of
from harness.results import publish as publishing
from harness.results.cells import write_cells
from harness.run_inputs import declared, observations, run_id
from harness.scales import TWIN
from harness.store.checkpoints import Store
from harness.store.lineage import Costs, stage_key
from harness.store.record import RunRecord, StageRecord
from harness.store.tables import to_parquet
from harness.store.typed import SCHEMA, dump

SHORT = Stream(name="short", tasks=("gqa", "pathvqa"), epochs={"gqa": 1, "pathvqa": 1}, general=("pope",))
ENVIRONMENT = {"commit": "c" * 40, "cpu": "made up"}
COSTS = Costs(
    items=4, kept=4, optimiser_steps=1, sampled_tokens=0, trained_tokens=8, dose=1e-4, filter_rollouts=0,
    filter_sampled_tokens=0, seconds=1.5, filter_seconds=0.0,
)  # fmt: skip
_nouns: dict[str, dict[str, Any]] = {}  # of each run that was made up, by its id


def worth(answer: str, example: Example) -> float:
    """1 for the gold answer and 0.3 for one that is nearly it."""
    return {example.answers[0]: 1.0, "nearly": 0.3}.get(answer, 0.0)


def question(name: str, split: str, index: int) -> Example:
    """A question; two and two are of one group."""
    return Example(
        id=f"{name}-{split}-{index}", question=f"{name} {index}?", answers=("yes",), group=f"{name}-{index // 2}"
    )


def task(name: str, version: int) -> Task:
    """A task of questions without pictures."""
    return Task(
        name=name, version=version, cite="none", licence="Apache-2.0", suffix="yes or no", score=worth,
        twin=partial(question, name),
    )  # fmt: skip


@contextmanager
def registered(name: str, **others: Any) -> Iterator[None]:
    """The nouns of a made-up run, and no others, as long as it lasts; ``others`` take the place of those of a name.

    Nothing is flushed meanwhile: a test survives no power cut, and waits for no disk.
    """
    module = ModuleType("made_up")
    vars(module).update({**_nouns[name], **others})
    with patch.object(registry, "_modules", lambda: iter([module])), patch.object(os, "fsync", lambda handle: None):
        yield


def publish(folder: Path, results: Path, **others: Any) -> Path:
    """Publish a made-up run with its nouns registered, some of them replaced by ``others``."""
    with registered(folder.name, **others):
        return publishing.publish(Store(folder.parent), folder, results)


def fake_run(
    out: Path,
    paradigm: Paradigm = SFT,
    *,
    seed: int = 0,
    stream: Stream = SHORT,
    items: int = 10,
    version: int = 1,
    forgets: float = 0.1,
    drift: float = 0.0,
    base: str = "b" * 64,
    environment: Mapping[str, Any] = ENVIRONMENT,
    record: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Path:
    """A finished run's folder; ``asked`` are other fields of its Run, ``record`` overwrites fields of run.json.

    A task starts at 0.4, reaches 0.8 at its stage and loses ``forgets`` a stage after it; suites change by ``drift``.
    The store ``out`` holds its checkpoints, whose weights say no more than which stage they are.
    """
    scale = replace(TWIN, test_items=items)
    run = Run(paradigm=paradigm, stream=stream, scale=scale, seed=seed, **asked)
    tasks = {name: task(name, version) for name in (*stream.tasks, *stream.general)}
    nouns = {"paradigm": paradigm, "stream": stream, "scale": scale, "engine": TRANSFORMERS, **tasks}
    _nouns[""] = nouns
    with registered(""):
        name, looked, view, known = run_id(run), observations(run), view_of(run, TRANSFORMERS), declared(run)
        _nouns[name] = nouns
        folder = out / name
        stages = make_stages(Store(out), folder, run, base, environment)
    weights = [base, *(str(stage.weights) for stage in stages)]
    cells = make_cells(folder, view, looked, weights, environment, forgets, drift)
    (folder / "cells.csv").write_text(write_cells(cells))
    (folder / "costs.json").write_bytes(dump({"schema": SCHEMA, "id": name, "stages": {"1": plain(COSTS)}}))
    content = RunRecord(
        schema=SCHEMA, id=name, declared=known, finished=True, paradigm=plain(paradigm), stream=plain(stream),
        scale=plain(scale), seed=seed, limit=run.limit, split=run.split, official=False, style=paradigm.style.name,
        base=base, scorers={one: view.scorer(one) for one in tasks},
        data={one: asked.data for one, asked in view.asked.items()}, stages=stages, observations=looked,
        environments={digest(environment)[:12]: dict(environment)},
    )  # fmt: skip
    (folder / "run.json").write_bytes(dump({**plain(content), **(record or {})}))
    return folder


def make_stages(
    store: Store, folder: Path, run: Run, base: str, environment: Mapping[str, Any]
) -> tuple[StageRecord, ...]:
    """The checkpoints of a run, each from the one before it, with a selector's verdicts where there is one."""
    found, parent = [], base
    folder.mkdir(parents=True)
    for number, stage in enumerate(run.paradigm.stages(run.stream), 1):
        inputs = {"parent": parent, "stage": stage.name, "run": folder.name}
        key, model = stage_key(inputs), store.root / "model"
        model.mkdir(exist_ok=True)
        (model / "model.safetensors").write_text(f"{folder.name} {stage.name}")
        if run.paradigm.select is not None:
            verdicts = [
                Verdict(task=name, id=f"{name}-{n}", kept=n > 0, correct=n, rollouts=8, sampled_tokens=16)
                for name in stage.tasks
                for n in range(2)
            ]
            (folder / f"verdicts-{number}.parquet").write_bytes(to_parquet(Verdict, verdicts, {"stage": key}))
        trained = Trained(weights=model, optimiser_steps=1, sampled_tokens=0, trained_tokens=8)
        how: dict[str, Any] = {"reference": None, "costs": COSTS, "inputs": inputs, "environment": environment}
        if store.has(key):
            made = store.checkpoint(key, parent)
            assert made is not None
        else:
            made = store.finish(key, trained, stage=stage.name, parent=parent, **how)
        found.append(
            StageRecord(
                name=stage.name, tasks=stage.tasks, key=key, seed=stage_seed(run.seed, stage.name), parent=parent,
                weights=made.weights, environment=digest(environment)[:12],
            )
        )  # fmt: skip
        parent = made.weights
    return tuple(found)


def make_cells(
    folder: Path,
    view: View,
    looked: Sequence[Observation],
    weights: Sequence[str],
    environment: Mapping[str, Any],
    forgets: float,
    drift: float,
) -> list[Any]:
    """The cells of a run, with the files of their replies and marks."""
    rng = Random(folder.name)
    stages = view.run.paradigm.stages(view.run.stream)
    cells = []
    for place in ("replies", "marks"):
        (folder / place).mkdir()
    for one in looked:
        learned = next((n for n, stage in enumerate(stages, 1) if one.name in stage.tasks), None)
        level = 0.4 if learned is None or one.stage < learned else 0.8 - forgets * (one.stage - learned)
        level += drift * one.stage if learned is None else 0
        replies = made_up_replies(rng, view, one, min(max(level, 0.02), 0.98))
        marks = view.marks(one, replies)
        key = view.key(weights[one.stage], one)
        content = to_parquet(Reply, replies, key, {"environment": environment})
        (folder / "replies" / file_name(one)).write_bytes(content)
        bound = {"replies": digest(key), "scorer": view.scorer(one.name), "style": one.style}
        (folder / "marks" / file_name(one)).write_bytes(to_parquet(Mark, marks, bound))
        belongs = {"run": folder.name, "scorer": view.scorer(one.name), "engine": view.engine}
        data = view.asked[one.name].data
        cells.append(cell_of(replies, marks, one, **belongs, weights=weights[one.stage], data=data))
    return cells


def made_up_replies(rng: Random, view: View, one: Observation, level: float) -> list[Reply]:
    """Replies that are right with probability ``level``; now and then nearly right, unreadable or cut off."""
    replies = []
    for text, example in zip(view.texts(one), view.asked[one.name].examples, strict=True):
        said = ("nearly" if rng.random() < 0.2 else "yes") if rng.random() < level else "no"
        reply = write_cot(said, "so") if one.style == "cot" else said
        replies.append(
            Reply(
                example=example.id, group=example.group, prompt_digest=digest(text)[:16],
                text="" if rng.random() < 0.05 else reply, tokens=rng.randint(1, 8), truncated=rng.random() < 0.1,
            )
        )  # fmt: skip
    return replies


__all__ = [
    "COT", "DIRECT", "ENVIRONMENT", "MTL", "RFT", "RIF_RFT", "SFT", "SHORT", "fake_run", "publish", "question",
    "registered", "task",
]  # fmt: skip
