"""The figures: drawn from published cells only, equal input gives equal bytes, and what lacks is said in one line."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.asking.styles import DIRECT
from harness.core import UserError
from harness.results.cells import csv_rows, read_cells, write_cells
from paper_figures import FIGURES, changes, matrix, page, stages, suites, table
from paper_figures.selection import by_paradigm, exact, mean, over_seeds, percent, select
from tests.fake_published import LONG, MTL, RFT, RFT_NOKL, SFT, SHORT, published_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    for seed in range(2):
        published_run(folder, SFT, seed=seed, drift=-0.1)
        published_run(folder, RFT, seed=seed)
    published_run(folder, MTL)
    published_run(folder, RFT_NOKL)
    return folder


@pytest.fixture
def results(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "results"))


def named(results: Path, paradigm: str, seed: int = 0) -> str:
    """The id of the one run of a paradigm and a seed."""
    (path,) = (results / "runs").glob(f"{paradigm}-short-twin-s{seed}-*")
    return path.name


def drawer(name: str):
    """The module that writes a figure's files."""
    return importlib.import_module(FIGURES["matrix" if name == "changes" else name])


def words_of(module, results, out, monkeypatch, *arguments, **options) -> list[str]:
    """Every text of every figure that a script draws."""
    from matplotlib.text import Text

    found = []

    def keep(figure, out, *names, **rest):
        figure.draw_without_rendering()
        found.extend(text.get_text() for text in figure.findobj(Text) if text.get_visible())
        return []

    monkeypatch.setattr(matrix if module is changes else module, "save", keep)
    module.draw(results, out, *arguments, **options)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_with_its_numbers_and_repeats_to_the_byte(name, results, tmp_path):
    from PIL import Image

    draw = importlib.import_module(FIGURES[name]).draw
    first, second = draw(results, tmp_path / "a"), draw(results, tmp_path / "b")
    assert {path.suffix for path in first} == {".pdf", ".png", ".csv"}
    for one, two in zip(first, second, strict=True):
        assert one.name == two.name
        assert one.read_bytes() == two.read_bytes()
    for path in first:
        if path.suffix == ".pdf":
            assert b"/CreationDate" not in path.read_bytes()
            assert b"/FontFile2" in path.read_bytes(), "the fonts are embedded"
        elif path.suffix == ".csv":
            assert len(csv_rows(path)) > 1
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
    several = [replace(MTL, name="more-pretraining"), RFT_NOKL, replace(RFT, name="rft-remax")]
    for paradigm in (SFT, RFT, MTL, replace(RFT, name="rft-nocot", style=DIRECT), *several):
        published_run(folder, paradigm, stream=LONG, items=20)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("width", page.WIDTHS)
@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_small_cut_off_or_on_top_of_another(name, width, seven, tmp_path, monkeypatch):
    from matplotlib.text import Text

    module = importlib.import_module(FIGURES[name])

    def measure(figure, out, *names, **rest):
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

    monkeypatch.setattr(drawer(name), "save", measure)
    module.draw(seven, tmp_path, width=width)


def test_the_heat_map_shows_the_run_in_percent(results, tmp_path, monkeypatch):
    words = words_of(matrix, results, tmp_path, monkeypatch, [named(results, "rft", 1)])
    (run,) = select(results, [named(results, "rft", 1)])
    a = run.matrix()
    shown = [
        percent(exact(value)) for tasks, extra in zip(a.scores, a.general, strict=True) for value in (*tasks, *extra)
    ]
    assert sorted(text for text in words if text.isdigit()) == sorted(shown)
    assert {"base", "1 gqa", "2 pathvqa", "pope"} <= set(words)
    assert any("cot style, seed 1" in text for text in words)


@pytest.mark.slow
def test_without_names_there_is_a_heat_map_of_each_paradigm(results, tmp_path):
    names = [path.name for path in matrix.draw(results, tmp_path) if path.suffix == ".pdf"]
    assert names == ["matrix-mtl.pdf", "matrix-rft.pdf", "matrix-rft-nokl.pdf", "matrix-sft.pdf"]


def test_a_cell_that_was_not_observed_is_a_dash_and_not_a_zero(results, tmp_path, monkeypatch):
    path = results / "runs" / named(results, "sft") / "cells.csv"
    kept = [cell for cell in read_cells(path) if (cell.stage, cell.task) != (1, "pathvqa")]
    path.write_text(write_cells(kept))
    words = words_of(matrix, results, tmp_path, monkeypatch, [named(results, "sft")])
    assert words.count("\N{EN DASH}") == 1


def test_folding_over_seeds_needs_every_seed(results):
    runs = by_paradigm(select(results))["sft"]
    tables = [run.matrix().scores for run in runs]
    assert over_seeds(runs, lambda a: a.scores, mean)[1][0] == (exact(tables[0][1][0]) + exact(tables[1][1][0])) / 2
    assert over_seeds(runs, lambda a: a.scores, min)[2][1] == exact(min(table[2][1] for table in tables))
    holed = replace(runs[0], cells=tuple(cell for cell in runs[0].cells if cell.task != "gqa"))
    assert over_seeds([holed, runs[1]], lambda a: a.scores, mean)[1][0] is None


