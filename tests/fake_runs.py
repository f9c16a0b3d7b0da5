"""Finished runs that no model made: folders as the runner leaves them, with scores drawn from a seeded generator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from harness.asking.evaluate import mean
from harness.asking.styles import COT, DIRECT
from harness.core import Cell, Decoding, Paradigm, Row, Run, Scale, Stream, joint, plain
from harness.results.cells import write_cells
from harness.store.tables import to_parquet

TASKS = ("scienceqa", "textvqa", "vizwiz", "gqa", "geometry3k", "pathvqa", "super-clevr")
SUITES = ("mmmu", "mmlu-pro", "pope")


def train(job: Any) -> Any:
    """Stand where a learner stands."""
    raise AssertionError("a made-up run trains nothing")


STREAM = Stream(name="default", tasks=TASKS, epochs=dict.fromkeys(TASKS, 1), general=SUITES)
SHORT = Stream(name="short", tasks=("gqa", "pathvqa"), epochs={"gqa": 1, "pathvqa": 1}, general=("pope",))
SFT = Paradigm(name="sft", learn=train, style=DIRECT)
RFT = Paradigm(name="rft", learn=train, style=COT, kl=0.01)
MTL = replace(SFT, name="mtl", stages=joint)
SCALE = Scale(
    name="twin",
    model="twin-base",
    precision="float32",
    sft_batch=16,
    rollouts=8,
    prompts_per_update=8,
    updates_per_rollout_batch=4,
    decodings={name: Decoding(name="greedy-8", max_new_tokens=8) for name in ("direct", "cot")},
    rates={"sft": 1e-3, "grpo": 1e-4},
    train_items=64,
    test_items=10,
    eval_batch=16,
    min_pixels=2304,
    max_pixels=2304,
    max_prompt_tokens=256,
)


def fake_run(
    out: Path,
    paradigm: Paradigm = SFT,
    *,
    seed: int = 0,
    stream: Stream = SHORT,
    items: int = 10,
    versions: int = 1,
    forgets: float = 0.1,
    drift: float = 0.0,
    asked: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
) -> Path:
    """A finished run's folder; ``asked`` and ``record`` overwrite fields of run.json.

    A task starts at 0.4, reaches 0.8 at its stage and loses ``forgets`` a stage after it; suites change by ``drift``.
    """
    name = f"{paradigm.name}-{stream.name}-s{seed}"
    folder = out / name
    stages = paradigm.stages(stream)
    rng = Random(f"{name}/{versions}")
    cells = []
    (folder / "rows").mkdir(parents=True)
    for index, stage in enumerate(("base", *(stage.name for stage in stages))):
        for task in (*stream.tasks, *stream.general):
            learned = next((n for n, job in enumerate(stages, 1) if task in job.tasks), None)
            level = 0.4 if learned is None or index < learned else 0.8 - forgets * (index - learned)
            level += drift * index if learned is None else 0
            for style in (DIRECT, COT):
                rows = made_up_rows(rng, task, items, min(max(level, 0.02), 0.98))
                (folder / "rows" / f"{index}-{task}-{style.name}.parquet").write_bytes(to_parquet(Row, rows))
                cells.append(
                    Cell(
                        run=name, stage=index, stage_name=stage, task=task, style=style.name, decoding="greedy-8",
                        scorer=f"exact_match-v{versions}", n=items, score=mean([row.score for row in rows]),
                        malformed=mean([row.malformed for row in rows]), truncated=0.0, weights=f"{index:064x}",
                        data="d" * 64,
                    )
                )  # fmt: skip
    (folder / "cells.csv").write_bytes(write_cells(cells).encode())
    (folder / "costs.json").write_text(json.dumps({"id": name, "stages": {}}) + "\n")
    run = plain(Run(paradigm=paradigm, stream=stream, scale=SCALE, seed=seed))
    content = {
        "schema": 1,
        "id": name,
        "finished": True,
        "run": {**run, **(asked or {})},
        "task_versions": dict.fromkeys((*stream.tasks, *stream.general), versions),
        "base_digest": "b" * 64,
        "stages": [{"index": n, "name": stage.name} for n, stage in enumerate(stages, 1)],
        **(record or {}),
    }
    (folder / "run.json").write_text(json.dumps(content, indent=2) + "\n")
    return folder


def made_up_rows(rng: Random, task: str, items: int, level: float) -> list[Row]:
    """Rows that are right with probability ``level``, partly right or unreadable now and then."""
    rows = []
    for n in range(items):
        right, malformed = rng.random() < level, rng.random() < 0.05
        score = 0.0 if malformed else rng.choice((0.3, 1.0)) if right and task == "textvqa" else float(right)
        rows.append(
            Row(
                example=f"{task}-test-{n}", group=f"{task}-{n // 2}", prompt_digest="0" * 16, reply="yes",
                read=None if malformed else "yes", score=score, malformed=malformed, truncated=False, tokens=2,
            )
        )  # fmt: skip
    return rows
