"""Second scorers and breakdowns: the same replies by another scorer, and the parts of a cell, beside cells.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_world import FAKE, LOOSE, SHOUTS, STREAM, WATCHING, by_answer, fake_run, fake_scale, make_model

from harness import runner
from harness.command import cli
from harness.core import Detail, Example, Mark, Part, Stream, UserError, replace
from harness.results import leaderboard
from harness.results.cells import read_cells
from harness.results.details import read_details
from harness.results.publish import publish
from harness.results.published import published, read_parts, read_run
from harness.results.remark import remark
from harness.store.checkpoints import Store
from harness.store.record import read_record


@pytest.fixture
def model(fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A model's folder, with the scale that names it registered; coins have a second scorer and a breakdown."""
    folder = make_model(tmp_path / "model")
    plugin: Any = fake_plugin
    plugin.SCALE = fake_scale(folder)
    plugin.COINS = replace(plugin.COINS, scorers=(LOOSE,), breakdown=by_answer)
    plugin.SHOUTS = replace(SHOUTS, breakdown=by_answer)
    monkeypatch.setattr("harness.store.environment.commit", lambda: "c" * 40)
    return folder


def finished(model: Path, stream: Stream = STREAM) -> Path:
    """The folder of a run that the runner did."""
    return runner.run(fake_run(model, FAKE, stream), model.parent / "runs").folder


