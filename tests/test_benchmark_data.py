"""The benchmark of official data on a few rows: every step runs and reports. Nothing is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import data
from tasks.pathvqa import PATHVQA


def test_the_set_is_pathvqas_and_no_two_pictures_are_equal_in_bytes(tmp_path: Path) -> None:
    size = data.write(tmp_path, 120)
    examples = PATHVQA.load("train", 999, tmp_path)
    assert len(examples) == len({example.group for example in examples}) == 120
    assert size > 120 * 15_000
    first, *_, other = examples[: data.DISTINCT + 1]
    assert first.images[0]().tobytes() == other.images[0]().tobytes(), "the same photo, with other bytes after it"


@pytest.mark.slow
def test_every_step_is_reported_with_its_memory(tmp_path: Path) -> None:
    found = data.report(tmp_path, 120)
    assert [finding.what for finding in found][-1] == "peak memory of the walk"
    assert all(finding.value > 0 for finding in found)
    assert all("120 rows" in finding.detail for finding in found)
