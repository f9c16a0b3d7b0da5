"""Publishing: nothing of a run's folder is believed, all is computed again from its replies, or refused in one line."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.core import Mark, Reply, UserError, digest, joint, replace
from harness.observe import file_name
from harness.results import leaderboard
from harness.results.cells import read_cells, write_cells
from harness.results.publish import publish
from harness.results.published import read_run
from harness.results.remark import remark
from harness.run_inputs import cells_of
from harness.store.checkpoints import Store
from harness.store.record import read_record
from harness.store.tables import from_parquet, to_parquet
from tests import fake_runs
from tests.fake_runs import ENVIRONMENT, RIF_RFT, SFT, SHORT, fake_run, registered

ROOT = Path(__file__).resolve().parent.parent
UNCLEAN = {**ENVIRONMENT, "commit": "d" * 40 + "+"}


def refused(words: str, run: Path, results: Path, **others: Any) -> None:
    """Publishing the run is refused in one line and changes nothing."""
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=words) as refusal:
        fake_runs.publish(run, results, **others)
    assert "\n" not in str(refusal.value)
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


def edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record of a run by hand."""
    content = json.loads((run / "run.json").read_text())
    change(content)
    (run / "run.json").write_text(json.dumps(content))


def sealed(run: Path, number: int, **changed: Any) -> None:
    """Write a reply file of a run again, whole and with a right digest, but with another binding, or about another."""
    path = run / "replies" / file_name(cells_of(read_record(run).observations)[number])
    table = from_parquet(Reply, path)
    about = {"environment": changed.pop("environment", table.about["environment"])}
    path.write_bytes(to_parquet(Reply, table.records, {**table.bound, **changed}, about))


# --- what is published


def test_a_finished_run_is_published_whole(tmp_path):
    run = fake_run(tmp_path / "runs")
    target = fake_runs.publish(run, tmp_path / "results")
    assert target == tmp_path / "results" / "runs" / run.name
    names = ["cells.csv", "costs.json", "digests.json", "marks.parquet", "replies.parquet", "run.json"]
    assert sorted(path.name for path in target.iterdir()) == names
    for name in ("cells.csv", "costs.json", "run.json"):
        assert (target / name).read_bytes() == (run / name).read_bytes(), name
    assert sorted(path.name for path in target.parent.parent.iterdir()) == ["leaderboard.csv", "runs"]
    assert [entry["id"] for entry in leaderboard.load(tmp_path / "results")] == [run.name]
    chosen = fake_runs.publish(fake_run(tmp_path / "runs", RIF_RFT), tmp_path / "results")
    assert sorted(path.name for path in chosen.iterdir()) == sorted([*names, "verdicts.parquet"])


def test_every_cell_follows_from_the_published_replies_and_from_the_published_marks(tmp_path):
    import pandas

    from harness.asking.styles import STYLES

    run = fake_run(tmp_path / "runs", items=20)
    target = fake_runs.publish(run, tmp_path / "results")
    replies, marks = (pandas.read_parquet(target / f"{name}.parquet") for name in ("replies", "marks"))
    assert list(replies) == ["stage", "task", "style", "example", "group", "text", "tokens", "truncated"]
    assert list(marks) == ["stage", "task", "style", "example", "group", "read", "score", "malformed"]
    assert str(marks["score"].dtype) == "float64"
    assert set(marks["score"]) == {0.0, 0.3, 1.0}, "0.3 is 0.3 to the last digit"
    assert marks["group"].nunique() == 30
    styles = {style.name: style for style in STYLES}
    for cell in read_cells(target / "cells.csv"):
        place = dict(stage=cell.stage, task=cell.task, style=cell.style)
        said, worth = (
            table[(table[list(place)] == pandas.Series(place)).all(axis=1)].to_dict("records")
            for table in (replies, marks)
        )
        read = [styles[cell.style].read(reply["text"]) for reply in said]
        scores = [
            0.0 if answer is None else fake_runs.worth(answer, fake_runs.question(cell.task, "test", n))
            for n, answer in enumerate(read)
        ]
        assert cell.score == math.fsum(scores) / cell.n == math.fsum(row["score"] for row in worth) / cell.n
        assert cell.malformed == read.count(None) / cell.n == sum(row["malformed"] for row in worth) / cell.n
        assert cell.truncated == sum(reply["truncated"] for reply in said) / cell.n
        assert [row["read"] if isinstance(row["read"], str) else None for row in worth] == read
        assert [row["group"] for row in said] == [row["group"] for row in worth]


