"""Replies of an unknown engine: marked as a run's own are; ids that are unknown, missing or twice there are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from fake_world import STREAM, WATCHING, fake_run, fake_scale, make_model

from harness import runner
from harness.command import cli
from harness.core import Reply, Run, UserError, replace
from harness.observe import file_name
from harness.results.marks import read_marks
from harness.results.marks_table import of_table
from harness.results.peaks import PEAKS
from harness.results.published import read_run
from harness.results.sides import side
from harness.results.stats import estimates
from harness.run_inputs import cells_of
from harness.scoring.arm import write_marks
from harness.scoring.evidence import intervals, nulls, reasons
from harness.scoring.paradigm import ELSEWHERE
from harness.scoring.predictions import score_predictions
from harness.store.record import read_record
from harness.store.tables import from_parquet

Rows = list[dict[str, Any]]


@pytest.fixture
def said(tmp_path: Path, fake_plugin: Any) -> tuple[runner.Finished, Rows, Run]:
    """A run of the fake world, its replies in the direct style as rows, and on what they are scored."""
    base = make_model(tmp_path / "base")
    fake_plugin.SCALE = fake_scale(base)
    done = runner.run(fake_run(base), tmp_path / "runs")
    rows = [
        {"task": one.name, "stage": one.stage_name, "id": reply.example, "reply": reply.text}
        for one in cells_of(read_record(done.folder).observations)
        if one.style == "direct"
        for reply in from_parquet(Reply, done.folder / "replies" / file_name(one)).records
    ]
    return done, rows, replace(fake_run(base), paradigm=ELSEWHERE)


def write(path: Path, rows: Rows) -> Path:
    """The rows as JSONL or parquet."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["said.jsonl", "said.parquet"])
def test_predictions_get_the_numbers_of_the_run_that_said_them(said, tmp_path, name):
    done, rows, run = said
    if name.endswith("jsonl"):
        numbers = {"base": 0, **{task: number for number, task in enumerate(STREAM.tasks, 1)}}
        rows = [{**row, "stage": numbers[row["stage"]], "more": None} for row in reversed(rows)]
    one = score_predictions([write(tmp_path / name, rows)], run, "direct")
    assert replace(one.matrices[0], flips=()) == read_run(done.folder).matrix("direct")
    assert one.marks[0] == {place: found for place, found in read_marks(done.folder).items() if place[2] == "direct"}
    assert {cell.engine for cell in one.cells} == {"unknown"}
    assert intervals(one)["loss_rate"].noise == "items"


