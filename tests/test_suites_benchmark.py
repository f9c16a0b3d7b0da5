"""The benchmark beside other libraries: all are asked the same, and none is timed where one is missing."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import suites
from tasks.pope import POPE


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(suites, "find_spec", lambda name: None)
    assert suites.main(["--items", "2"]) == 2
    assert capsys.readouterr().err == 'error: lm_eval is missing: pip install -c constraints.txt -e ".[suites]"\n'


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("lm_eval") and find_spec("vlmeval")), reason="lm-eval or ms-vlmeval is not installed"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_every_library_gives_the_accuracy_that_is_given_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "BATCHES", (4,))
    found = list(suites.findings(POPE, 12, 1, tmp_path))
    assert [finding.what for finding in found] == [
        "pope: 12 items here / lm-eval, batch 4, processor time",
        "pope: 12 items here / VLMEvalKit's loop, processor time",
    ]
    for finding in found:
        here, there = re.findall(r"accuracy ([\d.]+) and ([\d.]+)", finding.detail)[0]
        assert here == there
        assert finding.value > 0
