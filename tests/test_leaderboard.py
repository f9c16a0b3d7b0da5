"""The leaderboard that is derived from what was published, and its means over seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from baselines.rft import RFT_NOCOT
from harness.core import Stage, Stream, UserError, replace
from harness.results import leaderboard
from harness.results.arms import arm_of
from harness.results.cells import csv_rows, read_cells, write_cells
from harness.results.flips import flips
from harness.results.marks import read_marks
from harness.results.metrics import ALL, average_accuracy, backward_transfer, compute_all
from harness.results.published import published, read_run
from harness.results.stats import estimates
from tests.fake_runs import MTL, RFT, SFT, SHORT, fake_run, publish


def test_a_row_holds_every_metric_in_the_own_style_and_two_in_the_other(tmp_path):
    publish(fake_run(tmp_path / "runs", RFT), tmp_path / "results")
    (entry,) = leaderboard.load(tmp_path / "results")
    (run,) = published(tmp_path / "results")
    own, other = run.matrix("cot"), run.matrix("direct")
    assert (entry["style"], entry["other_style"]) == ("cot", "direct")
    computed = compute_all(own)
    for name in ALL:
        if computed[name] is not None:
            assert entry[name] == computed[name]
        if entry[name] is not None and entry[f"{name}_low"] is not None:
            assert entry[f"{name}_low"] - 1e-6 <= entry[name] <= entry[f"{name}_high"] + 1e-6
    marks = read_marks(tmp_path / "results" / "runs" / run.id)
    found = flips(marks[1, "gqa", "cot"].scores, marks[2, "gqa", "cot"].scores)
    assert (entry["loss_rate"], entry["churn"]) == (round(found.loss_rate, 6), round(found.churn, 6))
    interval = estimates(arm_of([run], [marks]), ["backward_transfer"])["backward_transfer"]
    assert (entry["backward_transfer_low"], entry["backward_transfer_high"]) == (
        round(interval.low, 6),
        round(interval.high, 6),
    )
    assert entry["other_average_accuracy"] == average_accuracy(other) != average_accuracy(own)
    assert entry["other_backward_transfer"] == backward_transfer(other)
    assert (entry["paradigm"], entry["stream"], entry["scale"], entry["seed"]) == ("rft", "short", "twin", 0)


def test_ranks_follow_average_accuracy_within_a_group_and_a_style(tmp_path):
    for seed in range(2):
        publish(fake_run(tmp_path / "runs", SFT, seed=seed, forgets=0.5, items=40), tmp_path / "results")
        publish(fake_run(tmp_path / "runs", RFT_NOCOT, seed=seed, forgets=0.0, items=40), tmp_path / "results")
    entries = leaderboard.load(tmp_path / "results")
    scores = [entry["average_accuracy"] for entry in entries]
    assert scores == sorted(scores, reverse=True)
    assert [entry["rank"] for entry in entries] == [1 + sum(other > own for other in scores) for own in scores]
    assert {entry["runs"] for entry in entries} == {4}
    assert len({entry["group"] for entry in entries}) == 1
    assert entries[0]["paradigm"] == "rft-nocot"
    publish(fake_run(tmp_path / "runs", RFT, items=40), tmp_path / "results")
    (alone,) = [entry for entry in leaderboard.load(tmp_path / "results") if entry["style"] == "cot"]
    assert (alone["rank"], alone["runs"], alone["group"]) == (1, 1, entries[0]["group"])


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2},
        {"stream": replace(SHORT, tasks=("pathvqa", "gqa"))},
        {"base": "c" * 64},
        {"items": 9},
    ],
)
def test_runs_that_do_not_compare_are_not_ranked_together(tmp_path, fields):
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    publish(fake_run(tmp_path / "runs", RFT, **fields), tmp_path / "results")
    entries = leaderboard.load(tmp_path / "results")
    assert [entry["rank"] for entry in entries] == [1, 1]
    assert [entry["runs"] for entry in entries] == [1, 1]
    assert entries[0]["group"] != entries[1]["group"]


def test_where_the_model_lies_what_steps_cost_and_who_is_cited_do_not_part_runs(tmp_path):
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    run = fake_run(tmp_path / "runs", RFT_NOCOT, stream=replace(SHORT, cite="corrected"))
    content = json.loads((run / "run.json").read_text())
    content["scale"].update(model="elsewhere/twin-base", seconds={}, cite="corrected", ranks=4, observers=1)
    content["scale"]["rates"]["another"] = 1.0
    del content["scale"]["decodings"]["direct"]["stop"]  # as a record has it that was written before there were any
    (run / "run.json").write_text(json.dumps(content))
    publish(run, tmp_path / "results")
    assert [entry["rank"] for entry in leaderboard.load(tmp_path / "results")] == [1, 2]


def test_a_corrected_citation_of_a_paradigm_leaves_its_mean_whole(tmp_path):
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    publish(fake_run(tmp_path / "runs", replace(SFT, cite="corrected"), seed=1), tmp_path / "results")
    (part,) = leaderboard.summary(tmp_path / "results")
    assert part.seeds == (0, 1)


@pytest.mark.parametrize("field", ["data", "engine"])
def test_other_test_data_or_another_engine_do_not_compare(tmp_path, field):
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    target = publish(fake_run(tmp_path / "runs", RFT), tmp_path / "results")
    cells = [replace(cell, **{field: "e" * 64}) for cell in read_cells(target / "cells.csv")]
    (target / "cells.csv").write_text(write_cells(cells))
    leaderboard.rebuild(tmp_path / "results")
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


def replayed(stream: Stream) -> tuple[Stage, ...]:
    """Stages of the stream's names that show earlier tasks again."""
    return tuple(
        Stage(name=task, tasks=(task, *stream.tasks[:n]), shares=dict.fromkeys(stream.tasks[:n], 0.1))
        for n, task in enumerate(stream.tasks)
    )


