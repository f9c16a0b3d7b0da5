"""The study behind results/: the rate grid, then five seeds of sft and rft, each other paradigm once, the noise floor.

Every run is an ordinary ``harness run``; as many go on at once as there are cores. Stopped at any moment, the same
command continues.

    python -m benchmarks.study --grid      # choose rates: python -m benchmarks.rates prints the outcome
    python -m benchmarks.study             # the runs themselves
    python -m benchmarks.study --publish   # into results/, where all are finished
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from baselines.rft import RFT, RFT_NOCOT, RFT_NOKL, RIF_RFT
from baselines.sft import MTL, SFT
from benchmarks.noise_floor import MORE_PRETRAINING
from benchmarks.rates import GRID
from harness.core import Paradigm, Run
from harness.scales import TWIN
from harness.syllabus import run_id
from tasks.streams import DEFAULT, O1

SEEDS = range(5)
GRID_SEED = 100  # none of the published ones
ONCE = (RIF_RFT, RFT_NOKL, RFT_NOCOT, MTL, MORE_PRETRAINING)
PLUGINS = ("benchmarks/rates.py", "benchmarks/noise_floor.py")


def grid() -> list[Run]:
    """The runs that choose the rates, the long ones first."""
    return [
        Run(paradigm=paradigm, stream=O1, scale=TWIN, seed=GRID_SEED, split="validation")
        for paradigm in reversed(GRID.values())
    ]


def runs() -> list[Run]:
    """The runs that are published, the long ones first."""
    chosen: list[tuple[Paradigm, int]] = [(RFT, seed) for seed in SEEDS]
    chosen += [(paradigm, 0) for paradigm in ONCE]
    chosen += [(SFT, seed) for seed in SEEDS]
    return [Run(paradigm=paradigm, stream=DEFAULT, scale=TWIN, seed=seed) for paradigm, seed in chosen]


def command(run: Run) -> list[str]:
    """The words that start a run."""
    words = [sys.executable, "-m", "harness.cli", "run", "--paradigm", run.paradigm.name, "--seq", run.stream.name]
    words += ["--seed", str(run.seed), "--split", run.split]
    return [*words, *(word for plugin in PLUGINS for word in ("--plugin", plugin))]


def do(run: Run) -> int:
    """One run to its end, quietly; its exit code."""
    begun = time.monotonic()
    done = subprocess.run(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    print(f"{run_id(run)}: {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr, flush=True)
    return done.returncode


def main() -> None:
    """Do the grid, the runs, or their publication."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    if arguments.publish:
        for run in runs():
            subprocess.run([sys.executable, "-m", "harness.cli", "publish", run_id(run)], check=True)
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        codes = list(pool.map(do, grid() if arguments.grid else runs()))
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
