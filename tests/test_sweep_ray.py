"""A sweep on a real Ray cluster of two nodes, one of which is killed in the middle of a stage."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from fake_world import ENGINE, PREFIX, STREAM, fake_run, make_model

from harness.results.cells import read_cells
from harness.runner import run

HERE = Path(__file__).parent
SWEEP = f"""
paradigms = ["while", "quick"]
streams = ["short", "games"]
scales = ["fake"]
cpus = 1
gpus = 2
plugins = ["{HERE / "sweep_plugin.py"}"]
"""


@pytest.mark.slow
def test_a_killed_node_s_leg_goes_on_elsewhere_and_every_stage_is_trained_once(
    tmp_path: Path, fake_plugin: ModuleType
) -> None:
    model, out = make_model(tmp_path / "model"), tmp_path / "runs"
    (tmp_path / "sweep.toml").write_text(SWEEP)
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    done = subprocess.run(
        [sys.executable, str(HERE / "killed_node.py"), str(tmp_path / "sweep.toml"), str(out)],
        env={**os.environ, "FAKE_MODEL": str(model), "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["legs"]) == 6
    assert told["heard"] == dict.fromkeys(told["legs"], 0)
    log = (out / ".sweep" / f"{told['killed']}.log").read_text()
    first, second = re.findall(r"^# run [^\n]*Ray node (\w+)", log, re.MULTILINE)[-2:]
    assert first != second, "the leg came back to the node that was killed"
    begun = [int(step) for step in re.findall(r"begins after step (\d+)", log)]
    assert any(step >= told["at"] for step in begun), "the stage began anew"
    # three stages of two paradigms, though they are ten stages of four runs
    assert len([path for path in (out / "checkpoints").iterdir() if path.is_dir()]) == 6
    for stream in (PREFIX, STREAM):
        undisturbed = run(fake_run(model, stream=stream), tmp_path / "undisturbed", engine=ENGINE)
        wanted = [(cell.stage, cell.task, cell.style, cell.score, cell.weights) for cell in undisturbed.cells]
        for name in ("while", "quick"):
            (cells,) = out.glob(f"{name}-{stream.name}-*/cells.csv")
            found = read_cells(cells)
            assert [(cell.stage, cell.task, cell.style, cell.score, cell.weights) for cell in found] == wanted
