"""Watching a run: what is seen while it goes on, after it was stopped and after its end, and that it is only read."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_world import ENGINE, SLOW, STREAM, fake_run, make_model

from harness.command import watch
from harness.core import Observation, Progress
from harness.listener import Silent
from harness.results.published import read_run
from harness.runner import run
from harness.store.journal import JOURNAL, STEP, Entry, Journal, entries_of, steps_of

pytestmark = pytest.mark.usefixtures("fake_plugin")


class Looking(Silent):
    """Looks at the run at every event, and stops it at one of them."""

    def __init__(self, out: Path, stop_at: int = -1) -> None:
        self.out, self.stop_at = out, stop_at
        self.seen: list[watch.Seen] = []

    def look(self) -> None:
        """Look once."""
        (folder,) = [path.parent for path in self.out.glob("*/run.json")]
        files = {path: path.stat().st_mtime_ns for path in sorted(self.out.rglob("*"))}
        self.seen.append(watch.look(folder))
        assert files == {path: path.stat().st_mtime_ns for path in sorted(self.out.rglob("*"))}
        if len(self.seen) == self.stop_at:
            raise KeyboardInterrupt

    def progress(self, progress: Progress) -> None:
        """A step."""
        self.look()

    def replies(self, observation: Observation, seconds: float) -> None:
        """Replies."""
        self.look()


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    return fake_run(make_model(tmp_path / "model"), SLOW)


def refused(*given: object) -> None:
    raise AssertionError("watching took a lock")


def test_a_run_is_seen_while_it_goes_on_when_it_was_stopped_and_when_it_ended(
    tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, base = tmp_path / "runs", len(STREAM.tasks + STREAM.general) * 2
    first = Looking(out, stop_at=base + 4)
    with pytest.raises(KeyboardInterrupt):
        run(asked, out, first, ENGINE)
    assert {seen.state for seen in first.seen} == {watch.RUNNING}
    assert [seen.stages[0].replies for seen in first.seen[:base]] == list(range(1, base + 1))
    assert [seen.stages[1].step for seen in first.seen[base:]] == [1, 2, 3, 4]
    assert first.seen[-1].stages[0].cells == first.seen[-1].stages[0].wanted == base
    assert "loss" in first.seen[-1].stages[1].measured
    (folder,) = [path.parent for path in out.glob("*/run.json")]
    stopped = watch.look(folder)
    assert (stopped.state, stopped.left) == (watch.STOPPED, None)

    second = Looking(out)
    finished = run(asked, out, second, ENGINE)
    assert {seen.state for seen in second.seen} == {watch.RUNNING}
    assert second.seen[-1].left is not None
    now = watch.look(folder)
    assert now.state == watch.FINISHED
    assert now.scores == {(cell.stage, cell.task, cell.style): cell.score for cell in read_run(folder).cells}
    assert [stage.step for stage in now.stages[1:]] == [stage.of for stage in now.stages[1:]]
    entries = entries_of(folder)
    for stage, seen in enumerate(now.stages[1:], start=1):
        assert [step.step for step in steps_of(entries, stage)] == list(range(1, seen.of + 1)), "each step once"
    watch.watch(folder)
    said = capsys.readouterr().out
    assert f"{finished.id}: finished" in said
    assert all(stage.name in said for stage in now.stages)

    before = (folder / JOURNAL).read_bytes()
    run(asked, out, None, ENGINE)
    assert (folder / JOURNAL).read_bytes() == before, "a look through a finished run adds nothing"


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists its locks; elsewhere a look takes one")
def test_a_running_run_is_never_locked_by_its_watcher(
    tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unlocked(Looking):
        def look(self) -> None:
            """Look without a lock."""
            with monkeypatch.context() as patched:
                patched.setattr(fcntl, "flock", refused)
                super().look()

    heard = Unlocked(tmp_path / "runs")
    run(asked, tmp_path / "runs", heard, ENGINE)
    assert {seen.state for seen in heard.seen} == {watch.RUNNING}


def test_a_journal_that_a_kill_cut_off_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert entries_of(tmp_path) == []
    for step in (1, 2, 3, 2, 3, 4):
        journal.write(STEP, stage=1, step=step, of=4, loss=1 / step, reward=None)
    whole = (tmp_path / JOURNAL).read_bytes()
    for length in range(len(whole) - 60, len(whole)):
        (tmp_path / JOURNAL).write_bytes(whole[:length])
        assert len(entries_of(tmp_path)) in (5, 6)
    (tmp_path / JOURNAL).write_bytes(b'\n[1]\n{"at": 1}\n{"kind": "step", "at": 1, "other": 2}\n' + whole)
    assert [step.step for step in steps_of(entries_of(tmp_path), 1)] == [1, 2, 3, 4]


def test_a_link_in_the_journals_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    os.symlink(tmp_path / "precious", tmp_path / JOURNAL)
    with pytest.raises(Exception, match="journal"):
        Journal(tmp_path).write(STEP)
    assert (tmp_path / "precious").read_text() == "mine"


def test_time_to_go_comes_from_what_is_done(fake_plugin: ModuleType) -> None:
    def stage(**known: Any) -> watch.StageSeen:
        return watch.StageSeen(**{"name": "s", "wanted": 4, "cells": 4, **known})

    steps = [Entry(at=10.0 + n, kind=STEP, stage=2, step=n + 1, of=10) for n in range(5)]
    begun = [Entry(at=9.0, kind="stage", stage=2, of=3)]
    stages = [
        stage(evaluation=8.0),
        stage(training=20.0, evaluation=8.0, step=10, of=10),
        stage(step=5, of=10, cells=0),
        stage(cells=0),
    ]
    # five steps of a second, this stage's evaluation, and a whole stage of 20 and 8 seconds
    assert watch.left(stages, begun + steps) == pytest.approx(5 + 8 + 28)
    assert watch.left([stage(evaluation=8.0), stage(cells=0)], [Entry(at=0.0, kind="stage", stage=1)]) is None
    half = [*stages[:2], stage(training=20.0, step=10, of=10, cells=0, replies=2), stage(cells=0)]
    assert watch.left(half, begun + steps) == pytest.approx(4 + 28)
