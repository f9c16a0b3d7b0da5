"""The figures look as they did: each is compared with a picture of it, and its numbers with the runs'.

``python tests/test_figure_images.py`` draws the pictures again; look at them before they are committed.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from PIL import Image

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # where it is started as a file, its own folder stands there

from harness.asking.styles import DIRECT
from harness.core import UserError
from harness.results.cells import csv_rows
from harness.results.metrics import compute_all
from paper_figures import FIGURES, ablation, changes, items, tradeoff
from paper_figures.selection import by_paradigm, select
from tests.fake_published import LONG, MTL, RFT, RFT_NOKL, SFT, published_run

pytestmark = pytest.mark.slow
PICTURES = Path(__file__).parent / "figures"
SMALLER = 3  # a picture is kept at a third of its size
TOLERANCE = 5.0  # root of the mean square of differences of gray, of 255: fonts are hinted otherwise elsewhere


def write_runs(folder: Path) -> Path:
    """Two seeds of each arm but one."""
    for seed in range(2):
        for paradigm in (SFT, RFT, replace(RFT, name="rft-nocot", style=DIRECT)):
            published_run(folder, paradigm, stream=LONG, items=40, seed=seed, drift=-0.04 * (paradigm is SFT))
    published_run(folder, RFT_NOKL, stream=LONG, items=40)
    published_run(folder, MTL, stream=LONG, items=40)
    return folder


def drawn(name: str, results: Path, out: Path) -> Image.Image:
    """The first picture of a figure, small and gray."""
    path = next(path for path in importlib.import_module(FIGURES[name]).draw(results, out) if path.suffix == ".png")
    with Image.open(path) as picture:
        return picture.convert("L").resize((picture.width // SMALLER, picture.height // SMALLER))


def apart(one: Image.Image, other: Image.Image) -> float:
    """Root of the mean square of the differences of two pictures of one size."""
    assert one.size == other.size
    return float(numpy.sqrt(numpy.square(numpy.asarray(one, float) - numpy.asarray(other, float)).mean()))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_it_did(name: str, results: Path, tmp_path: Path) -> None:
    with Image.open(PICTURES / f"{name}.png") as kept:
        assert apart(drawn(name, results, tmp_path), kept.convert("L")) < TOLERANCE
        # and a picture of other numbers does not pass for it
        others = tmp_path / "others"
        for paradigm in (SFT, RFT, RFT_NOKL):
            published_run(others, paradigm, stream=LONG, items=40, seed=9, drift=0.05)
        moved = drawn(name, others, tmp_path)
        assert moved.size != kept.size or apart(moved, kept.convert("L")) > TOLERANCE


def test_the_headline_figure_shows_the_metrics_and_leaves_out_what_has_no_order(results: Path, tmp_path: Path) -> None:
    (path,) = (path for path in tradeoff.draw(results, tmp_path) if path.suffix == ".csv")
    rows = csv_rows(path)
    assert {row["paradigm"] for row in rows} == {"sft", "rft", "rft-nocot", "rft-nokl"}
    for row in rows:
        runs = by_paradigm(select(results))[row["paradigm"]]
        wanted = sum(compute_all(run.matrix())[row["metric"]] for run in runs) / len(runs)  # type: ignore[misc]
        assert float(row["value"]) == pytest.approx(wanted)
        assert float(row["low"]) < wanted < float(row["high"])
    only = [run.id for run in by_paradigm(select(results))["mtl"]]
    with pytest.raises(UserError, match="one task after another"):
        tradeoff.draw(results, tmp_path, only)
    with pytest.raises(UserError, match="one task after another"):
        items.draw(results, tmp_path, only)


def test_items_lost_and_won_make_the_change_of_every_cell(results: Path, tmp_path: Path) -> None:
    (path,) = (path for path in items.draw(results, tmp_path) if path.suffix == ".csv")
    for row in csv_rows(path):
        column, _, style = row["column"].partition(", ")
        runs = by_paradigm(select(results))[row["paradigm"]]
        change = 0.0
        for run in runs:
            a = run.matrix(style or None)
            if style:
                place = a.suites.index(column)
                change += a.general[-1][place] - a.general[0][place]  # type: ignore[operator]
            else:
                place = a.tasks.index(column)
                change += a.scores[-1][place] - a.scores[place + 1][place]  # type: ignore[operator]
        net = (int(row["won"]) - int(row["lost"])) / int(row["n"])
        assert net == pytest.approx(change / len(runs))


def test_changes_are_differences_of_the_matrix(results: Path, tmp_path: Path) -> None:
    tables = {path.stem: csv_rows(path) for path in changes.draw(results, tmp_path) if path.suffix == ".csv"}
    a = [run.matrix() for run in by_paradigm(select(results))["rft"]]
    whole = [[(*tasks, *suites) for tasks, suites in zip(one.scores, one.general, strict=True)] for one in a]
    for name, before in (("since-base-rft", lambda stage: 0), ("transfer-rft", lambda stage: stage - 1)):
        for number, row in enumerate(tables[name]):
            stage, column = divmod(number, len(a[0].tasks) + len(a[0].suites))
            if stage == 0:
                assert row["value"] == ("0.0" if name.startswith("since") else "")
                continue
            wanted = sum(one[stage][column] - one[before(stage)][column] for one in whole) / len(whole)
            assert float(row["value"]) == pytest.approx(wanted)


def test_an_ablation_names_what_is_not_published_and_wants_two_arms(results: Path, tmp_path: Path) -> None:
    (path,) = (path for path in ablation.draw(results, tmp_path) if path.suffix == ".csv")
    assert {row["variant"] for row in csv_rows(path)} == {"rft-nokl", "rft-nocot"}
    with pytest.raises(UserError, match="publish a run of both"):
        ablation.draw(results, tmp_path, [run.id for run in by_paradigm(select(results))["rft"]])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        runs = write_runs(Path(work) / "results")
        for name in FIGURES:
            drawn(name, runs, Path(work)).save(PICTURES / f"{name}.png", optimize=True)
