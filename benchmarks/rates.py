"""The rate grid: five learning rates for each arm, as named paradigms, and the criterion that chooses among them.

The criterion was fixed before the first run: for each arm the rate with the highest average accuracy after the last
stage, in the arm's own style, on the validation split of the stream `o1` at full twin size, seed 100. Both arms get the
same effort. A winner at an end of the grid extends the grid by one rate on that side, until the winner lies inside.

    harness run --plugin benchmarks/rates.py --paradigm sft-rate-3 --seq o1 --split validation --seed 100
    python -m benchmarks.rates --out runs
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from baselines.rft import RFT
from baselines.sft import SFT
from harness.core import Paradigm, replace
from harness.scales import TWIN

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
SFT_0, SFT_1, SFT_2, SFT_3, SFT_4, SFT_5, RFT_1, RFT_2, RFT_3, RFT_4, RFT_5 = GRID.values()


def rows(out: Path) -> list[dict[str, object]]:
    """The finished runs of the grid in ``out``: paradigm, rate, average accuracy, gain, backward transfer."""
    from harness.results.cells import read_cells
    from harness.results.matrix import from_cells
    from harness.results.metrics import ALL
    from tasks.streams import O1

    found: list[dict[str, object]] = []
    for folder in sorted(out.glob("*-rate-*-o1-twin-s100-validation-*")):
        if json.loads((folder / "run.json").read_text())["finished"] is not True:
            continue
        name = folder.name.split("-o1-")[0]
        paradigm = GRID[name]
        cells = read_cells(folder / "cells.csv")
        matrix = from_cells(cells, style=paradigm.style.name, tasks=O1.tasks, general=O1.general)
        values = {key: ALL[key].compute(matrix) for key in ("average_accuracy", "gain", "backward_transfer")}
        found.append({"paradigm": name, "rate": RATES[name][2], **values})
    return found


def main() -> None:
    """Print the whole grid as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    table = rows(parser.parse_args().out)
    if table:
        writer = csv.DictWriter(sys.stdout, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
