"""Cells on disk: exact in every digit, no text that a spreadsheet or a terminal acts on, one line for each fault."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core import Cell, UserError
from harness.results.cells import COLUMNS, LONGEST, cell_key, csv_rows, csv_text, read_cells, safe, unsafe, write_cells

CELL = Cell(
    run="r", stage=0, stage_name="base", task="a", style="direct", decoding="greedy-8", scorer="exact-v1", engine="e",
    n=3, score=1 / 3, malformed=0.1, truncated=0.0, weights="w", data="d",
)  # fmt: skip
TEXTS = [name for name in COLUMNS if isinstance(getattr(CELL, name), str)]
NUMBERS = [name for name in COLUMNS if name not in TEXTS]

# A busy machine is slow, not wrong.
slowly = settings(deadline=None, max_examples=200, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

shares = st.floats(0, 1)
fit = st.text(st.characters().filter(str.isprintable), max_size=LONGEST)
hostile = st.sampled_from(
    [
        "\x00", "\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\nb", "a\rb", "\t", "\x08" * 3, "\x7f", "\u202eevil",
        "\ufeff", "\u2028", "\ud800", "a\udcffb", "x" * (LONGEST + 1),
    ]
)  # fmt: skip


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        call()
    text = str(refused.value)
    assert text.isprintable()
    assert len(text) < 600
    return text


@pytest.mark.slow
@slowly
@given(st.fixed_dictionaries(dict.fromkeys(TEXTS, fit)), shares, shares, st.integers(1, 10**9))
def test_cells_come_back_as_they_were_written(tmp_path_factory, texts, score, malformed, n):
    cells = [
        replace(CELL, stage=1, score=score, malformed=malformed, n=n, **texts),
        replace(CELL, stage=2, weights="=1+1", data="'-2"),
    ]
    path = written(tmp_path_factory.mktemp("cells") / "cells.csv", write_cells(cells).encode())
    assert read_cells(path) == cells


@slowly
@given(st.lists(st.lists(st.one_of(fit, st.none()), min_size=2, max_size=2), max_size=4))
def test_any_rows_that_are_written_are_read_by_any_reader(tmp_path_factory, rows):
    text = csv_text(["a", "b"], rows)
    expected = [[value or "" for value in row] for row in rows]
    found = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert [[unsafe(field) for field in line] for line in found] == [["a", "b"], *expected]
    path = written(tmp_path_factory.mktemp("rows") / "t.csv", text.encode())
    assert [[*row.values()] for row in csv_rows(path, ["a", "b"])] == expected


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "'=1"])
def test_no_text_reaches_a_spreadsheet_as_a_formula(text):
    line = list(csv.reader(io.StringIO(write_cells([replace(CELL, task=text)]), newline="")))[1]
    assert line[COLUMNS.index("task")] == "'" + text
    assert unsafe(safe(text)) == text


def test_cells_csv_has_the_fields_of_a_cell_exact_floats_and_lf_ends():
    text = write_cells([CELL])
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert repr(1 / 3) in text
    assert "\r" not in text
    assert text.endswith("\n")


# --- faults


@slowly
@given(st.sampled_from(TEXTS), hostile, st.text(max_size=3))
def test_text_that_a_terminal_acts_on_is_neither_written_nor_read(tmp_path_factory, name, text, around):
    cells = [replace(CELL, stage=1), replace(CELL, **{name: around + text + around})]
    assert "row 3" in refusal(lambda: write_cells(cells))
    plain = [[str(getattr(cell, column)) for column in COLUMNS] for cell in cells]
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerows([COLUMNS, *plain])
    path = tmp_path_factory.mktemp("cells") / "cells.csv"
    written(path, target.getvalue().encode("utf-8", "surrogatepass"))
    assert re.search(r"cells\.csv row \d+ ", refusal(lambda: read_cells(path)))


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("text", ["plain", 'caf\u00e9 \u6c34, "x"'])
def test_a_file_cut_anywhere_is_named_with_its_row(tmp_path, rows, text):
    whole = write_cells([replace(CELL, stage=n, data=text) for n in range(rows)]).encode()
    ends = [n + 1 for n, byte in enumerate(whole) if byte == ord("\n")]
    path = tmp_path / "cells.csv"
    for length in range(1, len(whole)):
        written(path, whole[:length])
        if length in ends:
            assert len(read_cells(path)) == ends.index(length), (
                "whole rows alone: fewer cells, which the run then misses"
            )
        else:
            row = 1 + sum(end <= length for end in ends)
            fault = refusal(lambda: read_cells(path))
            assert f"cut off in row {row}:" in fault or f"cells.csv row {row} holds bytes that are no UTF-8" in fault
    assert f"row {rows + 1}" in refusal(lambda: read_cells(written(path, whole[:-20])))


@slowly
@given(st.data())
def test_a_spoilt_byte_is_refused_in_one_line_or_read_as_cells(tmp_path_factory, data):
    whole = bytearray(write_cells([replace(CELL, stage=n) for n in range(3)]).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    path = written(tmp_path_factory.mktemp("cells") / "cells.csv", bytes(whole))
    try:
        assert write_cells(read_cells(path))
    except UserError as error:
        said = str(error)
    else:
        said = "cells.csv"
    assert "cells.csv" in said
    assert said.isprintable()


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "text",
    ["", "nan", "inf", "-1", "1_0", " 1", "\uff11", "1e999", "9" * 200, "9" * 10_000, "True", "0x1", "+1", "[red]"],
)
def test_a_number_that_is_none_is_refused_with_its_row(tmp_path, name, text):
    row = [text if column == name else str(getattr(CELL, column)) for column in COLUMNS]
    path = written(tmp_path / "cells.csv", "\n".join([",".join(COLUMNS), ",".join(row), ""]).encode())
    assert "cells.csv row 2 is malformed" in refusal(lambda: read_cells(path))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: "", "is empty"),
        (lambda text: "\n", "other columns"),
        (lambda text: text.replace("malformed", "malfomed"), "other columns"),
        (lambda text: text.replace(repr(1 / 3), "1.5"), "row 2"),
        (lambda text: text.replace(",3,", ",0,"), "row 2"),
        (lambda text: text.replace(",3,", ",3,3,"), "row 2 has 15 fields instead of 14"),
        (
            lambda text: text + text.splitlines()[1] + "\n",
            "row 3 holds the cell r/0/a/direct/greedy-8/exact-v1/e a second",
        ),
        (lambda text: text + '"open\n', "row 3"),
        (lambda text: text + "\n", "row 3 has 0 fields"),
        (lambda text: "\udcff" + text, "row 1 holds bytes"),
        (lambda text: text.replace("direct", "\udcff"), "row 2 holds bytes"),
        (lambda text: "\ufeff" + text, "other columns"),
        (lambda text: text.replace("direct", "x" * 200_000), "row 2"),
    ],
)
def test_a_malformed_cells_csv_is_refused_in_one_line(tmp_path, spoil, words):
    path = written(tmp_path / "cells.csv", spoil(write_cells([CELL])).encode("utf-8", "surrogateescape"))
    text = refusal(lambda: read_cells(path))
    assert words in text
    assert "cells.csv" in text


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "cells.csv"
    assert "there is none" in refusal(lambda: read_cells(path))
    path.mkdir()
    assert "is no file" in refusal(lambda: read_cells(path))
    path.rmdir()
    os.mkfifo(path)
    assert "is no file" in refusal(lambda: read_cells(path))
    path.unlink()
    path.symlink_to(path)
    assert "loop" in refusal(lambda: read_cells(path))


def test_other_columns_are_read_by_name_and_none_is_an_empty_field(tmp_path):
    path = written(tmp_path / "t.csv", csv_text(["a", "b"], [["x", None], ["-y", 0.5]]).encode())
    assert csv_rows(path) == [{"a": "x", "b": ""}, {"a": "-y", "b": "0.5"}]


def test_the_key_of_a_cell_is_its_identity():
    assert cell_key(CELL) == ("r", 0, "a", "direct", "greedy-8", "exact-v1", "e")
    assert cell_key(replace(CELL, score=1.0)) == cell_key(CELL)
    for name in ("run", "task", "style", "decoding", "scorer", "engine"):
        assert cell_key(replace(CELL, **{name: "other"})) != cell_key(CELL)
