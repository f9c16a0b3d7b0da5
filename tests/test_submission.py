"""A run that is handed in: everything that was damaged is named in one line, and a sound one stands on the board."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet
import pytest

from harness.command import cli
from harness.core import replace
from harness.results import leaderboard
from harness.results.cells import read_cells, write_cells
from harness.results.seal import SEAL, sealed
from harness.results.submission import faults, take_in
from tests import fake_runs
from tests.fake_runs import ENVIRONMENT, RIF_RFT, SFT, fake_run, registered


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published results with one run."""
    place = tmp_path_factory.mktemp("published")
    return fake_runs.publish(fake_run(place / "runs"), place / "results")


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy of its folder, handed in from elsewhere."""
    return Path(shutil.copytree(published, tmp_path / "in" / published.name))


def seal(folder: Path) -> None:
    """Seal a folder again, as somebody would who edits it."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != SEAL and path.is_file()}
    (folder / SEAL).write_bytes(sealed(folder.name, files))


def named(folder: Path, results: Path, **others: Any) -> list[str]:
    """What is said of a folder; each fault is one line."""
    with registered(folder.name, **others):
        found = faults(folder, results)
    assert all("\n" not in line and line.isprintable() for line in found)
    return found


def edit_json(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Damages run.json."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / "run.json").read_text())
        change(content)
        (folder / "run.json").write_text(json.dumps(content))

    return spoil


def edit_cells(change: Callable[[list[Any]], list[Any]]) -> Callable[[Path], object]:
    """Damages cells.csv."""
    return lambda folder: (folder / "cells.csv").write_text(write_cells(change(read_cells(folder / "cells.csv"))))


def edit_rows(*files: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Path], object]:
    """Damages tables of replies and marks."""

    def spoil(folder: Path) -> None:
        for name in files:
            table = pyarrow.parquet.read_table(folder / name)
            made = pyarrow.Table.from_pylist(change(table.to_pylist()), schema=table.schema)
            pyarrow.parquet.write_table(made, folder / name)

    return spoil


BOTH = ("replies.parquet", "marks.parquet")


def swapped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of stages 1 and 2 exchanged, in the order of stages."""
    turned = [{**row, "stage": {1: 2, 2: 1}.get(row["stage"], row["stage"])} for row in rows]
    return sorted(turned, key=lambda row: row["stage"])


def swapped_cells(cells: list[Any]) -> list[Any]:
    """The numbers of stages 1 and 2 exchanged, each under the other's name and weights."""
    first = {(cell.stage, cell.task, cell.style): cell for cell in cells}
    return [
        replace(
            cell,
            **{
                name: getattr(first[{1: 2, 2: 1}.get(cell.stage, 0), cell.task, cell.style], name)
                for name in ("score", "malformed", "truncated")
            },
        )
        for cell in cells
    ]


def first(rows: list[dict[str, Any]], **changed: Any) -> list[dict[str, Any]]:
    """The rows with the first of them changed."""
    return [{**rows[0], **changed}, *rows[1:]]


UNCLEAN = {**ENVIRONMENT, "commit": "d" * 40 + "+"}
DAMAGES: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "a swapped stage of cells": (edit_cells(swapped_cells), "does not follow from its replies"),
    "a swapped stage of replies": (edit_rows(*BOTH, change=swapped), "does not follow from its replies"),
    "a missing cell": (edit_cells(lambda cells: cells[:-1]), "lacks 1 cells"),
    "a missing cell's replies": (
        edit_rows(*BOTH, change=lambda rows: [row for row in rows if (row["stage"], row["task"]) != (2, "gqa")]),
        "lacks 10 of 10 items",
    ),
    "an edited mark": (
        edit_rows("marks.parquet", change=lambda rows: first(rows, score=1.0 - round(rows[0]["score"]))), "was edited",
    ),
    "marks left out": (edit_rows("marks.parquet", change=lambda rows: rows[:-1]), "has 179 marks to 180 replies"),
    "duplicated items": (edit_rows(*BOTH, change=lambda rows: [rows[0], *rows]), "1 items twice (gqa-test-0)"),
    "an item of another name": (
        edit_rows(*BOTH, change=lambda rows: first(rows, example="gqa-test-99")), "lacks 1 of 10 items (gqa-test-0)",
    ),
    "items in another order": (
        edit_rows(*BOTH, change=lambda rows: [rows[1], rows[0], *rows[2:]]), "in another order",
    ),
    "another group": (edit_rows(*BOTH, change=lambda rows: first(rows, group="mine")), "into other groups"),
    "an edited reply": (
        edit_rows("replies.parquet", change=lambda rows: [{**row, "text": "yes"} for row in rows]),
        "does not follow from its replies",
    ),
    "an edited score": (
        edit_cells(lambda cells: [replace(cells[0], score=0.99), *cells[1:]]), "(score differ)",
    ),
    "an edited share": (
        edit_cells(lambda cells: [replace(cells[0], truncated=0.99), *cells[1:]]), "(truncated differ)",
    ),
    "other items": (
        edit_json(lambda content: content["data"].update(gqa="e" * 64)), "names other scorers or data",
    ),
    "an edited record": (edit_json(lambda content: content.update(seed=7)), "was edited"),
    "another parent": (
        edit_json(lambda content: content["stages"][1].update(parent="f" * 64)), "does not follow from the one before",
    ),
    "uncommitted code": (
        edit_json(lambda content: content["environments"].update({fake_runs.digest(UNCLEAN)[:12]: UNCLEAN})),
        "uncommitted code",
    ),
    "no environment": (edit_json(lambda content: content.update(environments={})), "in which environment"),
    "not finished": (edit_json(lambda content: content.update(finished=False)), "is not finished"),
    "a formula": (
        lambda folder: (folder / "cells.csv").write_text(
            (folder / "cells.csv").read_text().replace(",gqa,", ",=HYPERLINK(),", 1)
        ),
        "lacks 1 cells",
    ),
    "escapes for a terminal": (
        lambda folder: (folder / "cells.csv").write_text(
            (folder / "cells.csv").read_text().replace(",gqa,", ",g\x1b[2Jqa,", 1)
        ),
        "characters that are not printed",
    ),
    "a script in the record": (
        edit_json(lambda content: content["paradigm"].update(cite="<script>alert(1)</script>")), "not fit to be shown",
    ),
    "a folder of somebody's": (
        edit_json(lambda content: content.update(plugins={"/home/me/mine.py": "0" * 12})), "a folder of a machine",
    ),
    "a strange file": (lambda folder: (folder / "notes.md").write_text("hello"), "no part of a published run"),
    "a link": (
        lambda folder: ((folder / "costs.json").unlink(), (folder / "costs.json").symlink_to("/etc/passwd")),
        "is a link",
    ),
    "replies cut short": (
        lambda folder: (folder / "replies.parquet").write_bytes((folder / "replies.parquet").read_bytes()[:-9]),
        "cut short",
    ),
    "no marks": (lambda folder: (folder / "marks.parquet").unlink(), "marks.parquet is missing"),
    "a record that is none": (lambda folder: (folder / "run.json").write_text("{"), "damaged"),
}  # fmt: skip


