"""SIGKILL at random moments of a run, the same command again: the cells end byte for byte as if untouched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from fake_world import make_model

from harness.scales import TWIN_BASE
from harness.store.checkpoints import Store
from harness.store.lineage import weights_digest

SCRIPT = Path(__file__).with_name("killed_run.py")


def start(out: Path, *words: str) -> subprocess.Popen[str]:
    """The run in a process of its own, its faults in a file."""
    with (out.parent / "faults").open("w") as faults:
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), str(out), *words],
            stdout=subprocess.PIPE,
            stderr=faults,
            text=True,
            cwd=SCRIPT.parents[1],
            env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "OMP_NUM_THREADS": "1"},
        )


def finish(out: Path, *words: str) -> list[str]:
    """Let the run come to its end; what it said."""
    process = start(out, *words)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, (out.parent / "faults").read_text()[-2000:]
    return said.splitlines()


def kill(out: Path, after: int, delay: float, *words: str) -> list[str]:
    """Kill the run ``delay`` seconds after its line number ``after``; what it had said."""
    process = start(out, *words)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line.strip())
        if len(said) == after:
            break
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, (out.parent / "faults").read_text()[-2000:]
    return said + rest.splitlines()


def numbers(out: Path) -> dict[str, bytes]:
    """All files of the one run that hold numbers: cells, rows and verdicts, by name."""
    (info,) = Store(out).list_runs()
    found = [path for path in info.folder.rglob("*") if path.suffix in (".csv", ".parquet")]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def check_the_store(out: Path) -> None:
    """Nothing half-written is left, and every checkpoint is what its manifest says."""
    assert not [path for path in out.rglob("*") if ".aside-" in path.name or path.suffix == ".partial"]
    (info,) = Store(out).list_runs()
    assert info.finished
    record = Store(out).show(info.id)
    for stage in record["stages"]:
        assert weights_digest(out / "checkpoints" / stage["key"]) == stage["weights"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_killed_at_random_moments_ends_with_the_same_cells(tmp_path: Path, seed: int) -> None:
    words = ("fake", str(make_model(tmp_path / "model")))
    whole, hurt, rng = tmp_path / "whole", tmp_path / "hurt", Random(seed)
    finish(whole, *words)
    moments = sorted(rng.randint(1, 36) for _ in range(7))
    said = [kill(hurt, after, rng.random() * 0.04, *words) for after in moments]
    assert any(line.startswith("step") for line in said[-1] + said[-2] + said[-3]), "no kill came near the training"
    said.append(finish(hurt, *words))
    assert sum(line == "step 1" for lines in said for line in lines) <= 3 + len(moments)
    assert numbers(hurt) == numbers(whole)
    check_the_store(hurt)


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", ["sft", "rft"])
def test_a_real_run_killed_at_random_moments_ends_with_the_same_cells(tmp_path: Path, paradigm: str) -> None:
    words = (paradigm, TWIN_BASE)
    whole, hurt, rng = tmp_path / "whole", tmp_path / "hurt", Random(paradigm)
    lines = len(finish(whole, *words))
    moments = sorted(rng.randint(1, lines - 8) for _ in range(5))
    for after in moments:
        kill(hurt, after, rng.random() * 0.5, *words)
    finish(hurt, *words)
    assert numbers(hurt) == numbers(whole)
    check_the_store(hurt)
