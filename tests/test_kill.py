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

from harness.core import Mark, Reply, Verdict
from harness.scales import TWIN_BASE
from harness.store.checkpoints import Store
from harness.store.housekeeping import RunInfo, list_runs
from harness.store.tables import from_parquet
from harness.weights import weights_digest

SCRIPT = Path(__file__).with_name("killed_run.py")
ORPHANS = 1.0  # seconds that what a killed run had started may live on


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
    children = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, (out.parent / "faults").read_text()[-2000:]
    while [child for child in children if alive(child)]:
        assert time.monotonic() < killed + ORPHANS, "a process that the run started outlives it"
        time.sleep(0.02)
    return said + rest.splitlines()


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that live, as Linux tells them."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in listed for child in path.read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process computes still; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def only_run(out: Path) -> RunInfo:
    """The one run of a store."""
    ((info,), strangers) = list_runs(Store(out))
    assert not strangers
    return info


KINDS = {"replies": Reply, "marks": Mark}


def numbers(out: Path) -> dict[str, object]:
    """All that the one run's files say of numbers, by name: cells, and replies, marks and verdicts with their keys.

    Which environment made a reply is not compared: it may be another after a kill.
    """
    folder = only_run(out).folder
    found: dict[str, object] = {"cells.csv": (folder / "cells.csv").read_bytes()}
    for path in folder.rglob("*.parquet"):
        table = from_parquet(KINDS.get(path.parent.name, Verdict), path)
        found[str(path.relative_to(folder))] = (table.records, table.bound)
    return found


def check_the_store(out: Path) -> None:
    """Nothing half-written is left, and every checkpoint is what its manifest says."""
    assert not [path for path in out.rglob("*") if ".aside-" in path.name or path.suffix == ".partial"]
    info = only_run(out)
    assert info.finished
    for stage in info.record.stages:
        assert stage.key
        assert weights_digest(out / "checkpoints" / stage.key) == stage.weights


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "processes", "kills"), [(0, "0", 7), (1, "0", 7), (2, "1", 3)])
def test_a_run_killed_at_random_moments_ends_with_the_same_cells(
    tmp_path: Path, seed: int, processes: str, kills: int
) -> None:
    words = ("fake", str(make_model(tmp_path / "model")))
    whole, hurt, rng = tmp_path / "whole", tmp_path / "hurt", Random(seed)
    finish(whole, *words, processes)
    moments = sorted(rng.randint(1, 36) for _ in range(kills))
    said = [kill(hurt, after, rng.random() * 0.04, *words, processes) for after in moments]
    assert any(line.startswith("step") for line in said[-1] + said[-2] + said[-3]), "no kill came near the training"
    said.append(finish(hurt, *words, processes))
    assert sum(line == "step 1" for lines in said for line in lines) <= 3 + len(moments)
    assert numbers(hurt) == numbers(whole)
    check_the_store(hurt)


@pytest.mark.slow
@pytest.mark.parametrize(("paradigm", "processes", "kills"), [("rft", "0", 3), ("sft", "1", 2)])
def test_a_real_run_killed_at_random_moments_ends_with_the_same_cells(
    tmp_path: Path, paradigm: str, processes: str, kills: int
) -> None:
    words = (paradigm, TWIN_BASE)
    whole, hurt, rng = tmp_path / "whole", tmp_path / "hurt", Random(paradigm)
    lines = len(finish(whole, *words, "0"))
    moments = sorted(rng.randint(1, lines - 8) for _ in range(kills))
    for after in moments:
        kill(hurt, after, rng.random() * 0.5, *words, processes)
    finish(hurt, *words, processes)
    assert numbers(hurt) == numbers(whole)
    check_the_store(hurt)
