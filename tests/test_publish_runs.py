"""What the runner leaves is what is published: tasks, suites, probes and verdicts of runs of the fake world."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import pandas
import pytest
from fake_world import FAKE, SLOW, STREAM, WATCHING, fake_run, fake_scale, make_model

from harness import runner
from harness.core import Paradigm, Stream, UserError, replace
from harness.results import leaderboard
from harness.results.cells import read_cells
from harness.results.probes import read_probes
from harness.results.publish import publish
from harness.results.published import published
from harness.results.remark import remark
from harness.store.checkpoints import Store


@pytest.fixture
def model(fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A model's folder, with the scale that names it registered; the checkout is clean."""
    folder = make_model(tmp_path / "model")
    fake_plugin.SCALE = fake_scale(folder)  # type: ignore[attr-defined]
    monkeypatch.setattr("harness.store.environment.commit", lambda: "c" * 40)
    return folder


def finished(model: Path, paradigm: Paradigm, stream: Stream, **fields: object) -> Path:
    """The folder of a run that the runner did."""
    return runner.run(fake_run(model, paradigm, stream, **fields), model.parent / "runs").folder


@pytest.mark.parametrize(("paradigm", "stream"), [(FAKE, STREAM), (SLOW, STREAM), (FAKE, WATCHING)])
def test_what_the_runner_leaves_is_what_is_published(model, tmp_path, paradigm, stream):
    run, results = finished(model, paradigm, stream), tmp_path / "results"
    target = publish(Store(tmp_path / "runs"), run, results)
    assert read_cells(target / "cells.csv") == read_cells(run / "cells.csv")
    assert str(tmp_path) not in (target / "run.json").read_text()
    assert (target / "verdicts.parquet").exists() == (paradigm.select is not None)
    assert (target / "probes.csv").exists() == bool(stream.probes)
    (entry,), (read,) = leaderboard.load(results), published(results)
    final = read.matrix().final
    assert entry["average_accuracy"] == pytest.approx(sum(final) / len(final))
    replies, marks = (pandas.read_parquet(target / f"{name}.parquet") for name in ("replies", "marks"))
    for cell in read.cells:
        for table in (replies, marks):
            here = table[(table["stage"] == cell.stage) & (table["task"] == cell.task) & (table["style"] == cell.style)]
            assert len(here) == cell.n
        assert here["score"].mean() == pytest.approx(cell.score, abs=1e-12)


def test_suites_and_probes_are_published_as_they_were_seen(model, tmp_path):
    run, results = finished(model, FAKE, WATCHING), tmp_path / "results"
    target = publish(Store(tmp_path / "runs"), run, results)
    (read,) = published(results)
    assert {(cell.style, cell.decoding) for cell in read.cells if cell.task == "shouts"} == {("own", "greedy-4")}
    for style in read.styles:
        assert all(value is not None for row in read.matrix(style).general for value in row)
    values = read_probes(target / "probes.csv")
    assert [(one.stage, one.probe) for one in values] == [(1, "drift"), (2, "drift")]
    assert len({one.value for one in values}) == 2
    assert remark(run) == (0, len(read.cells))


@pytest.mark.parametrize("spoil", ["lost", "of other weights", "one too few"])
def test_probes_of_another_run_are_refused(model, tmp_path, spoil):
    run = finished(model, FAKE, WATCHING)
    path = run / "probes.csv"
    lines = path.read_text().splitlines(keepends=True)
    if spoil == "lost":
        path.unlink()
    else:
        digest = lines[1].rstrip().rpartition(",")[2]
        path.write_text("".join(lines[:-1] if spoil == "one too few" else lines).replace(digest, "e" * len(digest)))
    with pytest.raises(UserError, match=r"probes\.csv"):
        publish(Store(tmp_path / "runs"), run, tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("fields", "words"), [({"limit": 4}, "limited"), ({"split": "validation"}, "validation")])
def test_trials_are_refused(model, tmp_path, fields, words):
    run = finished(model, FAKE, STREAM, **fields)
    with pytest.raises(UserError, match=words):
        publish(Store(tmp_path / "runs"), run, tmp_path / "results")


def test_a_run_that_was_made_from_uncommitted_code_is_refused(model, monkeypatch, tmp_path):
    store = Store(tmp_path / "runs")
    monkeypatch.setattr("harness.store.environment.commit", lambda: "d" * 40 + "+")
    run = finished(model, FAKE, STREAM)
    monkeypatch.setattr("harness.store.environment.commit", lambda: "c" * 40)
    assert finished(model, FAKE, STREAM) == run, "served from the store: it keeps the environment that made it"
    with pytest.raises(UserError, match="uncommitted code"):
        publish(store, run, tmp_path / "results")
    shutil.rmtree(run)
    finished(model, FAKE, STREAM)
    assert {one["commit"][-1] for one in json.loads((run / "run.json").read_text())["environments"].values()} > {"+"}
    with pytest.raises(UserError, match="uncommitted code"):
        publish(store, run, tmp_path / "results")
    shutil.rmtree(tmp_path / "runs")
    publish(store, finished(model, FAKE, STREAM), tmp_path / "results")


def test_a_corrected_scorer_needs_no_model_and_a_changed_item_is_refused(model, fake_plugin, tmp_path):
    from fake_world import lenient

    run = finished(model, FAKE, STREAM)
    before = read_cells(run / "cells.csv")
    shutil.rmtree(model)
    fake_plugin.COINS = replace(fake_plugin.COINS, version=2, score=lenient)
    assert remark(run) == (8, len(before))
    after = read_cells(run / "cells.csv")
    for old, new in zip(before, after, strict=True):
        assert new == old if new.task != "coins" else (new.scorer == "lenient-v2" and new.score >= old.score)
    publish(Store(tmp_path / "runs"), run, tmp_path / "results")
    fake_plugin.COINS = replace(fake_plugin.COINS, suffix="yes, no or maybe")
    with pytest.raises(UserError, match="replies of other prompts"):
        remark(run)
