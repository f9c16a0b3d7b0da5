"""The benchmark beside other libraries: all are asked the same, and none is timed where one is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import suites

ROOT = Path(__file__).resolve().parents[1]


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(suites, "find_spec", lambda name: None)
    assert suites.main(["--items", "2"]) == 2
    assert capsys.readouterr().err == 'error: lm_eval is missing: pip install -c constraints.txt -e ".[suites]"\n'


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("lm_eval") and find_spec("vlmeval")), reason="lm-eval or ms-vlmeval is not installed"
)
def test_every_library_gives_the_accuracy_that_is_given_here() -> None:
    # In a process of its own: lm-eval switches gradients off for the process that loads it, vlmeval TLS checks.
    words = [sys.executable, "-m", "benchmarks.suites", "--items", "16", "--pairs", "1", "--only", "pope"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [row for row in done.stdout.splitlines() if row.startswith("| pope")]
    assert [row.split(" | ")[0] for row in rows] == [
        "| pope: 16 items here / lm-eval, batch 16, processor time",
        "| pope: 16 items here / VLMEvalKit's loop, processor time",
    ]
    for row in rows:
        here, there = re.findall(r"accuracy ([\d.]+) and ([\d.]+)", row)[0]
        assert here == there
        assert float(row.split(" | ")[1].split()[0]) > 0
