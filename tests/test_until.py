"""A run in pieces (``--until``) ends as the run in one, and a finished one loses nothing."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from fake_world import ENGINE, fake_run, make_model

from harness.core import UserError, replace
from harness.results.cells import read_cells
from harness.runner import run
from harness.store.record import read_record


@pytest.mark.slow
@pytest.mark.parametrize("observers", [0, 1])
def test_a_run_in_pieces_is_the_run_in_one(tmp_path: Path, fake_plugin: ModuleType, observers: int) -> None:
    asked = fake_run(make_model(tmp_path / "model"))
    asked = replace(asked, scale=replace(asked.scale, observers=observers))
    whole = run(asked, tmp_path / "whole", engine=ENGINE)
    for rows, until in enumerate(("base", "coins", "dice"), start=1):
        part = run(asked, tmp_path / "parts", engine=ENGINE, until=until)
        assert part.cells == whole.cells[: len(whole.cells) * rows // 4]
        assert read_cells(part.folder / "cells.csv") == list(part.cells)
        record = read_record(part.folder)
        assert not record.finished
        assert [stage.weights is not None for stage in record.stages] == [rows > 1, rows > 2, False]
    assert run(asked, tmp_path / "parts", engine=ENGINE).cells == whole.cells
    assert (part.folder / "cells.csv").read_bytes() == (whole.folder / "cells.csv").read_bytes()
    # what is finished stays so
    assert run(asked, tmp_path / "parts", engine=ENGINE, until="base").cells == whole.cells
    assert read_record(part.folder).finished


def test_a_stage_that_the_run_has_not_is_refused_before_anything_is_done(
    tmp_path: Path, fake_plugin: ModuleType
) -> None:
    with pytest.raises(UserError, match="--until cions is no stage of this run: use one of base, coins, dice, cards"):
        run(fake_run(make_model(tmp_path / "model")), tmp_path / "runs", engine=ENGINE, until="cions")
    assert not (tmp_path / "runs").exists()
