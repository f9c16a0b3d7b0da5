"""Published runs that no model made: run.json, cells.csv and marks as figures read them, scores from a seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pyarrow
import pyarrow.parquet

from baselines.rft import RFT, RFT_NOKL
from baselines.sft import MTL, SFT
from harness.asking.styles import COT, DIRECT
from harness.core import Cell, Paradigm, Run, Stream, plain
from harness.results.cells import write_cells
from harness.run_inputs import declared, run_id
from harness.scales import TWIN
from harness.store.record import RunRecord, StageRecord
from harness.store.typed import SCHEMA, dump

TASKS = ("scienceqa", "textvqa", "vizwiz", "gqa", "geometry3k", "pathvqa", "super-clevr")
SUITES = ("mmmu", "mmlu-pro", "pope")
LONG = Stream(name="default", tasks=TASKS, epochs=dict.fromkeys(TASKS, 1), general=SUITES)
SHORT = Stream(name="short", tasks=("gqa", "pathvqa"), epochs={"gqa": 1, "pathvqa": 1}, general=("pope",))


def published_run(
    results: Path,
    paradigm: Paradigm = SFT,
    *,
    seed: int = 0,
    stream: Stream = SHORT,
    items: int = 200,
    scorer: str = "exact-v1",
    drift: float = 0.0,
    scale: str = "twin",
) -> str:
    """Write a run as it is published; its id. A task starts at 0.4 and reaches 0.8; suites change by ``drift``.

    All runs have one base: its cells are equal whatever the paradigm and the seed.
    """
    run = Run(paradigm=paradigm, stream=stream, scale=replace(TWIN, name=scale, test_items=items), seed=seed)
    name = run_id(run)
    stages = paradigm.stages(stream)
    cells, marks = [], []
    for index, stage in enumerate(("base", *(stage.name for stage in stages))):
        for task in (*stream.tasks, *stream.general):
            for style in (DIRECT, COT):
                rng = Random(f"{task}/{style.name}" if index == 0 else f"{name}/{index}/{task}/{style.name}")
                trained = any(task in one.tasks for one in stages[:index])
                level = (0.8 if trained else 0.4) + drift * index * (task in stream.general)
                scores = [float(rng.random() < level) for _ in range(items)]
                right = int(sum(scores))
                marks += [
                    (index, task, style.name, f"{task}-{item}", f"{task}-{item // 2}", "", score, False)
                    for item, score in enumerate(scores)
                ]
                cells.append(
                    Cell(
                        run=name, stage=index, stage_name=stage, task=task, style=style.name, decoding="greedy-8",
                        scorer=scorer, engine="transformers", n=items, score=right / items, malformed=0.0,
                        truncated=0.0, weights=f"{index:064x}", data="d" * 64,
                    )
                )  # fmt: skip
    record = RunRecord(
        schema=SCHEMA, id=name, declared=declared(run), finished=True, paradigm=plain(paradigm), stream=plain(stream),
        scale=plain(run.scale), seed=seed, limit=None, split="test", official=False, style=paradigm.style.name,
        base="b" * 64, scorers={}, data={}, observations=(),
        stages=tuple(StageRecord(name=stage.name, tasks=stage.tasks) for stage in stages),
    )  # fmt: skip
    folder = results / "runs" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(dump(plain(record)))
    (folder / "cells.csv").write_text(write_cells(cells))
    names = ("stage", "task", "style", "example", "group", "read", "score", "malformed")
    table = pyarrow.table(dict(zip(names, zip(*marks, strict=True), strict=True)))
    pyarrow.parquet.write_table(table, folder / "marks.parquet")
    return name


__all__ = ["LONG", "MTL", "RFT", "RFT_NOKL", "SFT", "SHORT", "published_run"]
