"""The rate grid: five learning rates for each arm, as named paradigms, and the criterion that chooses among them.

The criterion was fixed before the first run: for each arm the rate with the highest average accuracy after the last
stage, in the arm's own style, on the validation split of the stream `o1` at full twin size, seed 100. Both arms get the
same effort. A winner at an end of the grid extends the grid by one rate on that side, until the winner lies inside.

    harness run --plugin benchmarks/rates.py --paradigm sft-rate-3 --seq o1 --split validation --seed 100
    python -m benchmarks.rates --out runs
"""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.rft import RFT
from baselines.sft import SFT, SFT_LORA
from harness.core import Paradigm, UserError, replace
from harness.results.cells import csv_text, write_cells
from harness.results.metrics import ALL
from harness.results.published import PublishedRun, read_run
from harness.scales import TWIN
from harness.store import disk

# AdamW's peak rates, in steps of about the square root of ten; numbers below 1 extended the grid.
RATES: dict[str, tuple[Paradigm, float, float]] = {
    f"{arm.name}-rate-{number}": (arm, TWIN.rates[learner], rate)
    for arm, learner, first, rates in (
        (SFT, "sft", 0, (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
        (RFT, "grpo", 1, (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)),
    )
    for number, rate in enumerate(rates, start=first)
}
GRID = {name: replace(arm, name=name, rate=rate / usual) for name, (arm, usual, rate) in RATES.items()}
# Not of the grid: the dose of the long stages, three times as high.
SFT_X3 = replace(SFT, name="sft-x3", rate=3.0)
# Nor these: an adapter at three and thirty times the rate of all weights, beside sft-lora's own ten times.
SFT_LORA_X3, SFT_LORA_X30 = (replace(SFT_LORA, name=f"sft-lora-x{times}", rate=float(times)) for times in (3, 30))
SFT_0, SFT_1, SFT_2, SFT_3, SFT_4, SFT_5, RFT_1, RFT_2, RFT_3, RFT_4, RFT_5 = GRID.values()


def finished(out: Path) -> list[PublishedRun]:
    """The finished runs of the grid in ``out``, in the grid's order."""
    runs = {}
    for folder in sorted(out.glob("*-rate-*-o1-twin-s100-validation-*")):
        run = read_run(folder)
        if run.record.finished:
            runs[run.paradigm] = run
    return [runs[name] for name in GRID if name in runs]


def rows(runs: list[PublishedRun]) -> list[dict[str, object]]:
    """Paradigm, rate, average accuracy, gain and backward transfer of each run, in its own style."""
    found: list[dict[str, object]] = []
    for run in runs:
        values = {key: ALL[key].compute(run.matrix()) for key in ("average_accuracy", "gain", "backward_transfer")}
        found.append({"paradigm": run.paradigm, "rate": RATES[run.paradigm][2], **values})
    return found


def write(out: Path, results: Path) -> None:
    """Put the grid's table and all its cells into ``results/rates/``."""
    runs = finished(out)
    table = rows(runs)
    if len(table) != len(GRID):
        raise UserError(f"{out} holds {len(table)} of {len(GRID)} finished runs of the grid: finish it first")
    disk.write(
        results / "rates" / "o1-twin.csv", csv_text(list(table[0]), [list(row.values()) for row in table]).encode()
    )
    cells = [cell for run in runs for cell in run.cells]
    disk.write(results / "rates" / "cells.csv", write_cells(cells).encode())


def main() -> None:
    """Write the whole grid, or say what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    write(arguments.out, arguments.results)


if __name__ == "__main__":
    main()