def test_the_verdicts_of_a_selector_are_published(tmp_path):
    import pandas

    target = fake_runs.publish(fake_run(tmp_path / "runs", RIF_RFT), tmp_path / "results")
    verdicts = pandas.read_parquet(target / "verdicts.parquet")
    assert list(verdicts) == ["stage", "task", "id", "kept", "correct", "rollouts", "sampled_tokens"]
    assert verdicts[["stage", "task", "id", "kept"]].values.tolist() == [
        [stage, name, f"{name}-{n}", n > 0] for stage, name in enumerate(SHORT.tasks, 1) for n in range(2)
    ]


def test_publishing_again_changes_nothing_where_the_checkpoints_were_freed_too(tmp_path):
    run = fake_run(tmp_path / "runs")
    target = fake_runs.publish(run, tmp_path / "results")
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()}
    shutil.rmtree(tmp_path / "runs" / "checkpoints")
    assert fake_runs.publish(run, tmp_path / "results") == target
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()} == before


def test_a_published_record_names_no_folder_of_the_machine(tmp_path):
    plugins = {str(tmp_path / "mine.py"): "0" * 12}
    run = fake_run(tmp_path / "runs", record={"plugins": plugins})
    edit(run, lambda content: content["scale"].update(model=str(tmp_path / "twin-base")))
    target = fake_runs.publish(run, tmp_path / "results")
    assert str(tmp_path) not in (target / "run.json").read_text()
    record = read_record(target)
    assert (record.plugins, record.scale["model"]) == ({"mine.py": "0" * 12}, "twin-base")


def test_a_name_may_hold_the_word_limit(tmp_path):
    run = fake_run(tmp_path / "runs", replace(SFT, name="sft-limited"))
    assert fake_runs.publish(run, tmp_path / "results").is_dir()


def test_a_name_that_starts_a_formula_never_reaches_the_leaderboard(tmp_path):
    target = fake_runs.publish(fake_run(tmp_path / "runs"), tmp_path / "results")
    edit(target, lambda content: content["scale"].update(name='=HYPERLINK("x")'))
    (line,) = leaderboard.rebuild(tmp_path / "results")
    assert "was edited" in line
    assert leaderboard.load(tmp_path / "results") == []


# --- what may not stand beside whole runs