def test_the_stages_figure_says_what_its_band_is(results, tmp_path, monkeypatch):
    words = words_of(stages, results, tmp_path, monkeypatch)
    assert any("band: 95% interval" in text for text in words)
    assert {"sft, direct style\n(2 seeds)", "rft, cot style\n(2 seeds)", "sft, cot style"} <= set(words)


def test_lines_of_the_stages_figure_are_the_means_within_their_bands(results, tmp_path):
    path = next(path for path in stages.draw(results, tmp_path) if path.suffix == ".csv")
    runs = by_paradigm(select(results))["rft"]
    rows = [row for row in csv_rows(path) if (row["paradigm"], row["style"], row["task"]) == ("rft", "cot", "gqa")]
    expected = [sum(run.matrix().scores[i][0] for run in runs) / 2 for i in range(3)]
    assert [float(row["score"]) for row in rows] == pytest.approx(expected)
    assert all(float(row["low"]) < float(row["score"]) < float(row["high"]) for row in rows)


def test_suites_show_each_seeds_change_in_both_styles(results, tmp_path, monkeypatch):
    drawn = {}

    def keep(figure, out, *names, **rest):
        for line in figure.axes[0].get_lines():
            if len(line.get_xdata()) and line.get_marker() in suites.MARKERS:
                drawn.setdefault(line.get_marker(), []).append(list(line.get_xdata()))
        return []

    monkeypatch.setattr(suites, "save", keep)
    suites.draw(results, tmp_path)
    runs = by_paradigm(select(results))
    for marker, style in zip(suites.MARKERS, ("cot", "direct"), strict=False):
        tables = [[run.matrix(style).general for run in runs[name]] for name in ("sft", "mtl", "rft", "rft-nokl")]
        wanted = [[100 * (table[-1][0] - table[0][0]) for table in same] for same in tables]
        assert [pytest.approx(points) for points in wanted] == drawn[marker]


def test_equal_differences_of_suites_are_equally_long(seven, tmp_path, monkeypatch):
    limits = []

    def keep(figure, out, *names, **rest):
        limits.extend((axes.get_xlim(), axes.get_position().width) for axes in figure.axes)
        for axes in figure.axes:
            low, high = axes.get_xlim()
            assert all(low <= x <= high for line in axes.get_lines() for x in line.get_xdata())
        return []

    monkeypatch.setattr(suites, "save", keep)
    suites.draw(seven, tmp_path)
    assert len(limits) == 3
    assert len(set(limits)) == 1


def test_the_largest_group_of_comparable_runs_is_drawn(results, tmp_path):
    published_run(results, RFT, seed=7, scorer="exact-v2")
    assert {run.seed for run in select(results)} == {0, 1}
    with pytest.raises(UserError, match="differ in stream"):
        select(results, [named(results, "rft", 7), named(results, "rft")])


def test_a_scale_is_drawn_beside_the_largest_group(results, tmp_path):
    for paradigm in (SFT, replace(SFT, name="sft-cot"), RFT, replace(RFT, name="rft-nocot")):
        published_run(results, paradigm, seed=0, scale="twin-long")
    assert {run.scale for run in select(results)} == {"twin"}
    assert {run.scale for run in select(results, scale="twin-long")} == {"twin-long"}
    names = [path.name for path in stages.draw(results, tmp_path, scale="twin-long")]
    assert names == [f"stages-crossed-twin-long.{kind}" for kind in ("pdf", "png", "csv")]
    assert next(path.name for path in stages.draw(results, tmp_path)) == "stages-sft-rft.pdf"
    (path,) = table.draw(results, tmp_path, scale="twin-long")
    assert path.name == "table-twin-long.md"
    assert {line.split(" | ")[0] for line in path.read_text().splitlines()[2:]} == {
        "| sft", "| sft-cot", "| rft", "| rft-nocot"
    }  # fmt: skip
    with pytest.raises(UserError, match="no published runs of scale twin-short"):
        suites.draw(results, tmp_path, scale="twin-short")


@pytest.mark.parametrize("name", FIGURES)
def test_figures_without_data_are_refused_in_one_line(name, tmp_path):
    with pytest.raises(UserError, match="no published runs") as refusal:
        importlib.import_module(FIGURES[name]).draw(tmp_path, tmp_path / "out")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_what_a_figure_lacks_is_said(results, tmp_path):
    with pytest.raises(UserError, match="no run of rft"):
        stages.draw(results, tmp_path, [named(results, "sft")])
    with pytest.raises(UserError, match="one task after another"):
        stages.draw(results, tmp_path, names=("sft", "mtl"))
    with pytest.raises(UserError, match="not published"):
        matrix.draw(results, tmp_path, ["sft-short-twin-s9"])
    path = results / "runs" / named(results, "rft") / "cells.csv"
    path.write_text(write_cells([cell for cell in read_cells(path) if cell.task != "pope"]))
    with pytest.raises(UserError, match="lacks a suite"):
        suites.draw(results, tmp_path, [named(results, "rft")])


