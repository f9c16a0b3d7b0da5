"""The results as tables: one row a paradigm over its seeds for the paper, one row a run on the screen."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.command import cli, printing
from harness.core import UserError
from harness.results import leaderboard
from harness.results.leaderboard import summary
from harness.results.published import published
from paper_figures import table
from tests.fake_published import MTL, SFT, published_run


def test_the_table_holds_a_row_per_paradigm_with_its_error_over_seeds(tmp_path: Path) -> None:
    for seed in range(3):
        published_run(tmp_path / "results", SFT, seed=seed)
    published_run(tmp_path / "results", MTL)
    (path,) = table.draw(tmp_path / "results", tmp_path / "out")
    head, _, *rows = path.read_text().splitlines()
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    found = {}
    for row in rows:
        cells = [cell.strip() for cell in row.strip().removeprefix("|").removesuffix("|").split("|")]
        found[cells[0]] = dict(zip(columns, cells, strict=True))
    (sft,) = [row for row in summary(tmp_path / "results") if row.paradigm == "sft"]
    mean, error = sft.mean["backward_transfer"], sft.error["backward_transfer"]
    assert mean is not None
    assert error is not None
    assert found["sft"]["backward_transfer"] == f"{100 * mean:.1f} ± {100 * error:.1f}"
    assert found["sft"]["seeds"] == "3"
    assert found["mtl"]["backward_transfer"] == ""
    assert "±" not in found["mtl"]["average_accuracy"]


def test_the_command_writes_the_table_beside_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published_run(tmp_path / "results", SFT)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["figures", "table", "--results", str(tmp_path / "results")])
    assert not stopped.value.code
    path = tmp_path / "results" / "figures" / "table.md"
    assert capsys.readouterr().out.split() == [str(path)]
    assert path.read_text().count("| sft |") == 1


def test_an_empty_results_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no published run"):
        table.draw(tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["x | y", "a\n| b", "../x", "[red]", "\x1b[31m", ""])
@pytest.mark.parametrize("field", ["paradigm", "style"])
def test_a_name_that_would_break_the_table_is_refused(tmp_path: Path, name: str, field: str) -> None:
    published_run(tmp_path, SFT)
    (row,) = summary(tmp_path)
    assert table.markdown([row]).count("\n") == 3
    with pytest.raises(UserError, match="is no name"):
        table.markdown([replace(row, **{field: name})])  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [80, 160])
def test_the_printed_leaderboard_breaks_no_heading_and_shows_each_run_with_its_numbers(
    tmp_path: Path, width: int
) -> None:
    for seed in range(2):
        published_run(tmp_path / "results", SFT, seed=seed)
    published_run(tmp_path / "results", MTL)
    entries = leaderboard.rows(published(tmp_path / "results"))
    screen = Console(width=width, file=StringIO())
    printing.leaderboard(screen, entries)
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    ruled = next(n for n, line in enumerate(lines) if "\u2500" in line)
    headings = " ".join(lines[:ruled]).split()
    for word in (
        "average",
        "accuracy",
        "gain",
        "backward",
        "transfer",
        "general",
        "delta",
        "malformed",
        "share",
        "other",
    ):
        assert word in headings
    rows = [line.split() for line in lines[ruled + 1 :] if line[:2].strip()]
    assert [row[0] for row in rows[: len(entries)]] == [str(entry["rank"]) for entry in entries]
    for row, entry in zip(rows, entries, strict=False):
        assert str(entry["id"]).startswith(row[1])
        assert row[3:5] == [printing.percent(entry["average_accuracy"]), printing.points(entry["gain"])]