def test_other_numbers_under_a_published_id_are_refused(tmp_path):
    fake_runs.publish(fake_run(tmp_path / "runs"), tmp_path / "results")
    refused("other numbers", fake_run(tmp_path / "again", forgets=0.4), tmp_path / "results")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"limit": 8}, "limited"),
        ({"split": "validation"}, "validation"),
        ({"record": {"finished": False}}, "not finished"),
        ({"record": {"stages": None}}, "damaged"),
        ({"record": {"id": "other"}}, "holds the run 'other'"),
        ({"record": {"environments": {}}}, "environment"),
        ({"record": {"scorers": {"gqa": "other-v1"}}}, "other scorers"),
        ({"record": {"data": {}}}, "other data"),
        ({"record": {"observations": []}}, "observed other things"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(tmp_path, asked, words):
    refused(words, fake_run(tmp_path / "runs", **asked), tmp_path / "results")


EDITS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "limit": lambda content: content.update(limit=None),
    "limit, declared too": lambda content: (content.update(limit=None), content["declared"].update(limit=None)),
    "limit, id too": lambda content: content.update(limit=None, id=content["id"].replace("-limit8", "")),
    "seed": lambda content: content.update(seed=1),
    "split": lambda content: content.update(split="validation"),
    "official": lambda content: content.update(official=True),
    "style": lambda content: content.update(style="cot"),
    "size": lambda content: content["scale"].update(train_items=9),
    "decoding": lambda content: content["scale"]["decodings"]["cot"].update(max_new_tokens=9),
    "scale's name": lambda content: content["scale"].update(name="twin-long"),
    "paradigm's name": lambda content: content["paradigm"].update(name="x/../../../y"),
    "learner": lambda content: content["paradigm"]["learner"].update(name="grpo"),
    "order of tasks": lambda content: content["stream"].update(tasks=["pathvqa", "gqa"]),
    "suites": lambda content: content["stream"].update(general=[]),
    "a stage's tasks": lambda content: content["stages"][1].update(tasks=["gqa"]),
    "no learner": lambda content: content["paradigm"].pop("learner"),
    "scale of text": lambda content: content["scale"].update(decodings="none"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_record_is_found_by_its_id(tmp_path, what):
    run = fake_run(tmp_path / "runs", limit=8 if what.startswith("limit") else None)
    read_record(run)
    edit(run, EDITS[what])
    if not run.name.endswith(name := json.loads((run / "run.json").read_text())["id"]):
        fake_runs._nouns[name] = fake_runs._nouns[run.name]
        run = run.rename(run.with_name(name))
    with pytest.raises(UserError, match="was edited") as refusal:
        read_record(run)
    assert "\n" not in str(refusal.value)
    refused("was edited", run, tmp_path / "results")


@pytest.mark.parametrize("drop", [{"stage": 2, "task": "pathvqa"}, {"stage": 0, "task": "pope"}, {"style": "cot"}])
def test_a_run_without_all_its_cells_is_refused(tmp_path, drop):
    run = fake_run(tmp_path / "runs")
    cells = read_cells(run / "cells.csv")
    kept = [cell for cell in cells if any(getattr(cell, name) != value for name, value in drop.items())]
    assert len(kept) < len(cells)
    (run / "cells.csv").write_text(write_cells(kept))
    refused("lacks", run, tmp_path / "results")


@pytest.mark.parametrize("part", ["session", "checkpoint", "replies", "manifest"])
def test_a_part_that_was_made_from_uncommitted_code_is_refused(tmp_path, part):
    run = fake_run(tmp_path / "runs")
    if part == "replies":
        sealed(run, 3, environment=UNCLEAN)
    elif part == "manifest":  # the record does not say so, but the checkpoint does
        (path,) = sorted((tmp_path / "runs").glob("checkpoints/*/manifest.json"))[:1]
        path.write_text(json.dumps({**json.loads(path.read_text()), "environment": UNCLEAN}))
    else:
        name = digest(UNCLEAN)[:12]
        edit(run, lambda content: content["environments"].update({name: UNCLEAN}))
        edit(run, lambda content: content["stages"][0].update({"environment": name} if part == "checkpoint" else {}))
    refused("uncommitted code", run, tmp_path / "results")


def test_an_environment_that_was_edited_or_is_empty_is_refused(tmp_path):
    run = fake_run(tmp_path / "runs")
    edit(run, lambda content: content["environments"].update({digest(UNCLEAN)[:12]: ENVIRONMENT}))
    refused("does not say in which environment", run, tmp_path / "results")
    sealed(fake_run(tmp_path / "again"), 0, environment={})
    refused("does not say in which environment", tmp_path / "again" / run.name, tmp_path / "results")
    run = fake_run(tmp_path / "cleaned", environment=UNCLEAN)
    edit(run, lambda content: content["environments"][digest(UNCLEAN)[:12]].update(commit="d" * 40))
    refused("uncommitted code", run, tmp_path / "results")


SPOILS: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "edited weights": (lambda run: weights_of(run).write_text("other"), "edited or cut short"),
    "lost reply file": (lambda run: (run / "replies/1-gqa-cot.parquet").unlink(), "1-gqa-cot.parquet is missing"),
    "cut reply file": (lambda run: (run / "replies/1-gqa-cot.parquet").write_bytes(b"PAR1"), "damaged"),
    "replies of another cell": (
        lambda run: shutil.copy(run / "replies/0-gqa-cot.parquet", run / "replies/1-gqa-cot.parquet"),
        "replies of other weights",
    ),
    "replies of other weights": (lambda run: sealed(run, 3, weights="e" * 64), "replies of other weights"),
    "replies to other prompts": (lambda run: sealed(run, 3, prompts="e" * 64), "replies of other prompts"),
    "replies to other pictures": (lambda run: sealed(run, 3, pictures="e" * 64), "replies of other pictures"),
    "replies of other lengths": (lambda run: sealed(run, 3, max_new_tokens=9), "replies of other max_new_tokens"),
    "replies of another precision": (lambda run: sealed(run, 3, precision="bfloat16"), "replies of other precision"),
    "lost costs": (lambda run: (run / "costs.json").unlink(), "no costs.json"),
    "lost cells": (lambda run: (run / "cells.csv").unlink(), "has no cells.csv"),
    "lost verdicts": (lambda run: (run / "verdicts-2.parquet").unlink(), "verdicts-2.parquet is missing"),
    "verdicts of another stage": (
        lambda run: shutil.copy(run / "verdicts-1.parquet", run / "verdicts-2.parquet"), "another stage",
    ),
    "another stage's seed": (lambda run: edit(run, lambda content: content["stages"][0].update(seed=1)), "the seed"),
    "a broken chain": (lambda run: edit(run, lambda content: content["stages"][1].update(parent="f" * 64)), "follow"),
    "other weights in the record": (
        lambda run: edit(run, lambda content: content["stages"][1].update(weights="f" * 64)),
        "other weights in the store",
    ),
}  # fmt: skip


def weights_of(run: Path) -> Path:
    """The weights of a run's first stage in the store."""
    return run.parent / "checkpoints" / str(read_record(run).stages[0].key) / "model.safetensors"


@pytest.mark.parametrize("what", SPOILS)
def test_a_run_with_lost_or_changed_files_is_refused_and_nothing_is_left(tmp_path, what):
    run = fake_run(tmp_path / "runs", RIF_RFT)
    spoil, words = SPOILS[what]
    spoil(run)
    refused(words, run, tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("score", 0.999), ("malformed", 0.9), ("truncated", 0.9), ("n", 11), ("weights", "e" * 64), ("scorer", "x-v1"),
     ("data", "e" * 64), ("engine", "vllm-v1@cpu")],
)  # fmt: skip
def test_an_edited_cell_is_refused(tmp_path, field, value):
    run = fake_run(tmp_path / "runs")
    cells = read_cells(run / "cells.csv")
    cells[7] = replace(cells[7], **{field: value})
    (run / "cells.csv").write_text(write_cells(cells))
    refused(rf"does not follow from its replies \({field} differ\)", run, tmp_path / "results")
    (run / "cells.csv").write_text(write_cells([*cells, replace(cells[7], task="strange")]))
    refused("19 cells, but replies of 18", run, tmp_path / "results")