def test_two_recipes_of_one_name_have_no_mean(results, tmp_path):
    published_run(results, replace(SFT, rate=3.0), seed=5)
    with pytest.raises(UserError, match="differ in their settings"):
        matrix.draw(results, tmp_path)
    assert matrix.draw(results, tmp_path, [named(results, "sft", 5), named(results, "sft")])


def test_a_stream_without_suites_has_matrix_and_stages_but_no_suites(tmp_path):
    bare = replace(SHORT, name="bare", general=())
    for paradigm in (SFT, RFT):
        published_run(tmp_path / "results", paradigm, stream=bare)
    assert matrix.draw(tmp_path / "results", tmp_path)
    assert stages.draw(tmp_path / "results", tmp_path)
    with pytest.raises(UserError, match="no general suite"):
        suites.draw(tmp_path / "results", tmp_path)


def test_a_figure_is_a_script(results, tmp_path):
    arguments = [sys.executable, "-m", "paper_figures.matrix", "--results", str(results), "--out", str(tmp_path / "o")]
    name = named(results, "sft")
    done = subprocess.run([*arguments, name], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "o" / f"matrix-{name}.{kind}") for kind in ("pdf", "png", "csv")]
    assert page.command(matrix.draw, ["nobody", "--results", str(results)]) == 2


def test_sft_and_rft_keep_their_colours_beside_others():
    alone, crowd = page.palette(("sft", "rft")), page.palette(("mtl", "rft", "rft-nokl", "sft", "x", "y"))
    assert (alone["sft"], alone["rft"]) == (crowd["sft"], crowd["rft"])
    assert len(set(crowd.values())) == 6


# --- what a reader must be able to trust


def test_the_base_is_printed_alike_whatever_it_is_the_mean_of(tmp_path, monkeypatch):
    for seed in range(3):
        published_run(tmp_path, SFT, seed=seed)
    published_run(tmp_path, MTL)
    rng = Random(0)
    halves = {name: rng.randrange(5, 200, 2) / 200 for name in (*SHORT.tasks, *SHORT.general)}
    for path in tmp_path.glob("runs/*/cells.csv"):
        cells = [replace(cell, score=halves[cell.task]) if cell.stage == 0 else cell for cell in read_cells(path)]
        path.write_text(write_cells(cells))
    printed = []
    for name in ("sft", "mtl"):
        ids = [path.name for path in tmp_path.glob(f"runs/{name}-*")]
        runs = select(tmp_path, ids)
        printed.append([percent(value) for value in over_seeds(runs, lambda a: a.scores, mean, "direct")[0]])
    assert printed[0] == printed[1] == [str(round(Decimal(str(100 * halves[name])))) for name in SHORT.tasks]


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 2000)), min_size=1, max_size=7), st.integers(1, 9))
def test_a_mean_is_exact_and_its_halves_go_to_the_even(pairs, seeds):
    pairs = [(min(right, items), items) for right, items in pairs]
    for right, items in pairs:
        assert mean([exact(right / items)] * seeds) == Fraction(right, items)
        tenths = sum([0.1] * right) / items  # annotators' scores add up with errors of a float
        assert exact(tenths) == Fraction(right, 10 * items)
    wanted = Fraction(sum(Fraction(right, items) for right, items in pairs), len(pairs))
    assert mean([exact(right / items) for right, items in pairs]) == wanted
    assert abs(int(percent(wanted)) - 100 * wanted) <= Fraction(1, 2)


@pytest.mark.parametrize(("drawn", "shades"), [(matrix, "Blues"), (changes, "RdBu")])
def test_text_can_be_read_on_every_colour(results, tmp_path, monkeypatch, drawn, shades):
    import matplotlib
    from matplotlib.patches import Rectangle

    colours = [matplotlib.colormaps[shades](n / 255) for n in range(256)]
    colours += [(r / 8, g / 8, b / 8) for r in range(9) for g in range(9) for b in range(9)]
    assert all(page.contrast(page.ink_on(colour), colour) >= 4.5 for colour in colours)
    assert page.contrast("#777777", "white") == pytest.approx(4.478, abs=1e-3)
    assert min(page.contrast(ink, "white") for ink in (page.INK, page.FAINT)) >= 4.5
    seen = []

    def keep(figure, out, *names, **rest):
        figure.draw_without_rendering()
        (axes,) = figure.axes
        squares = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_facecolor()[3]]
        for text in axes.texts:
            (under,) = [square for square in squares if square.get_bbox().contains(*text.get_position())]
            seen.append(page.contrast(text.get_color(), under.get_facecolor()))
        return []

    monkeypatch.setattr(matrix, "save", keep)
    drawn.draw(results, tmp_path)
    assert len(seen) == (3 * 3 * 3 + 2 * 3) * (1 if drawn is matrix else len(changes.KINDS))
    assert min(seen) >= 4.5


def test_a_single_stage_is_called_by_its_paradigm(tmp_path, monkeypatch):
    published_run(tmp_path, replace(MTL, name="more-pretraining"))
    words = words_of(matrix, tmp_path, tmp_path, monkeypatch)
    assert "1 more-pretraining" in words
    assert not any("joint" in text or "framed" in text for text in words)
