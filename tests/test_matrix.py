"""The accuracy matrix and its metrics."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core import Cell, UserError
from harness.results.cells import csv_rows
from harness.results.flips import Flips
from harness.results.matrix import AccuracyMatrix, from_cells, from_rows
from harness.results.metrics import ALL, compute_all, general_deltas

CELL = Cell(
    run="r", stage=0, stage_name="base", task="a", style="direct", decoding="greedy-8", scorer="exact-v1", engine="e",
    n=3, score=1 / 3, malformed=0.1, truncated=0.0, weights="w", data="d",
)  # fmt: skip

# A busy machine is slow, not wrong.
slowly = settings(deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

fractions = st.floats(0, 1, allow_subnormal=False)


@st.composite
def matrices(draw: st.DrawFn, most: int = 5, least: int = 1, suites: int = 0) -> AccuracyMatrix:
    tasks, suites = draw(st.integers(least, most)), suites or draw(st.integers(1, 3))
    row = st.lists(fractions, min_size=tasks + suites, max_size=tasks + suites)
    rows = draw(st.lists(row, min_size=tasks + 1, max_size=tasks + 1))
    return from_rows([r[:tasks] for r in rows], general=[r[tasks:] for r in rows])


def without(a: AccuracyMatrix, stage: int, column: int, general: bool = False) -> AccuracyMatrix:
    def punched(rows):
        return tuple(
            tuple(None if (i, j) == (stage, column) else value for j, value in enumerate(row))
            for i, row in enumerate(rows)
        )

    if general:
        return replace(a, general=punched(a.general))
    return replace(a, scores=punched(a.scores), malformed=punched(a.malformed))


# --- the matrix


def stream_cells(tasks=("a", "b"), suites=("s",), style="direct"):
    return [
        replace(CELL, stage=i, stage_name=stage, task=task, style=style, score=(10 * i + j) / 100, malformed=j / 10)
        for i, stage in enumerate(("base", *tasks))
        for j, task in enumerate((*tasks, *suites))
    ]


def test_a_matrix_puts_cells_at_their_stage_and_task():
    other = [replace(cell, score=1.0) for cell in stream_cells(style="cot")]
    a = from_cells([*stream_cells(), *other], style="direct", tasks=("a", "b"), general=("s",))
    assert a.stages == ("base", "a", "b")
    assert a.scores == ((0.0, 0.01), (0.1, 0.11), (0.2, 0.21))
    assert a.general == ((0.02,), (0.12,), (0.22,))
    assert a.malformed[2] == (0.0, 0.1)
    assert a.ordered
    assert a.whole


def test_an_absent_cell_is_none_and_a_run_that_stopped_has_no_false_final_row():
    cells = [cell for cell in stream_cells() if cell.stage < 2]
    a = from_cells(cells, style="direct", tasks=("a", "b"), general=("s",))
    assert a.final == (None, None)
    assert not a.whole
    assert ALL["average_accuracy"].compute(a) is None


def test_joint_training_has_two_rows_and_no_order():
    cells = [
        replace(CELL, stage=i, stage_name=stage, task=task, score=0.25 + 0.5 * i)
        for i, stage in enumerate(("base", "joint"))
        for task in ("a", "b", "s")
    ]
    a = from_cells(cells, style="direct", tasks=("a", "b"), general=("s",), stages=[("joint", ("a", "b"))])
    assert a.stages == ("base", "joint")
    defined = {name for name, value in compute_all(a).items() if value is not None}
    assert defined == {"average_accuracy", "general_delta", "malformed_share"}
    assert ALL["average_accuracy"].compute(a) == 0.75


def test_order_is_in_the_tasks_of_the_stages_and_not_in_their_names():
    a = from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]])
    assert replace(a, stages=("base", "first", "second")).ordered
    replay = replace(a, trained=(("t1",), ("t2", "t1")))
    assert not replay.ordered
    assert replay.stages == a.stages
    assert ALL["learning_accuracy"].compute(replay) is None
    assert not replace(a, trained=(("t2",), ("t1",))).ordered
    assert not from_rows([[0.2, 0.1], [0.9, 0.9]], joint=True).ordered


def test_one_task_alone_is_in_order_however_its_stage_was_made():
    a = from_rows([[0.2], [0.9]], joint=True)
    assert a.stages == ("base", "joint")
    assert ALL["learning_accuracy"].compute(a) == 0.9


def test_named_stages_make_the_missing_ones_visible():
    cells = [cell for cell in stream_cells() if cell.stage == 0]
    a = from_cells(cells, style="direct", tasks=("a", "b"), stages=[("joint", ("a", "b"))])
    assert a.scores == ((0.0, 0.01), (None, None))


def test_cells_of_a_suite_in_its_own_style_stand_beside_every_style():
    cells = [cell if cell.task != "s" else replace(cell, style="own") for cell in stream_cells()]
    for style in ("direct", "cot"):
        a = from_cells(cells, style=style, tasks=("a", "b"), general=("s",))
        assert a.general == ((0.02,), (0.12,), (0.22,))
        assert (a.scores[0][0] is None) == (style == "cot")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([CELL, replace(CELL, run="q")], "2 runs"),
        ([CELL, replace(CELL, decoding="greedy-16")], "several direct cells"),
        ([CELL, replace(CELL, scorer="exact-v2")], "several direct cells"),
        ([replace(CELL, stage=1, stage_name="b")], "stage 1"),
        ([replace(CELL, stage=9, stage_name="b")], "stage 9"),
    ],
)
def test_cells_that_make_no_matrix_are_refused(cells, words):
    with pytest.raises(UserError, match=words):
        from_cells(cells, style="direct", tasks=("a", "b"))


def test_a_matrix_of_another_shape_is_our_own_fault():
    with pytest.raises(ValueError, match="another shape"):
        replace(from_rows([[0.1], [0.2]]), scores=((0.1,),))
    with pytest.raises(ValueError, match="1 stages train 2 sets of tasks"):
        replace(from_rows([[0.1], [0.2]]), trained=(("t1",), ("t2",)))


# --- the metrics


@slowly
@given(matrices())
def test_average_accuracy_is_learning_accuracy_and_backward_transfer(a):
    values, tasks = compute_all(a), len(a.tasks)
    transfer = values["backward_transfer"] or 0.0
    assert math.isclose(
        values["average_accuracy"], values["learning_accuracy"] + (tasks - 1) / tasks * transfer, abs_tol=1e-9
    )


@slowly
@given(matrices())
def test_what_changed_since_the_base_is_loss_before_gain_and_loss_after(a):
    values, tasks = compute_all(a), len(a.tasks)
    change = sum(end - start for end, start in zip(a.final, a.scores[0], strict=True))
    before, after = (values[name] or 0.0 for name in ("forward_transfer", "backward_transfer"))
    parts = (tasks - 1) * before + tasks * values["gain"] + (tasks - 1) * after
    assert math.isclose(change, parts, abs_tol=1e-9)


@slowly
@given(matrices(), st.data())
def test_a_hole_leaves_a_metric_undefined_or_untouched(a, data):
    general = data.draw(st.booleans())
    width = len(a.suites) if general else len(a.tasks)
    stage, column = data.draw(st.integers(0, len(a.tasks))), data.draw(st.integers(0, width - 1))
    whole, holed = compute_all(a), compute_all(without(a, stage, column, general))
    for name in ALL:
        assert holed[name] is None or holed[name] == whole[name], name


# The cells (stage, task), both counted from 0 and stage 0 the base, that a metric over three tasks cannot miss.
DIAGONAL = {(1, 0), (2, 1), (3, 2)}
FINAL = {(3, 0), (3, 1), (3, 2)}
EARLY = {(1, 0), (2, 1), (3, 0), (3, 1)}
BELOW_BASE = {(i, j) for i in (1, 2, 3) for j in (0, 1, 2)}
NEEDED = {
    "average_accuracy": FINAL,
    "mean_average_accuracy": {(1, 0), (2, 0), (2, 1)} | FINAL,
    "learning_accuracy": DIAGONAL,
    "net_learning": DIAGONAL | {(0, 0), (0, 1), (0, 2)},
    "gain": DIAGONAL | {(0, 0), (1, 1), (2, 2)},
    "backward_transfer": EARLY,
    "backward_transfer_T": EARLY | {(3, 2)},
    "fm_lai_T": BELOW_BASE,
    "fm_lai_T1": {(i, j) for i, j in BELOW_BASE if j < 2},
    "forgetting_chaudhry": {(i, j) for i, j in BELOW_BASE if j < 2},
    "forgetting_since_learned": EARLY | {(2, 0)},
    "format_part": EARLY,
    "knowledge_part": EARLY,
    "retention": EARLY,
    "gain_retained": EARLY | {(0, 0), (0, 1)},
    "loss_rate": set(),
    "win_rate": set(),
    "churn": set(),
    "chance_adjusted_forgetting": set(),
    "forward_transfer": {(1, 1), (2, 2), (0, 1), (0, 2)},
    "intransigence": DIAGONAL,
    "general_delta": set(),
    "malformed_share": FINAL,
}
FLIPPED = Flips(lost=20, won=10, right=120, n=200, odds=1 / 3)


@pytest.mark.parametrize("name", ALL)
def test_a_metric_needs_its_cells_and_no_others(name):
    a = from_rows([[0.1, 0.2, 0.3], [0.9, 0.1, 0.5], [0.4, 0.8, 0.6], [0.3, 0.5, 0.7]], general=[[0.5]] * 4)
    a = replace(a, flips=(FLIPPED, FLIPPED, None), joint=(0.9, 0.9, 0.9))
    assert set(NEEDED) == set(ALL)
    places = [(i, j) for i in range(4) for j in range(3)]
    assert {place for place in places if ALL[name].compute(without(a, *place)) is None} == NEEDED[name]


def test_the_metrics_of_a_worked_matrix():
    a = from_rows(
        [[0.4, 0.2, 0.1], [0.9, 0.3, 0.2], [1.0, 0.8, 0.3], [0.6, 0.5, 0.7]],
        general=[[0.5, 0.25], [0.0, 0.0], [1.0, 1.0], [0.25, 0.5]],
    )
    a = replace(
        a,
        flips=(FLIPPED, Flips(lost=10, won=0, right=40, n=50), None),
        joint=(1.0, 0.9, 0.8),
        malformed=((0.0,) * 3, (0.0,) * 3, (0.0,) * 3, (0.25, 0.0, 0.5)),
    )
    expected = {
        "average_accuracy": (0.6 + 0.5 + 0.7) / 3,
        "mean_average_accuracy": (0.9 + (1.0 + 0.8) / 2 + (0.6 + 0.5 + 0.7) / 3) / 3,
        "learning_accuracy": (0.9 + 0.8 + 0.7) / 3,
        "net_learning": (0.5 + 0.6 + 0.6) / 3,
        "gain": (0.5 + 0.5 + 0.4) / 3,
        "backward_transfer": (-0.3 - 0.3) / 2,
        "backward_transfer_T": (-0.3 - 0.3 + 0.0) / 3,
        "fm_lai_T": (-0.4 - 0.3 + 0.0) / 3,
        "fm_lai_T1": (-0.4 - 0.3) / 2,
        "forgetting_chaudhry": (0.4 + 0.3) / 2,
        "forgetting_since_learned": (-0.4 - 0.3) / 2,
        "format_part": ((0.9 + 0.8) / 2 * -0.25 + 0.0) / 2,
        "knowledge_part": ((1.0 + 0.75) / 2 * (0.8 - 0.9) + 1.0 * (0.5 - 0.8)) / 2,
        "retention": (0.6 / 0.9 + 0.5 / 0.8) / 2,
        "gain_retained": (0.2 + 0.3) / (0.5 + 0.6),
        "loss_rate": (0.1 + 0.2) / (0.6 + 0.8),
        "win_rate": (0.05 + 0.0) / (0.4 + 0.2),
        "churn": (0.15 + 0.2) / 2,
        "chance_adjusted_forgetting": 0.1 - 0.4 * 0.45 / 3,
        "forward_transfer": (0.1 + 0.2) / 2,
        "intransigence": (0.1 + 0.1 + 0.1) / 3,
        "general_delta": 0.0,
        "malformed_share": (0.25 + 0.0 + 0.5) / 3,
    }
    assert list(expected) == list(ALL)
    assert compute_all(a) == pytest.approx(expected)
    assert general_deltas(a) == {"s1": -0.25, "s2": 0.25}


def test_the_base_row_is_not_in_the_peak():
    a = from_rows([[1.0, 1.0], [0.5, 0.5], [0.5, 0.5]])
    assert ALL["fm_lai_T"].compute(a) == 0.0


def test_one_task_has_nothing_to_transfer_between():
    values = compute_all(from_rows([[0.2], [0.9]]))
    assert [values[name] for name in ("backward_transfer", "fm_lai_T1", "forward_transfer", "general_delta")] == [
        None
    ] * 4
    assert values["gain"] == pytest.approx(0.7)


@slowly
@given(matrices())
def test_peak_metrics_never_praise(a):
    values = compute_all(a)
    assert values["fm_lai_T"] <= 0
    assert len(a.tasks) == 1 or values["fm_lai_T1"] <= min(0, values["backward_transfer"]) + 1e-9


def test_every_metric_states_what_it_is():
    for name, metric in ALL.items():
        assert metric.name == name == metric.compute.__name__
        assert metric.equation.startswith(("mean_", "sum_"))
        assert all((metric.sign, metric.denominator, metric.source))
        assert ">>>" in metric.compute.__doc__


# --- the literature's numbers


def test_reported_numbers_say_where_they_come_from():
    rows = csv_rows(Path(__file__).parent.parent / "results" / "reported.csv")
    assert list(rows[0]) == ["method", "metric", "value", "unit", "setting", "source", "provenance"]
    for row in rows:
        assert math.isfinite(float(row["value"]))
        assert row["unit"].split()[0] in ("percent", "points")
        assert row["source"].startswith("arXiv:")
        assert row["provenance"].startswith("second-hand: ")
    values = {(row["method"], row["metric"]): row["value"] for row in rows}
    assert values["sft", "average_accuracy"] == "54.0"
    assert values["grpo", "average_accuracy"] == "60.0"