@pytest.mark.parametrize("score", ["nan", "2.0", "-0.5", "inf", ""])
def test_a_cell_of_no_fraction_is_refused(tmp_path, score):
    run = fake_run(tmp_path / "runs")
    lines = (run / "cells.csv").read_text().splitlines()
    at = lines[0].split(",").index("score")
    lines[4] = ",".join(score if n == at else part for n, part in enumerate(lines[4].split(",")))
    (run / "cells.csv").write_text("\n".join(lines) + "\n")
    refused("row 5 is malformed", run, tmp_path / "results")


def too_much(answer: str, example: Any) -> float:
    """A score that is none."""
    return 2.0 if answer == "yes" else math.nan


def test_a_scorer_that_gives_no_fraction_now_is_named(tmp_path):
    run = fake_run(tmp_path / "runs")
    refused("too_much gives", run, tmp_path / "results", gqa=replace(fake_runs.task("gqa", 1), score=too_much))
    refused("scorer differ", run, tmp_path / "results", gqa=fake_runs.task("gqa", 2))


def test_a_noun_that_is_not_registered_is_named(tmp_path):
    run = fake_run(tmp_path / "runs", replace(SFT, name="mine"))
    refused("unknown paradigm 'mine'", run, tmp_path / "results", paradigm=SFT)
    run = fake_run(tmp_path / "runs")
    other = replace(SFT, stages=joint)
    refused("observed other things", run, tmp_path / "results", paradigm=other)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, words in ((tmp_path / "empty", "no run's folder"), (tmp_path / "absent", "no run's folder")):
        with pytest.raises(UserError, match=words):
            publish(Store(tmp_path), folder, tmp_path / "results")
    for text in ("{", "[]", "null", '"x"', "{}", '{"schema": 2}', "[" * 99999):
        (tmp_path / "empty" / "run.json").write_text(text)
        with pytest.raises(UserError, match=r"damaged|schema") as refusal:
            publish(Store(tmp_path), tmp_path / "empty", tmp_path / "results")
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["exchange", "rename"])
def test_a_kill_at_any_moment_leaves_the_old_published_run_or_the_new(tmp_path, way):
    script = Path(__file__).with_name("killed_publish.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), way],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


# --- marking again


def test_a_corrected_scorer_marks_the_kept_replies_again(tmp_path):
    run = fake_run(tmp_path / "runs")
    before = read_run(run)
    weights = {path: path.read_bytes() for path in (tmp_path / "runs" / "checkpoints").rglob("*.safetensors")}
    mended = replace(fake_runs.task("gqa", 2), score=generous)
    with registered(run.name, gqa=mended):
        changed, cells = remark(run)
        assert remark(run) == (0, cells)
    after = read_run(run)
    assert (changed, cells) == (6, 18), "gqa after three stages in two styles"
    for old, new in zip(before.cells, after.cells, strict=True):
        if new.task != "gqa":
            assert new == old
        else:
            assert new.scorer == after.record.scorers["gqa"] == "generous-v2"
            assert new.score > old.score
            kept = from_parquet(Mark, run / "marks" / f"{new.stage}-gqa-{new.style}.parquet").records
            assert new.score == math.fsum(mark.score for mark in kept) / new.n
    assert {path: path.read_bytes() for path in weights} == weights
    assert fake_runs.publish(run, tmp_path / "results", gqa=mended).is_dir()


def generous(answer: str, example: Any) -> float:
    """1 for every answer."""
    return 1.0


def test_marking_again_needs_the_replies_of_a_finished_run(tmp_path):
    run = fake_run(tmp_path / "runs")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
    (run / "replies" / "0-pope-cot.parquet").write_bytes(b"PAR1")
    with registered(run.name), pytest.raises(UserError, match="damaged"):
        remark(run)
    (run / "replies" / "0-pope-cot.parquet").write_bytes(before[run / "replies" / "0-pope-cot.parquet"])
    assert {path: path.read_bytes() for path in before} == before
    edit(run, lambda content: content.update(finished=False))
    with registered(run.name), pytest.raises(UserError, match="not finished"):
        remark(run)