def test_files_are_seeds_of_one_arm(said, tmp_path):
    _, rows, run = said
    other = [{**row, "reply": "no" if row["stage"] == "cards" else row["reply"]} for row in rows]
    paths = [write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", other)]
    one = score_predictions(paths, run, "direct")
    found = intervals(one)["average_accuracy"]
    alone = [intervals(score_predictions([path], run, "direct"))["average_accuracy"] for path in paths]
    assert found.value == pytest.approx(sum(single.value for single in alone) / 2)
    assert found.noise == "items and seeds"
    assert found.low < found.value < found.high


def test_cells_that_are_not_there_are_not_observed(said, tmp_path):
    _, rows, run = said
    kept = [row for row in rows if row["task"] != "watched" and row["stage"] != "dice"]
    one = score_predictions([write(tmp_path / "said.jsonl", kept)], run, "direct")
    assert one.matrices[0].scores[2] == (None, None, None)
    assert one.matrices[0].general == ((None,),) * 4
    assert reasons(one)["general_delta"] == "not observed: watched after base, watched after cards"
    assert intervals(one)["average_accuracy"].value is not None


def test_suites_of_libraries_and_joint_training(said, tmp_path):
    _, rows, run = said
    stages = {"base": "base", "cards": "joint"}
    kept = [{**row, "stage": stages[row["stage"]]} for row in rows if row["stage"] in stages and row["task"] != "cards"]
    kept += [
        {"task": "shouts", "stage": s, "id": f"shout-{n}", "reply": "yes"} for s in stages.values() for n in range(7)
    ]
    one = score_predictions([write(tmp_path / "said.jsonl", kept)], replace(run, stream=WATCHING), "direct")
    assert one.matrices[0].stages == ("base", "joint")
    assert [row[1] for row in one.matrices[0].general] == [1.0, 1.0]


def first(**changed: Any) -> Callable[[Rows], Rows]:
    """The first row changed."""
    return lambda rows: [{**rows[0], **changed}, *rows[1:]]


SPOILS: dict[str, tuple[Callable[[Rows], Rows], str]] = {
    "unknown id": (first(id="coins/test/99"), r"base has 1 unknown id \('coins/test/99'\): the items asked are"),
    "missing ids": (lambda rows: rows[4:], r"base lacks 4 ids \('coins/test/0', .*\.\.\.\) of 10: a cell is"),
    "duplicate ids": (lambda rows: [*rows, rows[0]], r"coins after base has 1 id \('coins/test/0'\) more than once"),
    "unknown task": (first(task="=cmd()"), r"task '=cmd\(\)' is unknown: use one of coins, dice, cards, watched"),
    "unknown stage": (first(stage="last"), r"stage 'last' is unknown: use one of base, coins, dice, cards"),
    "a stage too many": (first(stage=4), "stage '4' is unknown"),
    "two names": (lambda rows: [{**rows[0], "stage": 0}, *rows], "calls stage base by two names"),
    "no reply": (first(reply=None), "row 1: task, stage, id, reply are texts"),
    "a true stage": (first(stage=True), "row 1: task, stage, id, reply are texts"),
    "no rows": (lambda rows: [], "holds no predictions"),
    "a row of its own": (lambda rows: [rows[0], [], *rows[1:]], "row 2 lacks one of task, stage, id, reply"),
    "no column": (lambda rows: [{"task": "coins"}], "row 1 lacks one of"),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILS)
def test_what_does_not_fit_is_named(said, tmp_path, what):
    _, rows, run = said
    spoil, words = SPOILS[what]
    path = write(tmp_path / "said.jsonl", spoil(rows))
    with pytest.raises(UserError, match=words) as refused:
        score_predictions([path], run, "direct")
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()


def test_damaged_files_are_named(said, tmp_path):
    _, _, run = said
    for name, content, words in (
        ("a.jsonl", b'{"task": "coins"\n', "row 1 is no JSON"),
        ("deep.jsonl", b"[" * 100_000 + b"\n", "row 1 is no JSON"),
        ("bytes.jsonl", b"\xff\xfe\x00\n", "row 1 is no JSON"),
        ("a.parquet", b"PAR1", "is no parquet file"),
        ("empty.jsonl", b"\n\n", "holds no predictions"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=words):
            score_predictions([tmp_path / name], run, "direct")
    with pytest.raises(UserError, match="has no column reply"):
        score_predictions([write(tmp_path / "b.parquet", [{"task": "a", "stage": "b", "id": "c"}])], run, "direct")
    with pytest.raises(UserError, match="is no file"):
        score_predictions([tmp_path / "absent.jsonl"], run, "direct")


def test_whatever_stands_in_a_reply_is_data(said, tmp_path):
    _, rows, run = said
    hostile = ["", "=HYPERLINK()", "<script>", "\x1b[2J", "\ud800", "yes\0", "\\boxed{yes}"]
    rows = [{**row, "reply": hostile[n % len(hostile)]} for n, row in enumerate(rows)]
    one = score_predictions([write(tmp_path / "said.jsonl", rows)], run, "direct")
    assert all(value == 0.0 for row in one.matrices[0].scores for value in row)
    assert 0 < one.matrices[0].malformed[0][0] < 1


def test_the_command_scores_a_file_and_keeps_its_digest(said, tmp_path, capsys, monkeypatch):
    _, rows, _ = said
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "said.jsonl", rows)
    with pytest.raises(SystemExit) as stopped:
        cli.main(
            ["score", "--predictions", "said.jsonl", "--seq", "games", "--scale", "fake", "--evidence", "kept/e.json"]
        )
    said_now = capsys.readouterr()
    assert stopped.value.code == 0, said_now.err
    assert "backward_transfer" in said_now.out
    assert "cannot be given: intransigence (what joint training reaches is not given)" in said_now.out
    kept = json.loads((tmp_path / "kept" / "e.json").read_text())
    assert len(kept["inputs"]["said.jsonl"]) == 64
    assert "gate" not in kept
    assert kept["cannot_give"]["chance_adjusted_forgetting"] == "no task whose items all have options"


@pytest.mark.parametrize("name", ["marks.csv", "marks.parquet"])
def test_marks_are_written_as_compare_takes_them(said, tmp_path, name):
    done, rows, run = said
    one = score_predictions([write(tmp_path / "said.jsonl", rows)], run, "direct")
    write_marks(one, tmp_path / name)
    theirs, ours = of_table(tmp_path / name), side(str(done.folder), "direct", tmp_path, tmp_path)
    assert estimates(theirs) == estimates(ours)
    with pytest.raises(UserError, match="end it in"):
        write_marks(one, tmp_path / "marks.txt")


def test_a_peak_stands_beside_what_noise_alone_would_give(said, tmp_path):
    _, rows, run = said
    one = score_predictions([write(tmp_path / "said.jsonl", rows)], run, "direct")
    found = nulls(one)
    assert set(found) == set(PEAKS)
    assert found["fm_lai_T"].low <= found["fm_lai_T"].value <= found["fm_lai_T"].high <= 0
