"""The study behind results/: the rate grid, then five seeds of sft and rft, each other paradigm once, the noise floor.

Every run is an ordinary ``harness run``; as many go on at once as there are cores. Stopped at any moment, the same
command continues; runs that results/ holds are not made again.

    python -m benchmarks.study --grid      # choose rates: python -m benchmarks.rates prints the outcome
    python -m benchmarks.study             # the runs themselves
    python -m benchmarks.study --publish   # the finished ones into results/
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.rates import RATES
from harness.core import Paradigm, Run
from harness.registry import load_plugins, typed
from harness.run_inputs import run_id
from harness.scales import TWIN
from tasks.streams import DEFAULT, O1

SEEDS = range(5)
PUBLISHED = Path("results/runs")
GRID_SEED = 100  # none of the published ones
ONCE = ("more-pretraining", "mtl", "rft-nocot", "rft-nokl", "rif-rft")
PLUGINS = (Path("benchmarks/rates.py"), Path("benchmarks/noise_floor.py"))


def grid() -> list[Run]:
    """The runs that choose the rates, the long ones first."""
    return [
        Run(paradigm=typed(Paradigm, name), stream=O1, scale=TWIN, seed=GRID_SEED, split="validation")
        for name in reversed(RATES)
    ]


def runs() -> list[Run]:
    """The runs that are published: the two arms, then what stands beside them."""
    chosen = [(name, seed) for name in ("rft", "sft") for seed in SEEDS] + [(name, 0) for name in ONCE]
    return [Run(paradigm=typed(Paradigm, name), stream=DEFAULT, scale=TWIN, seed=seed) for name, seed in chosen]


def command(run: Run) -> list[str]:
    """The words that start a run."""
    words = [
        sys.executable,
        "-m",
        "harness.command.cli",
        "run",
        "--paradigm",
        run.paradigm.name,
        "--seq",
        run.stream.name,
    ]
    words += ["--seed", str(run.seed), "--split", run.split]
    return [*words, *(word for plugin in PLUGINS for word in ("--plugin", str(plugin)))]


def do(run: Run) -> int:
    """One run to its end, quietly; its exit code."""
    begun = time.monotonic()
    done = subprocess.run(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    print(f"{run_id(run)}: {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr, flush=True)
    return done.returncode


def publish(run: Run) -> int:
    """Into results/; the exit code, for a run that is not finished is refused with a line of its own."""
    return subprocess.run([sys.executable, "-m", "harness.command.cli", "publish", run_id(run)], check=False).returncode


def main() -> None:
    """Do the grid, the runs, or their publication."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    load_plugins(PLUGINS)
    if arguments.publish:
        sys.exit(max(publish(run) for run in runs()))
    wanted = grid() if arguments.grid else [run for run in runs() if not (PUBLISHED / run_id(run)).is_dir()]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        codes = list(pool.map(do, wanted))
    sys.exit(max(codes, default=0))


if __name__ == "__main__":
    main()
