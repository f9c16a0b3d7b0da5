"""The site of a report: pages that are the same for every report, the numbers of the runs, and their items in shards.

```
index.html  page/  vendor/        the page, and the libraries that it is drawn by
data/site.js                      the runs: records, matrices, metrics, what was lost and won, learning curves
data/items/<task>.js              every item of a task: id, question, gold, and its marks after every stage
data/items/<task>/<n>.js          64 items in full: prompts, options, replies, what was read
pictures/<aa>/<digest>.webp       each picture once
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from harness.core import UserError, plain
from harness.report.items import Column, Opened, column, columns_of, lost_and_won, marks_of, opened, same_items, shown
from harness.report.numbers import Numbers, as_json
from harness.report.pictures import Album
from harness.report.shards import shard
from harness.results.metrics import ALL
from harness.results.publish import without_places
from harness.results.published import read_costs, read_run
from harness.store import disk
from harness.store.journal import entries_of, steps_of
from harness.store.record import COSTS
from harness.values import cut

HERE = Path(__file__).parent
MARKER = "data/site.js"  # a folder that has it is a report, and may be replaced by a new one
AT_A_TIME = 64  # items of a shard
SHORT = 160  # letters of a question in the list of items
MOST_STEPS = 4000  # points of a training curve

Say = Callable[[str], None]


def build(folders: Sequence[Path], target: Path, data: Path | None = None, say: Say = lambda line: None) -> int:
    """Write the report of runs to ``target``, in place of an older report there; the number of replies in it.

    ``say`` hears a line for each task. The folder takes the old one's place at once, or not at all.

    Raises:
        UserError: where a run cannot be read as it is, or the target is a folder of something else.
    """
    refuse_other(target)
    runs = [opened(folder, read_run(folder), data) for folder in folders]
    with disk.refusing_disk_faults(target):
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        draft = disk.draft_folder(target.absolute())
        try:
            replies = write_site(runs, draft, say)
            disk.replace_folder(draft, target.absolute())
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return replies


def refuse_other(target: Path) -> None:
    """Raise UserError where the target is anything but a new name, an empty folder or an older report."""
    if target.is_dir() and not target.is_symlink() and (not any(target.iterdir()) or (target / MARKER).is_file()):
        return
    if target.exists() or target.is_symlink():
        raise UserError(f"{cut(str(target))} is there and is no report: give another --output, or move it away")


def write_site(runs: Sequence[Opened], folder: Path, say: Say) -> int:
    """All files of a report into an empty folder; the number of replies in it."""
    album, columns, replies = Album(folder / "pictures"), list[dict[str, Any]](), 0
    for name in columns_of(runs):
        found = column(name, runs)
        say(f"{name}: {len(found.ids):,} items")
        replies += sum(len(cell.texts) for answers in found.answers for cell in answers.values())
        columns.append(summary(found, runs))
        write(folder, f"items/{name}", index_of(found))
        examples = [found.known[item] for item in found.ids if item in found.known]
        for number, some in enumerate(in_parts(shown(found, album.add(examples)))):
            write(folder, f"items/{name}/{number}", some)
    write(folder, "site", {**described(runs), "columns": columns})
    for room in ("page", "vendor"):
        shutil.copytree(HERE / room, folder / room)
    (folder / "page" / "index.html").replace(folder / "index.html")
    return replies


def write(folder: Path, name: str, value: Any) -> None:
    """A shard in its place."""
    file = folder / "data" / f"{name}.js"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(shard(name, plain(value)))


def in_parts(items: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The items in lists of as many as a shard has."""
    while some := list(islice(items, AT_A_TIME)):
        yield some


def described(runs: Sequence[Opened]) -> dict[str, Any]:
    """What the page shows of the runs themselves."""
    metrics = [
        {"name": one.name, "equation": one.equation, "sign": one.sign, "source": one.source, "points": one.points}
        for one in ALL.values()
    ]
    numbers = as_json([Numbers(one) for one in runs])
    found = [described_run(one) | more for one, more in zip(runs, numbers, strict=True)]
    return {"at_a_time": AT_A_TIME, "metrics": metrics, "runs": found}


def described_run(one: Opened) -> dict[str, Any]:
    """A run's record, costs and steps."""
    run, record = one.run, without_places(plain(one.run.record))
    costs = plain(read_costs(one.folder)) if (one.folder / COSTS).is_file() else {"stages": {}}
    del record["declared"]
    return {
        "id": run.id, "paradigm": run.paradigm, "stream": run.stream, "scale": run.scale, "seed": run.seed,
        "finished": run.record.finished, "missing": len(run.missing()), "styles": run.styles, "stages": run.stages,
        "trained": [(), *(stage.tasks for stage in run.record.stages)],
        "record": json.dumps(record, indent=2), "costs": costs["stages"], "steps": steps(one),
    }  # fmt: skip


def steps(one: Opened) -> dict[str, list[Any]]:
    """Stage, loss and reward of the optimiser steps that the run's journal has; of very many, evenly chosen ones."""
    entries = entries_of(one.folder)
    found = [step for stage in range(1, len(one.run.stages)) for step in steps_of(entries, stage)]
    found = found[:: -(-len(found) // MOST_STEPS) or 1]
    return {name: [getattr(step, name) for step in found] for name in ("stage", "loss", "reward")}


def summary(found: Column, runs: Sequence[Opened]) -> dict[str, Any]:
    """What the overview shows of a task: its items, and what every run lost and won of them."""
    per_run = []
    for one, answers in zip(runs, found.answers, strict=True):
        styles, stages = {style for _, style in answers}, len(one.run.stages)
        since = learned(one, found.name)
        counts = {style: lost_and_won(answers, style, since, stages) for style in sorted(styles)}
        per_run.append({"learned": since, "flips": counts, "known": not answers or same_items(one, found.name)})
    return {"name": found.name, "items": len(found.ids), "runs": per_run}


def learned(one: Opened, name: str) -> int:
    """The stage that trains a task; 0, the base, for a suite, and where one stage trains them all."""
    stages = one.run.record.stages
    trains = [index for index, stage in enumerate(stages, start=1) if stage.tasks[-1:] == (name,)]
    return trains[0] if trains and len(stages) > 1 else 0


def index_of(found: Column) -> Mapping[str, Any]:
    """The list of a task's items, with the marks of every run by stage and style."""
    examples = [found.known.get(item) for item in found.ids]
    return {
        "ids": found.ids,
        "questions": [cut(one.question, SHORT) if one else "" for one in examples],
        "gold": [cut(one.answers[0], SHORT) if one else "" for one in examples],
        "marks": [
            {f"{stage}/{style}": marks_of(cell, found.ids) for (stage, style), cell in answers.items()}
            for answers in found.answers
        ],
    }


__all__ = ["build", "described", "write_site"]
