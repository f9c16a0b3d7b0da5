"""The results table: means and standard errors over seeds, in percent, joint training without an order."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import cli
from harness.core import UserError
from harness.leaderboard import summary
from harness.publish import publish
from paper_figures import table
from tests.fake_runs import MTL, SFT, fake_run


def test_the_table_holds_a_row_per_paradigm_with_its_error_over_seeds(tmp_path: Path) -> None:
    for seed in range(3):
        publish(fake_run(tmp_path / "runs", SFT, seed=seed), tmp_path / "results")
    publish(fake_run(tmp_path / "runs", MTL), tmp_path / "results")
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
    publish(fake_run(tmp_path / "runs", SFT), tmp_path / "results")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["figures", "table", "--results", str(tmp_path / "results")])
    assert not stopped.value.code
    path = tmp_path / "results" / "figures" / "table.md"
    assert capsys.readouterr().out.split() == [str(path)]
    assert path.read_text().count("| sft |") == 1


def test_an_empty_results_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no published run"):
        table.draw(tmp_path, tmp_path)