def files(folder: Path) -> dict[str, bytes]:
    """What a folder holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_scorer_marks_the_same_replies_and_leaves_all_else(model: Path) -> None:
    run = finished(model)
    before = files(run)
    changed, cells = remark(run, scorer="loose")
    own, second = read_run(run), read_run(run, "loose")
    assert (changed, cells) == (len(own.cells), len(own.cells)), "there was none before"
    assert remark(run, scorer="loose") == (0, cells)
    added = files(run)
    assert set(added) - set(before) == {"cells.loose.csv", "details.loose.csv"}
    assert {name: content for name, content in added.items() if name in before} == before
    for one, other in zip(own.cells, second.cells, strict=True):
        if one.task == "coins":
            assert (other.scorer, other.score) == ("loose-v4", 1 - one.malformed)
            assert replace(other, scorer=one.scorer, score=one.score) == one
        else:
            assert other == one
    assert read_record(run).scorers["coins"] == "same-v1"
    assert second.matrix().scores[0][0] != own.matrix().scores[0][0]
    assert second.matrix().scores[0][1:] == own.matrix().scores[0][1:]


def test_the_parts_of_a_cell_are_those_of_its_items(model: Path) -> None:
    run = finished(model, WATCHING)
    cells, details = read_cells(run / "cells.csv"), read_details(run / "details.csv")
    assert (run / "details.csv").read_text().splitlines()[0] == "run,stage,stage_name,task,style,scorer,name,n,value"
    assert {one.task for one in details} == {"coins", "shouts"}
    for cell in cells:
        mine = [one for one in details if (one.stage, one.task, one.style) == (cell.stage, cell.task, cell.style)]
        if mine:
            assert {one.scorer for one in mine} == {cell.scorer}
            assert sum(one.n for one in mine) == cell.n
            assert sum(one.n * one.value for one in mine) / cell.n == pytest.approx(cell.score)
    assert read_parts(run) == details
    again = run / "details.csv"
    content = again.read_bytes()
    again.unlink()
    remark(run)
    assert again.read_bytes() == content
    again.unlink()
    finished(model, WATCHING)
    assert again.read_bytes() == content


def test_both_tables_are_published_and_do_not_move_the_leaderboard(model: Path, tmp_path: Path) -> None:
    run, store, results = finished(model), Store(tmp_path / "runs"), tmp_path / "results"
    first = publish(store, run, results)
    ranked = leaderboard.load(results)
    assert not (first / "cells.loose.csv").exists()
    remark(run, scorer="loose")
    target = publish(store, run, results)
    for name in ("cells.csv", "cells.loose.csv", "details.csv", "details.loose.csv"):
        assert (target / name).read_bytes() == (run / name).read_bytes()
    assert leaderboard.load(results) == ranked
    assert published(results)[0].cells == tuple(read_cells(run / "cells.csv"))
    assert read_run(target, "loose").cells == tuple(read_cells(run / "cells.loose.csv"))


def test_cells_of_a_second_scorer_that_do_not_follow_from_the_replies_are_refused(
    model: Path, fake_plugin: ModuleType, tmp_path: Path
) -> None:
    run, store, results = finished(model), Store(tmp_path / "runs"), tmp_path / "results"
    remark(run, scorer="loose")
    file = run / "cells.loose.csv"
    sound = file.read_text()
    file.write_text(sound.replace("loose-v4,fake-v1", "loose-v3,fake-v1", 1))
    with pytest.raises(UserError, match="--scorer loose` makes it again"):
        publish(store, run, results)
    file.rename(run / "cells.stern.csv")
    with pytest.raises(UserError, match="no task of this run has a scorer called 'stern': use loose"):
        publish(store, run, results)
    (run / "cells.stern.csv").rename(run / "cells.A b.csv")
    with pytest.raises(UserError, match="'A b' is no name"):
        publish(store, run, results)
    assert not results.exists()
    (run / "cells.A b.csv").unlink()
    with pytest.raises(UserError, match=r"no cells\.loose\.csv: `harness remark .* --scorer loose` makes it"):
        read_run(run, "loose")
    publish(store, run, results)


def test_an_unknown_scorer_and_a_run_without_parts_are_one_line(model: Path, fake_plugin: ModuleType) -> None:
    plugin: Any = fake_plugin
    plugin.COINS = replace(plugin.COINS, scorers=(), breakdown=None)
    run = finished(model)
    assert not (run / "details.csv").exists()
    with pytest.raises(UserError, match="none of them has any"):
        remark(run, scorer="loose")
    with pytest.raises(UserError, match=r"no details\.csv: `harness remark \S+` makes it where a task has a breakdown"):
        read_parts(run)
    assert read_record(run).finished


def test_parts_that_a_task_no_longer_gives_are_removed(model: Path, fake_plugin: ModuleType) -> None:
    run, plugin = finished(model), fake_plugin
    assert (run / "details.csv").exists()
    plugin.COINS = replace(plugin.COINS, breakdown=None)  # type: ignore[attr-defined]
    assert remark(run)[0] == 0
    assert not (run / "details.csv").exists()


def no_part(examples: Sequence[Example], marks: Sequence[Mark]) -> Mapping[str, Part]:
    return {"all": 0.5}  # type: ignore[dict-item]


def no_mapping(examples: Sequence[Example], marks: Sequence[Mark]) -> Mapping[str, Part]:
    return [Part(value=0.5, n=1)]  # type: ignore[return-value]


def no_name(examples: Sequence[Example], marks: Sequence[Mark]) -> Mapping[str, Part]:
    return {"../up": Part(value=0.5, n=1)}


def no_items(examples: Sequence[Example], marks: Sequence[Mark]) -> Mapping[str, Part]:
    return {"none": Part(value=0.0, n=0)}


def no_fraction(examples: Sequence[Example], marks: Sequence[Mark]) -> Mapping[str, Part]:
    return {"percent": Part(value=50.0, n=2)}


@pytest.mark.parametrize(
    ("breakdown", "words"),
    [
        (no_part, "the breakdown of coins: .* is no breakdown: give a Part for each name"),
        (no_mapping, "the breakdown of coins: .* is no breakdown: give a Part for each name"),
        (no_name, "the breakdown of coins: '../up' is no name"),
        (no_items, "the breakdown of coins: 0.0 over 0 items is no Part"),
        (no_fraction, "the breakdown of coins: 50.0 over 2 items is no Part"),
    ],
)
def test_a_breakdown_that_breaks_its_promise_is_refused(
    model: Path, fake_plugin: ModuleType, breakdown: Any, words: str
) -> None:
    plugin: Any = fake_plugin
    plugin.COINS = replace(plugin.COINS, breakdown=breakdown)
    with pytest.raises(UserError, match=words) as refused:
        finished(model)
    assert "\n" not in str(refused.value)


def test_a_damaged_table_of_details_names_its_row(model: Path) -> None:
    run = finished(model)
    file = run / "details.csv"
    sound = file.read_text()
    for spoil, words in (
        (sound[:-9], "cut off"),
        (sound + sound.splitlines(keepends=True)[1], "a second time"),
        (sound.replace(",yes,", ",yes,-", 1), "is no count"),
        (sound.replace("n,value", "n,score"), "other columns"),
    ):
        file.write_text(spoil)
        with pytest.raises(UserError, match=words):
            read_details(file)
    file.write_text(sound)
    assert isinstance(read_details(file)[0], Detail)


def test_the_command_marks_by_a_second_scorer_and_shows_parts(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(model, WATCHING)

    def harness(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main([*words, "--out", str(run.parent)])
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    code, _, err = harness("runs", "show", run.name, "--scorer", "loose")
    assert code == 2
    assert f"`harness remark {run.name} --scorer loose` makes it" in err
    code, out, err = harness("remark", run.name, "--scorer", "loose")
    assert (code, err) == (0, "")
    assert "direct style, scorer loose (bold" in out
    assert out.rstrip().endswith("by loose: see cells.loose.csv")
    shown = harness("runs", "show", run.name, "--scorer", "loose")[1]
    assert out.partition("marked")[0] == shown.partition("files:")[0]
    assert "scorer loose" not in harness("runs", "show", run.name)[1]
    code, out, _ = harness("runs", "show", run.name, "--details")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.split()[:3] == ["coins", "direct", "yes"]]
    first = read_parts(run)[[one.name for one in read_parts(run)].index("yes")]
    assert line.split()[3:5] == [str(first.n), f"{100 * first.value:.1f}"]
    for bad, words in (("../x", "is no name"), ("stern", "use loose")):
        code, out, err = harness("remark", run.name, "--scorer", bad)
        assert (code, out) == (2, "")
        assert words in err
        assert err.count("\n") == 1