def test_a_sound_run_has_no_faults_and_is_taken_in_once(folder, tmp_path):
    results = tmp_path / "mine"
    assert named(folder, results) == []
    target = take_in(folder, results)
    assert target == results / "runs" / folder.name
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert [entry["id"] for entry in leaderboard.load(results)] == [folder.name]
    assert named(target, results) == []
    assert take_in(folder, results) == target


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_run_is_named_whether_it_was_sealed_again_or_not(folder, published, what):
    spoil, words = DAMAGES[what]
    spoil(folder)
    unsealed = named(folder, published.parent.parent)
    readable = not any("damaged (" in line or "was edited (" in line or "is a link" in line for line in unsealed)
    if readable and "characters" not in words:
        assert any("not as sealed" in line for line in unsealed), unsealed
    if what != "a link":
        seal(folder)
    found = named(folder, published.parent.parent)
    assert any(words in line for line in found), found


def test_what_another_run_says_of_the_same_weights_must_agree(published, tmp_path):
    other = fake_runs.publish(fake_run(tmp_path / "runs", SFT, seed=1), tmp_path / "results")
    (line,) = named(other, published.parent.parent)  # two made-up runs have one base, and other numbers of it
    assert "of the same weights: one of the two is wrong" in line
    assert published.name in line


def test_versions_that_are_no_more_registered_are_named(folder, tmp_path):
    found = named(folder, tmp_path, gqa=fake_runs.task("gqa", 2))
    assert any("made by other versions of its tasks" in line for line in found)
    assert any("(scorer differ)" in line for line in found)


def test_a_selector_without_its_verdicts_is_named(tmp_path):
    target = fake_runs.publish(fake_run(tmp_path / "runs", RIF_RFT), tmp_path / "results")
    assert named(target, tmp_path / "none") == []
    (target / "verdicts.parquet").unlink()
    seal(target)
    (line,) = named(target, tmp_path / "none")
    assert "verdicts.parquet" in line


def test_a_folder_under_another_name_is_refused(folder, tmp_path):
    stolen = folder.rename(folder.with_name("stolen"))
    fake_runs._nouns["stolen"] = fake_runs._nouns[folder.name]
    (line,) = named(stolen, tmp_path)
    assert "holds the run" in line


def test_the_command_says_all_that_is_wrong_and_takes_nothing_in(folder, tmp_path, capsys):
    DAMAGES["an edited score"][0](folder)
    (folder / "notes.md").write_text("hello")
    with registered(folder.name), pytest.raises(SystemExit) as stopped:
        cli.main(["submit", str(folder), "--results", str(tmp_path / "mine")])
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (2, "")
    assert [line.partition(": ")[0] for line in said.err.splitlines()] == ["error"] * 3
    assert not (tmp_path / "mine").exists()


def test_the_command_looks_or_takes_in(folder, tmp_path, capsys):
    results = tmp_path / "mine"
    for flags, there in ((["--check"], False), ([], True)):
        with registered(folder.name), pytest.raises(SystemExit) as stopped:
            cli.main(["submit", str(folder), "--results", str(results), *flags])
        assert stopped.value.code == 0, capsys.readouterr().err
        assert (results / "runs" / folder.name).is_dir() == there
    assert "its replies give its marks" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_is_published_here_has_no_faults():
    results = Path(__file__).resolve().parent.parent / "results"
    (folder,) = (results / "runs").glob("rif-rft-default-twin-s0-*")
    assert faults(folder, results) == []
