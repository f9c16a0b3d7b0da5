"""Each paradigm for real: the twin base through two tasks and a suite, every file as the runner promises it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import registry
from harness.core import Paradigm, Run, Stream
from harness.runner import run
from harness.scales import TWIN
from harness.store.record import read_record


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "paradigm", ["sft", "rft", "rif-rft", "mtl", "rft-nokl", "rft-nocot", "rft-rloo", "rft-remax", "rft-lora"]
)
def test_the_twins_run_end_to_end(tmp_path: Path, paradigm: str) -> None:
    stream = Stream(name="pair", tasks=("gqa", "geometry3k"), epochs={"gqa": 1, "geometry3k": 2}, general=("mmmu",))
    asked = Run(paradigm=registry.typed(Paradigm, paradigm), stream=stream, scale=TWIN, limit=8)
    done = run(asked, tmp_path)
    stages = 2 if paradigm == "mtl" else 3
    assert len(done.cells) == stages * 3 * 2
    assert {cell.n for cell in done.cells} == {8}
    assert any(cell.score > 0 for cell in done.cells if cell.stage == 0), "the twin base can do something"
    record = read_record(done.folder)
    costs = json.loads((done.folder / "costs.json").read_text())["stages"]
    assert len({record.base, *(stage.weights for stage in record.stages)}) == stages
    assert all(stage.reference == (stage.parent if asked.paradigm.kl else None) for stage in record.stages)
    assert all(costs[str(index)]["optimiser_steps"] > 0 for index in range(1, stages))
    assert (costs["1"]["sampled_tokens"] > 0) == paradigm.startswith("r")
    assert (done.folder / "verdicts-1.parquet").exists() == (paradigm == "rif-rft")
    before = files(tmp_path)
    assert run(asked, tmp_path).cells == done.cells
    assert files(tmp_path) == before
