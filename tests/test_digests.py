"""Digests of large files are made once, and never believed of a file that may be another."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from fake_world import fake_run, make_model

from harness import digests
from harness.core import UserError
from harness.digests import beside, file_digest, keep_digest
from harness.runner import run


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Every file counts as large; how often each was read, by its inode."""
    found: Counter[int] = Counter()
    whole = digests._read

    def counted(file: Path) -> str:
        found[file.stat().st_ino] += 1
        return whole(file)

    monkeypatch.setattr(digests, "LARGE", 0)
    monkeypatch.setattr(digests, "_read", counted)
    return found


@pytest.mark.usefixtures("fake_plugin")
def test_weights_are_read_once_when_they_are_written(tmp_path: Path, read: Counter[int]) -> None:
    model = make_model(tmp_path / "model")
    done = run(fake_run(model), tmp_path / "runs")
    again = run(fake_run(model), tmp_path / "runs")
    assert again.cells == done.cells
    weights = list((tmp_path / "runs" / "checkpoints").glob("*/model.safetensors"))
    assert len(weights) == 3
    assert [read[path.stat().st_ino] for path in weights] == [1, 1, 1]
    assert not list(model.glob(".*")), "nothing is written into a user's model"
    content = bytearray(weights[0].read_bytes())
    content[-1] ^= 1
    weights[0].write_bytes(content)
    with pytest.raises(UserError, match="was edited or cut short"):
        run(fake_run(model), tmp_path / "runs")


def test_what_is_kept_is_believed_of_the_same_file_alone(tmp_path: Path, read: Counter[int]) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    keep_digest(file)
    keep_digest(file)
    kept = file_digest(file)
    assert sum(read.values()) == 1
    moved = file.rename(tmp_path / "other")
    beside(file).rename(beside(moved))
    assert (file_digest(moved), sum(read.values())) == (kept, 1)
    known = moved.stat()
    moved.write_bytes(b"two")
    assert file_digest(moved) != kept
    moved.unlink()
    moved.write_bytes(b"two")
    os.utime(moved, ns=(known.st_atime_ns, known.st_mtime_ns))
    if moved.stat().st_ino != known.st_ino:
        assert file_digest(moved) != kept
    for harm in ("", "[]", '{"file": 1}'):
        beside(moved).write_text(harm)
        assert file_digest(moved) != kept
