"""A stream of two official data sets, end to end on real items: photos of odd sizes, long text, ten annotators."""

from __future__ import annotations

from pathlib import Path

import pytest
from realdata_layout import REALDATA, write_official_layout

from harness.core import Paradigm, Run, Stream, UserError
from harness.registry import typed
from harness.results.cells import read_cells
from harness.results.remark import remark
from harness.runner import run
from harness.scales import TWIN
from harness.store.record import read_costs, read_record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (REALDATA / "scienceqa" / "items.jsonl").is_file(),
        reason="the real items may not be copied into the project: set CPT_REALDATA to their folder",
    ),
]


@pytest.mark.parametrize("name", ["sft", "rft"])
def test_real_items_run_end_to_end(name: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_official_layout(REALDATA, data)
    stream = typed(Stream, "scienceqa-vizwiz")
    finished = run(Run(paradigm=typed(Paradigm, name), stream=stream, scale=TWIN, data=str(data)), tmp_path / "runs")
    cells = read_cells(finished.folder / "cells.csv")
    assert [(cell.stage, cell.task, cell.style) for cell in cells] == [
        (stage, task, style) for stage in range(3) for task in stream.tasks for style in ("direct", "cot")
    ]
    assert {cell.task: cell.n for cell in cells} == {"scienceqa": 8, "vizwiz": 5}
    record = read_record(finished.folder)
    assert record.finished
    assert record.official
    assert len({cell.weights for cell in cells}) == 3, "each stage must have trained"
    items = [stage["items"] for stage in read_costs(finished.folder).stages.values() if "items" in stage]
    assert items == [13, 9]
    with pytest.raises(UserError, match="give its folder with --data"):
        remark(finished.folder)
    assert remark(finished.folder, data) == (0, len(cells)), "the same marks once more"
