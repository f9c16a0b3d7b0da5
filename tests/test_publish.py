"""Publishing, the leaderboard that is derived from what was published, and its means over seeds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness import run_inputs
from harness.asking.styles import DIRECT
from harness.core import UserError
from harness.results import leaderboard
from harness.results.cells import csv_rows, read_cells, write_cells
from harness.results.metrics import ALL, average_accuracy, backward_transfer, compute_all
from harness.results.publish import publish
from harness.results.published import published, read_run
from harness.runner import run
from tests import fake_world
from tests.fake_runs import MTL, RFT, SFT, SHORT, fake_run


def refused(words: str, run: Path, results: Path) -> None:
    before = sorted(results.rglob("*"))
    with pytest.raises(UserError, match=words) as refusal:
        publish(run, results)
    assert "\n" not in str(refusal.value)
    assert sorted(results.rglob("*")) == before


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_finished_run_is_published_whole(tmp_path):
    run = fake_run(tmp_path / "runs")
    target = publish(run, tmp_path / "results")
    assert target == tmp_path / "results" / "runs" / "sft-short-s0"
    assert sorted(path.name for path in target.iterdir()) == ["cells.csv", "costs.json", "items.parquet", "run.json"]
    assert (target / "cells.csv").read_bytes() == (run / "cells.csv").read_bytes()
    assert json.loads((target / "run.json").read_text()) == json.loads((run / "run.json").read_text())
    assert sorted(path.name for path in target.parent.parent.iterdir()) == ["leaderboard.csv", "runs"]
    assert [entry["id"] for entry in leaderboard.load(tmp_path / "results")] == ["sft-short-s0"]


def test_the_published_items_add_up_to_the_cells(tmp_path):
    import pandas

    target = publish(fake_run(tmp_path / "runs", items=20), tmp_path / "results")
    items = pandas.read_parquet(target / "items.parquet")
    assert list(items) == ["stage", "task", "style", "example", "group", "score", "malformed"]
    assert str(items["score"].dtype) == "float32"
    assert items["group"].nunique() == 30
    means = items.groupby(["stage", "task", "style"], observed=True)[["score", "malformed"]].mean()
    cells = read_cells(target / "cells.csv")
    assert len(means) == len(cells) == 18
    for cell in cells:
        score, malformed = means.loc[(cell.stage, cell.task, cell.style)]
        assert score == pytest.approx(cell.score, abs=1e-6)
        assert malformed == pytest.approx(cell.malformed, abs=1e-6)


def test_publishing_twice_changes_nothing(tmp_path):
    run = fake_run(tmp_path / "runs")
    target = publish(run, tmp_path / "results")
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert publish(run, tmp_path / "results") == target
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()} == before


def test_other_numbers_under_a_published_id_are_refused(tmp_path):
    publish(fake_run(tmp_path / "runs"), tmp_path / "results")
    refused("other numbers", fake_run(tmp_path / "again", forgets=0.4), tmp_path / "results")


def test_a_published_record_names_no_folder_of_the_machine(tmp_path):
    target = publish(fake_run(tmp_path / "runs", asked={"data": str(tmp_path / "official")}), tmp_path / "results")
    assert json.loads((target / "run.json").read_text())["run"]["data"] == "official"
    assert str(tmp_path) not in (target / "run.json").read_text()


def test_what_the_runner_leaves_is_what_is_published(tmp_path, monkeypatch):
    monkeypatch.setattr(run_inputs, "typed", fake_world.find)
    model = fake_world.make_model(tmp_path / "model")
    done = run(fake_world.fake_run(model), tmp_path / "runs", engine=fake_world.engine_maker([]))
    target = publish(done.folder, tmp_path / "results")
    assert read_cells(target / "cells.csv") == list(done.cells)
    assert str(tmp_path) not in (target / "run.json").read_text()
    (entry,) = leaderboard.load(tmp_path / "results")
    scores = [
        cell.score for cell in done.cells if cell.stage == 3 and cell.style == "direct" and cell.task != "watched"
    ]
    assert entry["average_accuracy"] == pytest.approx(sum(scores) / 3)
    limited = run(fake_world.fake_run(model, limit=4), tmp_path / "runs", engine=fake_world.engine_maker([]))
    refused("limited", limited.folder, tmp_path / "results")
    aside = run(fake_world.fake_run(model, split="validation"), tmp_path / "runs", engine=fake_world.engine_maker([]))
    refused("validation", aside.folder, tmp_path / "results")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"asked": {"limit": 8}}, "limited"),
        ({"asked": {"split": "validation"}}, "validation"),
        ({"record": {"finished": False}}, "not finished"),
        ({"record": {"id": "other"}}, "holds the run 'other'"),
        ({"record": {"run": {}}}, "no run's record"),
        ({"record": {"stages": None}}, "no run's record"),
    ],
)
def test_what_may_not_stand_beside_whole_runs_is_refused(tmp_path, fields, words):
    refused(words, fake_run(tmp_path / "runs", **fields), tmp_path / "results")


def test_a_record_that_does_not_say_its_limit_is_refused(tmp_path):
    run = fake_run(tmp_path / "runs")
    asked = json.loads((run / "run.json").read_text())["run"]
    del asked["limit"]
    edit(run / "run.json", run=asked)
    refused("limited", run, tmp_path / "results")


@pytest.mark.parametrize("drop", [{"stage": 2, "task": "pathvqa"}, {"stage": 0, "task": "pope"}, {"style": "cot"}])
def test_a_run_without_all_its_cells_is_refused(tmp_path, drop):
    run = fake_run(tmp_path / "runs")
    cells = read_cells(run / "cells.csv")
    kept = [cell for cell in cells if any(getattr(cell, name) != value for name, value in drop.items())]
    assert len(kept) < len(cells)
    (run / "cells.csv").write_text(write_cells(kept))
    refused("lacks", run, tmp_path / "results")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    refused("no run's folder", tmp_path / "empty", tmp_path / "results")
    refused("no run's folder", tmp_path / "absent", tmp_path / "results")
    (tmp_path / "empty" / "run.json").write_text("{")
    refused("cannot be read", tmp_path / "empty", tmp_path / "results")
    (tmp_path / "empty" / "run.json").write_text("[]")
    refused("no run's record", tmp_path / "empty", tmp_path / "results")


def test_a_run_id_cannot_leave_the_results(tmp_path):
    run = fake_run(tmp_path / "runs")
    edit(run / "run.json", id="..")
    with pytest.raises(UserError):
        publish(run / "rows" / "..", tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / "rows" / "1-gqa-cot.parquet").unlink(), "1-gqa-cot.parquet is missing"),
        (lambda run: (run / "rows" / "1-gqa-cot.parquet").write_bytes(b"PAR1"), "damaged"),
        (lambda run: shutil.copy(run / "rows/0-gqa-cot.parquet", run / "rows/1-gqa-cot.parquet"), "does not add up"),
        (lambda run: (run / "costs.json").unlink(), "no costs.json"),
        (lambda run: (run / "cells.csv").unlink(), "has no cells.csv"),
    ],
)
def test_a_run_with_lost_or_changed_files_is_refused_and_nothing_is_left(tmp_path, spoil, words):
    run = fake_run(tmp_path / "runs", items=40)
    spoil(run)
    with pytest.raises(UserError, match=words):
        publish(run, tmp_path / "results")
    assert [path for path in tmp_path.glob("results/**/*") if path.is_file() or "aside" in path.name] == []


# --- the leaderboard


def test_a_row_holds_every_metric_in_the_own_style_and_two_in_the_other(tmp_path):
    publish(fake_run(tmp_path / "runs", RFT), tmp_path / "results")
    (entry,) = leaderboard.load(tmp_path / "results")
    (run,) = published(tmp_path / "results")
    own, other = run.matrix("cot"), run.matrix("direct")
    assert (entry["style"], entry["other_style"]) == ("cot", "direct")
    assert {name: entry[name] for name in ALL} == compute_all(own)
    assert entry["other_average_accuracy"] == average_accuracy(other) != average_accuracy(own)
    assert entry["other_backward_transfer"] == backward_transfer(other)
    assert (entry["paradigm"], entry["stream"], entry["scale"], entry["seed"]) == ("rft", "short", "twin", 0)


def test_ranks_follow_average_accuracy_within_a_group(tmp_path):
    for seed in range(3):
        publish(fake_run(tmp_path / "runs", SFT, seed=seed, forgets=0.5, items=40), tmp_path / "results")
        publish(fake_run(tmp_path / "runs", RFT, seed=seed, forgets=0.0, items=40), tmp_path / "results")
    entries = leaderboard.load(tmp_path / "results")
    scores = [entry["average_accuracy"] for entry in entries]
    assert scores == sorted(scores, reverse=True)
    assert [entry["rank"] for entry in entries] == [1 + sum(other > own for other in scores) for own in scores]
    assert {entry["runs"] for entry in entries} == {6}
    assert len({entry["group"] for entry in entries}) == 1
    assert entries[0]["paradigm"] == "rft"


@pytest.mark.parametrize(
    "fields",
    [
        {"versions": 2},
        {"stream": replace(SHORT, tasks=("pathvqa", "gqa"))},
        {"record": {"base_digest": "c" * 64}},
    ],
)
def test_runs_that_do_not_compare_are_not_ranked_together(tmp_path, fields):
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    publish(fake_run(tmp_path / "runs", RFT, **fields), tmp_path / "results")
    entries = leaderboard.load(tmp_path / "results")
    assert [entry["rank"] for entry in entries] == [1, 1]
    assert [entry["runs"] for entry in entries] == [1, 1]
    assert entries[0]["group"] != entries[1]["group"]


def test_where_the_model_lies_does_not_part_runs(tmp_path):
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    run = fake_run(tmp_path / "runs", RFT)
    asked = json.loads((run / "run.json").read_text())["run"]
    asked["scale"]["model"] = "elsewhere/twin-base"
    edit(run / "run.json", run=asked)
    publish(run, tmp_path / "results")
    assert [entry["rank"] for entry in leaderboard.load(tmp_path / "results")] == [1, 2]


def test_other_test_data_under_the_same_version_do_not_compare(tmp_path):
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    run = fake_run(tmp_path / "runs", RFT)
    cells = [replace(cell, data="e" * 64) for cell in read_cells(run / "cells.csv")]
    (run / "cells.csv").write_text(write_cells(cells))
    publish(run, tmp_path / "results")
    assert [entry["rank"] for entry in leaderboard.load(tmp_path / "results")] == [1, 1]


def test_joint_training_is_ranked_and_what_needs_an_order_is_empty(tmp_path):
    publish(fake_run(tmp_path / "runs", MTL), tmp_path / "results")
    (row,) = csv_rows(tmp_path / "results" / "leaderboard.csv")
    assert row["rank"] == "1"
    assert row["average_accuracy"] != ""
    for name in ("learning_accuracy", "gain", "backward_transfer", "fm_lai_T", "fm_lai_T1", "forward_transfer"):
        assert row[name] == ""
    assert row["other_backward_transfer"] == ""
    assert leaderboard.load(tmp_path / "results")[0]["gain"] is None


def test_ties_share_the_better_rank():
    def entry(name, score):
        return {"group": "g", "stream": "s", "scale": "x", "id": name, "average_accuracy": score}

    runs = [entry("a", 0.5), entry("b", None), entry("c", 0.7), entry("d", 0.5), entry("e", 0.2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaderboard, "_entry", lambda run: dict(run))
        rows = leaderboard.rows(runs)
    assert [(row["id"], row["rank"]) for row in rows] == [("c", 1), ("a", 2), ("d", 2), ("e", 4), ("b", None)]


def test_a_name_that_starts_a_formula_is_only_text(tmp_path):
    publish(fake_run(tmp_path / "runs", replace(SFT, style=replace(DIRECT, name="direct"))), tmp_path / "results")
    record = tmp_path / "results" / "runs" / "sft-short-s0" / "run.json"
    run = json.loads(record.read_text())["run"]
    run["scale"]["name"] = '=HYPERLINK("x")'
    edit(record, run=run)
    leaderboard.rebuild(tmp_path / "results")
    assert ',"\'=HYPERLINK(""x"")",' in (tmp_path / "results" / "leaderboard.csv").read_text()
    assert leaderboard.load(tmp_path / "results")[0]["scale"] == '=HYPERLINK("x")'


def test_the_leaderboard_is_derived_from_the_cells_alone(tmp_path):
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    path = tmp_path / "results" / "leaderboard.csv"
    text = path.read_text()
    path.write_text(text.replace("sft-short", "won-short"))
    assert leaderboard.rebuild(tmp_path / "results") == path
    assert path.read_text() == text


def test_an_absent_or_broken_leaderboard_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="publish a finished run first"):
        leaderboard.load(tmp_path)
    path = leaderboard.rebuild(tmp_path)
    assert leaderboard.load(tmp_path) == []
    path.write_text(path.read_text() + "x" + "," * (len(leaderboard.COLUMNS) - 1) + "\n")
    with pytest.raises(UserError, match="malformed"):
        leaderboard.load(tmp_path)


def test_a_published_run_whose_cells_were_edited_into_another_run_is_refused(tmp_path):
    target = publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    target.rename(target.with_name("stolen"))
    with pytest.raises(UserError, match="holds the run"):
        leaderboard.rebuild(tmp_path / "results")
    with pytest.raises(UserError, match="not published"):
        published(tmp_path / "results", ["sft-short-s0"])


def test_a_summary_is_mean_and_standard_error_over_the_seeds_of_one_recipe(tmp_path):
    for seed in (0, 1, 2):
        publish(fake_run(tmp_path / "runs", SFT, seed=seed, items=40), tmp_path / "results")
    publish(fake_run(tmp_path / "runs", MTL, items=40), tmp_path / "results")
    publish(fake_run(tmp_path / "runs", replace(SFT, rate=2.0), seed=3, items=40), tmp_path / "results")
    found = {(part.paradigm, part.seeds): part for part in leaderboard.summary(tmp_path / "results")}
    assert set(found) == {("sft", (0, 1, 2)), ("sft", (3,)), ("mtl", (0,))}
    seeds = [average_accuracy(run.matrix()) for run in published(tmp_path / "results") if run.paradigm == "sft"][:3]
    part = found["sft", (0, 1, 2)]
    mean = sum(seeds) / 3
    assert part.n == 3
    assert part.mean["average_accuracy"] == pytest.approx(mean)
    assert part.error["average_accuracy"] == pytest.approx((sum((s - mean) ** 2 for s in seeds) / 2 / 3) ** 0.5)
    assert found["mtl", (0,)].mean["backward_transfer"] is None
    assert found["mtl", (0,)].error["average_accuracy"] is None


def test_reading_a_run_in_progress_shows_its_holes(tmp_path):
    folder = fake_run(tmp_path / "runs", record={"finished": False})
    cells = [cell for cell in read_cells(folder / "cells.csv") if cell.stage < 2]
    (folder / "cells.csv").write_text(write_cells(cells))
    run = read_run(folder)
    assert run.matrix().final == (None, None)
    assert run.missing(["cot"]) == ["pathvqa/gqa/cot", "pathvqa/pathvqa/cot", "pathvqa/pope/cot"]


def test_the_leaderboard_answers_without_heavy_libraries():
    heavy = ["torch", "transformers", "trl", "datasets", "pandas", "pyarrow", "numpy", "matplotlib", "PIL", "scipy"]
    program = (
        f"import sys, harness.results.leaderboard, paper_figures; print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