def test_a_stage_that_replays_is_not_ordered_whatever_its_name(tmp_path):
    publish(fake_run(tmp_path / "runs", replace(SFT, name="replay", stages=replayed)), tmp_path / "results")
    (run,) = published(tmp_path / "results")
    assert run.stages == ("base", *SHORT.tasks)
    assert not run.matrix().ordered
    assert leaderboard.load(tmp_path / "results")[0]["gain"] is None


def test_ties_share_the_better_rank():
    def entry(name, score):
        return {"group": "g", "stream": "s", "scale": "x", "style": "cot", "id": name, "average_accuracy": score}

    runs = [entry("a", 0.5), entry("b", None), entry("c", 0.7), entry("d", 0.5), entry("e", 0.2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaderboard, "_entry", lambda run, found: dict(vars(run)))
        rows = leaderboard.rows([SimpleNamespace(**run) for run in runs])
    assert [(row["id"], row["rank"]) for row in rows] == [("c", 1), ("a", 2), ("d", 2), ("e", 4), ("b", None)]


def test_the_leaderboard_is_derived_from_the_cells_alone(tmp_path):
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    path = tmp_path / "results" / "leaderboard.csv"
    text = path.read_text()
    path.write_text(text.replace("sft-short", "won-short"))
    assert leaderboard.rebuild(tmp_path / "results") == ()
    assert path.read_text() == text


def test_an_absent_or_broken_leaderboard_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="publish a finished run first"):
        leaderboard.load(tmp_path)
    assert leaderboard.rebuild(tmp_path) == ()
    path = tmp_path / leaderboard.NAME
    assert leaderboard.load(tmp_path) == []
    path.write_text(path.read_text() + "x" + "," * (len(leaderboard.COLUMNS) - 1) + "\n")
    with pytest.raises(UserError, match="malformed"):
        leaderboard.load(tmp_path)


def test_one_damaged_run_is_named_and_hinders_no_other(tmp_path):
    for seed in range(5):
        publish(fake_run(tmp_path / "runs", SFT, seed=seed), tmp_path / "results")
    first, second, third, fourth, whole = sorted((tmp_path / "results" / "runs").iterdir())
    (first / "run.json").write_text("{")
    (second / "cells.csv").unlink()
    cells = read_cells(third / "cells.csv")
    (third / "cells.csv").write_text(write_cells([*cells, replace(cells[0], decoding="greedy-9")]))
    edited = read_cells(fourth / "cells.csv")
    (fourth / "cells.csv").write_text(write_cells([replace(edited[0], score=0.99), *edited[1:]]))
    found = leaderboard.rebuild(tmp_path / "results")
    assert len(found) == 4
    for folder, line in zip((first, second, third, fourth), found, strict=True):
        assert folder.name in line
        assert "\n" not in line
    assert [entry["id"] for entry in leaderboard.load(tmp_path / "results")] == [whole.name]
    publish(fake_run(tmp_path / "runs", RFT), tmp_path / "results")
    assert len(leaderboard.load(tmp_path / "results")) == 2


def test_a_published_run_that_was_renamed_is_named(tmp_path):
    target = publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    target.rename(target.with_name("stolen"))
    (line,) = leaderboard.rebuild(tmp_path / "results")
    assert "holds the run" in line
    with pytest.raises(UserError, match="not published"):
        published(tmp_path / "results", [target.name])


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
    wanted = [f"pathvqa/{task}/{style}" for task in ("gqa", "pathvqa", "pope") for style in ("direct", "cot")]
    assert run.missing() == wanted


def test_the_leaderboard_answers_without_heavy_libraries():
    heavy = ["torch", "transformers", "trl", "datasets", "pandas", "pyarrow", "numpy", "matplotlib", "PIL", "scipy"]
    program = (
        f"import sys, harness.results.leaderboard, paper_figures; print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
