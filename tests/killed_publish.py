"""Kills publishing before and after each of its calls to the system, one child at a time.

Arguments: a folder, and "exchange" or "rename" (a disk that cannot exchange two names). Prints the number of children
killed; an assertion fails where anything but the old published run or the new would be met, or a draft stays.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from killed_replacement import killed_at

from harness import observe
from harness.results import publish as publishing
from harness.results.published import published, read_run
from harness.store import disk
from tests.fake_runs import fake_run, publish, registered


def files(folder: Path) -> dict[str, bytes]:
    """The files of a folder, with what is in each; none where there is no folder."""
    return {path.name: path.read_bytes() for path in folder.glob("*")}


def main(root: Path, way: str) -> int:
    """Try every moment of a first publishing and of a refresh; the number of kills."""
    if way == "rename":
        disk._exchange = lambda one, other: False
    observe.device_kind = lambda: "cpu"  # asking torch would make a child of each moment as large as torch
    run = fake_run(root / "runs")
    with registered(run.name):
        found = publishing.kept(run, read_run(run).record, None).marked()
    tables = publishing.replies_table(found), publishing.marks_table(found)
    # What is killed is the writing; what is written is computed once.
    publishing.marked = lambda *arguments: iter(found)
    publishing.replies_table, publishing.marks_table = lambda found: tables[0], lambda found: tables[1]
    old = publish(run, root / "old")
    costs = json.loads((run / "costs.json").read_text())
    (run / "costs.json").write_text(json.dumps({**costs, "stages": {}}))
    new = publish(run, root / "new")
    assert files(old) != files(new)
    kills = 0
    for begin, allowed in ((None, ({}, files(new))), (root / "old", (files(old), files(new)))):
        moment, killed = 0, True
        while killed:
            moment += 1
            results = root / "results"
            shutil.rmtree(results, ignore_errors=True)
            if begin is not None:
                shutil.copytree(begin, results)
            target = results / "runs" / run.name
            killed = killed_at(moment, lambda target: publish(run, target.parent.parent), target)
            kills += killed
            if way == "exchange":
                assert files(target) in allowed, (moment, "a reader met another run")
                assert len(published(results)) <= 1, (moment, "a draft is read as a run")
            publish(run, results)
            assert files(target) == files(new), moment
            left = {path.name for path in (*results.iterdir(), *target.parent.iterdir())}
            assert left == {"leaderboard.csv", "runs", run.name}, (moment, left)
    return kills


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2]))
