"""Names in published records are looked at as names of flags are: they name no file elsewhere and draw nothing else."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest

from harness.core import UserError
from paper_figures import FIGURES, matrix, page, selection, stages, suites
from tests.fake_published import RFT, RFT_NOKL, SFT, SHORT, published_run

HOSTILE = [
    "x/../../../y",
    "..",
    "/etc/x",
    "$x_$",
    "a$b$",
    "\x1b[31m",
    "a\nb",
    "[red]x[/red]",
    "",
    "\u202ex",
    "A",
    "x" * 65,
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("field", ["paradigm", "stream", "scale", "tasks", "suites", "stages", "style"])
def test_a_name_from_a_file_is_refused_as_one_from_a_flag(tmp_path, monkeypatch, name, field):
    published_run(tmp_path / "results", SFT)
    (run,) = selection.select(tmp_path / "results")
    record = run.record
    if field in ("paradigm", "stream", "scale"):
        record = replace(record, **{field: {**getattr(record, field), "name": name}})
    elif field == "style":
        record = replace(record, style=name)
    elif field == "stages":
        record = replace(record, stages=(replace(record.stages[0], name=name), *record.stages[1:]))
    else:
        key = {"tasks": "tasks", "suites": "general"}[field]
        record = replace(record, stream={**record.stream, key: [name]})
    monkeypatch.setattr(selection, "published", lambda results, ids: [replace(run, record=record)])
    for module in (matrix, stages, suites):
        with pytest.raises(UserError, match="is not drawn") as refusal:
            module.draw(tmp_path / "results", tmp_path / "out")
        assert str(refusal.value).isprintable()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_makes_a_figure_a_file_elsewhere(tmp_path, name):
    with page.page(1.0) as figure, pytest.raises(UserError, match="name"):
        page.save(figure, tmp_path / "out", "matrix", name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["$x_$", "$\\frac{$", "a$", "\\alpha", "x_y^z", "{", "%#&~"])
def test_a_dollar_sign_is_drawn_as_one(tmp_path, name):
    with page.page(1.5) as figure:
        axes = figure.add_subplot()
        axes.set_xticks([0, 1], [name, name])
        axes.plot([0, 1], [0, 1], label=name)
        axes.legend()
        page.headline(figure, name, name)
        pdf, _ = page.save(figure, tmp_path, "dollar")
        drawn = [*axes.get_xticklabels(), figure._suptitle, *axes.get_legend().get_texts()]
    assert not any(text.get_parse_math() for text in drawn)
    assert pdf.is_file()


@pytest.mark.parametrize("name", FIGURES)
def test_the_longest_names_leave_room_for_the_figure(name, tmp_path, monkeypatch):
    long = {"sft": "s" * 64, "rft": "r" * 64}
    stream = replace(SHORT, name="t" * 64)
    for paradigm in (SFT, RFT):
        published_run(tmp_path, replace(paradigm, name=long[paradigm.name]), stream=stream)
    module = importlib.import_module(FIGURES[name])
    if name == "ablation":  # it knows its paradigms by their names
        for paradigm in (RFT, RFT_NOKL):
            published_run(tmp_path, paradigm, stream=stream)
    monkeypatch.setattr(selection, "slug", lambda name: name)
    options = {"names": tuple(long.values())} if name == "stages" else {}
    sizes = []

    def keep(figure, out, *names, **rest):
        figure.draw_without_rendering()
        assert figure._suptitle.get_window_extent().x1 <= figure.bbox.x1 + 1
        sizes.extend(axes.get_window_extent().width / figure.bbox.width for axes in figure.axes)
        return []

    monkeypatch.setattr(matrix if name == "changes" else module, "save", keep)
    module.draw(tmp_path, tmp_path, **options)
    assert min(sizes) > 0.2
