"""The study behind results/: rate grid, default study, long stages, noise floor; made, published and drawn.

Every run is an ordinary ``harness run``; as many go on at once as there are cores. Stopped at any moment, the same
command continues; runs that results/ holds are not made again. Nothing is published from a tree with uncommitted
changes.

    python -m benchmarks.study                   # all of it
    python -m benchmarks.study --only default    # a part alone: grid, default or long
    python -m benchmarks.study --plan            # what is left to do, and about how long it takes
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import rates
from harness.command import plan
from harness.core import Paradigm, Run, UserError
from harness.registry import load_plugins, typed
from harness.run_inputs import run_id
from harness.scales import TWIN, TWIN_LONG
from harness.store.environment import commit
from harness.store.record import read_record
from tasks.streams import DEFAULT, O1

RUNS, RESULTS = Path("runs"), Path("results")
SEEDS, FEW_SEEDS, LONG_SEEDS = range(5), range(3), range(3)
GRID_SEED = 100  # none of the published ones
ONCE = ("more-pretraining", "mtl", "rft-nocot", "rft-nokl", "rif-rft")
ADVANTAGES = ("rft-rloo", "rft-remax")
CORNERS = ("rft", "rft-nocot", "sft-cot", "sft")  # {rft, sft} x {cot, direct}
PLUGINS = (Path("benchmarks/rates.py"), Path("benchmarks/noise_floor.py"))
PARTS = ("grid", "default", "long")


def runs(part: str) -> list[Run]:
    """The runs of a part, the longest first."""
    if part == "grid":
        return [
            Run(paradigm=typed(Paradigm, name), stream=O1, scale=TWIN, seed=GRID_SEED, split="validation")
            for name in reversed(rates.GRID)
        ]
    if part == "default":
        chosen = [("rft", seed) for seed in SEEDS] + [(name, 0) for name in ("rif-rft", "rft-nokl", "rft-nocot")]
        chosen += [(name, seed) for name in ADVANTAGES for seed in FEW_SEEDS]
        chosen += [("sft", seed) for seed in SEEDS] + [("mtl", 0), ("more-pretraining", 0)]
        return [Run(paradigm=typed(Paradigm, name), stream=DEFAULT, scale=TWIN, seed=seed) for name, seed in chosen]
    chosen = [(name, seed) for name in CORNERS for seed in LONG_SEEDS] + [("sft-x3", 0)]
    return [Run(paradigm=typed(Paradigm, name), stream=DEFAULT, scale=TWIN_LONG, seed=seed) for name, seed in chosen]


def command(run: Run, *words: str) -> list[str]:
    """The words of a command of the harness, with the study's plugins."""
    plugins = [word for plugin in PLUGINS for word in ("--plugin", str(plugin))]
    return [sys.executable, "-m", "harness.command.cli", *words, *plugins]


def do(run: Run) -> int:
    """One run to its end, quietly; its exit code."""
    words = ["run", "--paradigm", run.paradigm.name, "--seq", run.stream.name, "--scale", run.scale.name]
    words += ["--seed", str(run.seed), "--split", run.split, "--out", str(RUNS)]
    begun = time.monotonic()
    done = subprocess.run(
        command(run, *words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    print(f"{run_id(run)}: {(time.monotonic() - begun) / 60:.1f} minutes, exit code {done.returncode}", flush=True)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr, flush=True)
    return done.returncode


def published(run: Run) -> bool:
    """Whether results/ holds the run; the grid is published as a table, so its runs are looked for in the store."""
    if run.split == "test":
        return (RESULTS / "runs" / run_id(run)).is_dir()
    try:
        return read_record(RUNS / run_id(run)).finished
    except UserError:
        return False


def publish(part: str) -> int:
    """The finished runs of a part into results/; the exit code, for a run that is not fit is refused in a line."""
    if part == "grid":
        rates.write(RUNS, RESULTS)
        return 0
    codes = [
        subprocess.run(command(run, "publish", run_id(run), "--out", str(RUNS)), check=False).returncode
        for run in runs(part)
        if not published(run)
    ]
    return max(codes, default=0)


def say(wanted: Sequence[Run]) -> None:
    """What is left to do."""
    seconds = 0.0
    for run in wanted:
        planned = plan.of(run, RUNS)
        seconds += planned.wall_seconds
        print(f"{run_id(run)}: about {planned.wall_seconds / 60:.0f} minutes")
    print(f"{len(wanted)} runs, about {seconds / 60 / (os.cpu_count() or 1):.0f} minutes on {os.cpu_count()} cores")


def main() -> None:
    """Do the parts one after another, each published when it is whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--plan", action="store_true")
    arguments = parser.parse_args()
    load_plugins(PLUGINS)
    parts = arguments.only or PARTS
    if arguments.plan:
        return say([run for part in parts for run in runs(part) if not published(run)])
    if str(commit()).endswith("+"):
        sys.exit("error: the tree has uncommitted changes, and nothing is published from one: commit them first")
    codes = []
    for part in parts:
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            codes += pool.map(do, [run for run in runs(part) if not published(run)])
        codes.append(publish(part))
    if not any(codes):
        scales = [[], *([["--scale", TWIN_LONG.name]] if "long" in parts else [])]
        drawn = [[sys.executable, "-m", "harness.command.cli", "figures", *scale] for scale in scales]
        codes += [subprocess.run(words, check=False).returncode for words in drawn]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
