"""The figures: drawn from published cells only, equal input gives equal bytes, and what lacks is said in one line."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.asking.styles import DIRECT
from harness.core import UserError
from harness.results.cells import read_cells, write_cells
from harness.results.publish import publish
from paper_figures import FIGURES, matrix, page, stages, suites
from paper_figures.selection import by_paradigm, mean, over_seeds, select
from tests.fake_runs import MTL, RFT, SFT, SHORT, STREAM, fake_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    for seed in range(2):
        publish(fake_run(folder / "runs", SFT, seed=seed, drift=-0.1), folder / "results")
        publish(fake_run(folder / "runs", RFT, seed=seed, forgets=0.0), folder / "results")
    publish(fake_run(folder / "runs", MTL), folder / "results")
    return folder / "results"


@pytest.fixture
def results(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "results"))


def words_of(module, results, out, monkeypatch, *arguments, **options) -> list[str]:
    """Every text of every figure that a script draws."""
    from matplotlib.text import Text

    found = []

    def keep(figure, out, name):
        figure.draw_without_rendering()
        found.extend(text.get_text() for text in figure.findobj(Text) if text.get_visible())
        return []

    monkeypatch.setattr(module, "save", keep)
    module.draw(results, out, *arguments, **options)
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_as_pdf_and_png_and_repeats_to_the_byte(name, results, tmp_path):
    from PIL import Image

    draw = importlib.import_module(FIGURES[name]).draw
    first, second = draw(results, tmp_path / "a"), draw(results, tmp_path / "b")
    assert {path.suffix for path in first} == {".pdf", ".png"}
    for one, two in zip(first, second, strict=True):
        assert one.name == two.name
        assert one.read_bytes() == two.read_bytes()
    for path in first:
        if path.suffix == ".pdf":
            assert b"/CreationDate" not in path.read_bytes()
        else:
            with Image.open(path) as picture:
                assert picture.width == round(300 * page.COLUMN)
                assert len(picture.convert("RGB").getcolors(2**24)) > 10


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_states_the_scale(name, results, tmp_path, monkeypatch):
    words = words_of(importlib.import_module(FIGURES[name]), results, tmp_path, monkeypatch)
    assert any("twin scale" in text for text in words)


@pytest.fixture(scope="module")
def seven(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("seven")
    for paradigm in (SFT, RFT, replace(RFT, name="rft-nocot", style=DIRECT)):
        publish(fake_run(folder / "runs", paradigm, stream=STREAM, items=4), folder / "results")
    return folder / "results"


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_small_cut_off_or_on_top_of_another(name, seven, tmp_path, monkeypatch):
    from matplotlib.text import Text

    module = importlib.import_module(FIGURES[name])

    def measure(figure, out, name):
        figure.draw_without_rendering()
        page_box = figure.bbox
        # an empty string, and a tick beyond the limits of its axis, is not drawn
        texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
        boxes = [(text, text.get_window_extent()) for text in texts if inside(text)]
        assert len(boxes) > 10
        for text, box in boxes:
            assert text.get_fontsize() >= 6
            assert page_box.x0 - 1 <= box.x0 <= box.x1 <= page_box.x1 + 1, text.get_text()
            assert page_box.y0 - 1 <= box.y0 <= box.y1 <= page_box.y1 + 1, text.get_text()
        upright = [(text, box) for text, box in boxes if text.get_rotation() in (0, 90)]
        for n, (text, box) in enumerate(upright):
            for other, rival in upright[n + 1 :]:
                assert not box.overlaps(rival.padded(-1)), (text.get_text(), other.get_text())
        return []

    def inside(text):
        ticks = [tick for axes in text.figure.axes for axis in (axes.xaxis, axes.yaxis) for tick in ticks_of(axis)]
        hidden = [tick for tick, shown in ticks if not shown]
        return text not in hidden

    def ticks_of(axis):
        low, high = sorted(axis.get_view_interval())
        shown = axis.axes.axison
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            visible = shown and low <= tick.get_loc() <= high
            yield tick.label1, visible and tick.label1.get_visible()
            yield tick.label2, visible and tick.label2.get_visible()

    monkeypatch.setattr(module, "save", measure)
    module.draw(seven, tmp_path)


def test_the_heat_map_shows_the_run_in_percent(results, tmp_path, monkeypatch):
    words = words_of(matrix, results, tmp_path, monkeypatch, ["rft-short-s1"])
    (run,) = select(results, ["rft-short-s1"])
    a = run.matrix()
    shown = [
        f"{100 * value:.0f}" for tasks, extra in zip(a.scores, a.general, strict=True) for value in (*tasks, *extra)
    ]
    assert sorted(text for text in words if text.isdigit()) == sorted(shown)
    assert {"base", "1 gqa", "2 pathvqa", "pope"} <= set(words)
    assert any("cot style, seed 1" in text for text in words)


def test_without_names_there_is_a_heat_map_of_each_paradigm(results, tmp_path):
    names = [path.name for path in matrix.draw(results, tmp_path) if path.suffix == ".pdf"]
    assert names == ["matrix-mtl.pdf", "matrix-rft.pdf", "matrix-sft.pdf"]


def test_a_cell_that_was_not_observed_is_a_dash_and_not_a_zero(results, tmp_path, monkeypatch):
    path = results / "runs" / "sft-short-s0" / "cells.csv"
    kept = [cell for cell in read_cells(path) if (cell.stage, cell.task) != (1, "pathvqa")]
    path.write_text(write_cells(kept))
    words = words_of(matrix, results, tmp_path, monkeypatch, ["sft-short-s0"])
    assert words.count("\N{EN DASH}") == 1


def test_folding_over_seeds_needs_every_seed(results):
    runs = by_paradigm(select(results))["sft"]
    tables = [run.matrix().scores for run in runs]
    assert over_seeds(runs, lambda a: a.scores, mean)[1][0] == (tables[0][1][0] + tables[1][1][0]) / 2
    assert over_seeds(runs, lambda a: a.scores, min)[2][1] == min(table[2][1] for table in tables)
    holed = replace(runs[0], cells=tuple(cell for cell in runs[0].cells if cell.task != "gqa"))
    assert over_seeds([holed, runs[1]], lambda a: a.scores, mean)[1][0] is None


def test_the_stages_figure_says_what_its_band_is(results, tmp_path, monkeypatch):
    words = words_of(stages, results, tmp_path, monkeypatch)
    assert any("band: min to max" in text for text in words)
    assert {"sft, direct style\n(2 seeds)", "rft, cot style\n(2 seeds)"} <= set(words)
    words = words_of(stages, results, tmp_path, monkeypatch, ["sft-short-s0", "rft-short-s0"])
    assert not any("band" in text for text in words)


def test_lines_of_the_stages_figure_are_the_means(results, tmp_path, monkeypatch):
    drawn = {}

    def keep(figure, out, name):
        drawn.update({line.get_label().split(",")[0]: list(line.get_ydata()) for line in figure.axes[0].get_lines()})
        return []

    monkeypatch.setattr(stages, "save", keep)
    stages.draw(results, tmp_path)
    runs = by_paradigm(select(results))["rft"]
    expected = [100 * sum(run.matrix().scores[i][0] for run in runs) / 2 for i in range(3)]
    assert drawn["rft"] == pytest.approx(expected)


def test_suites_show_each_seed_and_the_base_of_the_same_style(results, tmp_path, monkeypatch):
    drawn = []

    def keep(figure, out, name):
        drawn.extend([list(line.get_xdata()) for line in figure.axes[0].get_lines()])
        return []

    monkeypatch.setattr(suites, "save", keep)
    suites.draw(results, tmp_path)
    runs = by_paradigm(select(results))
    base, points = drawn[0], drawn[3]
    assert base == [100 * runs["sft"][0].matrix("direct").general[0][0]] * 2
    assert points == [100 * run.matrix("direct").general[-1][0] for run in runs["sft"]]


def test_the_largest_group_of_comparable_runs_is_drawn(results, tmp_path):
    publish(fake_run(tmp_path / "runs", RFT, seed=7, versions=2), results)
    assert {run.seed for run in select(results)} == {0, 1}
    with pytest.raises(UserError, match="differ in stream"):
        select(results, ["rft-short-s7", "rft-short-s0"])


@pytest.mark.parametrize("name", FIGURES)
def test_figures_without_data_are_refused_in_one_line(name, tmp_path):
    with pytest.raises(UserError, match="no published runs") as refusal:
        importlib.import_module(FIGURES[name]).draw(tmp_path, tmp_path / "out")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_what_a_figure_lacks_is_said(results, tmp_path):
    with pytest.raises(UserError, match="no run of rft"):
        stages.draw(results, tmp_path, ["sft-short-s0"])
    with pytest.raises(UserError, match="one task after another"):
        stages.draw(results, tmp_path, names=("sft", "mtl"))
    with pytest.raises(UserError, match="not published"):
        matrix.draw(results, tmp_path, ["sft-short-s9"])
    path = results / "runs" / "rft-short-s0" / "cells.csv"
    path.write_text(write_cells([cell for cell in read_cells(path) if cell.task != "pope"]))
    with pytest.raises(UserError, match="lacks a suite"):
        suites.draw(results, tmp_path, ["rft-short-s0"])


def test_two_recipes_of_one_name_have_no_mean(results, tmp_path):
    publish(fake_run(tmp_path / "runs", replace(SFT, rate=3.0), seed=5), results)
    with pytest.raises(UserError, match="differ in their settings"):
        matrix.draw(results, tmp_path)
    assert matrix.draw(results, tmp_path, ["sft-short-s5", "sft-short-s0"])


def test_a_stream_without_suites_has_matrix_and_stages_but_no_suites(tmp_path):
    bare = replace(SHORT, name="bare", general=())
    for paradigm in (SFT, RFT):
        publish(fake_run(tmp_path / "runs", paradigm, stream=bare), tmp_path / "results")
    assert matrix.draw(tmp_path / "results", tmp_path)
    assert stages.draw(tmp_path / "results", tmp_path)
    with pytest.raises(UserError, match="no general suite"):
        suites.draw(tmp_path / "results", tmp_path)


def test_a_figure_is_a_script(results, tmp_path):
    arguments = [sys.executable, "-m", "paper_figures.matrix", "--results", str(results), "--out", str(tmp_path / "o")]
    done = subprocess.run([*arguments, "sft-short-s0"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "o" / f"matrix-sft-short-s0.{kind}") for kind in ("pdf", "png")]
    assert page.command(matrix.draw, ["nobody", "--results", str(results)]) == 2


def test_sft_and_rft_keep_their_colours_beside_others():
    alone, crowd = page.palette(("sft", "rft")), page.palette(("mtl", "rft", "rft-nokl", "sft", "x", "y"))
    assert (alone["sft"], alone["rft"]) == (crowd["sft"], crowd["rft"])
    assert len(set(crowd.values())) == 6
