"""The field's metrics: against avalanche-lib, by identities, and on arrays as on numbers."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_matrix import matrices, slowly

from harness.results.flips import Flips
from harness.results.matrix import AccuracyMatrix, from_rows
from harness.results.metrics import ALL, by_column, compute_all, learned
from paper_figures import text, text_metrics

# What avalanche-lib 0.6.0 gives: Forgetting and BWT (avalanche.evaluation.metrics.forgetting_bwt), fed with A[j, j] as
# initial and the rows after it, and ForwardTransfer (.forward_transfer), fed with the base as initial and A[j-1, j].
AVALANCHE = [
    ([[0.32, 0.15], [0.65, 0.07], [0.54, 0.37]], {0: 0.11}, {1: -0.08}),
    (
        [[0.06, 0.51, 0.04, 0.43], [0.07, 0.09, 0.42, 0.83], [0.12, 0.22, 0.63, 0.95], [0.58, 0.4, 0.98, 0.05],
         [0.86, 0.29, 0.14, 0.12]],
        {0: -0.79, 1: -0.07, 2: 0.84},
        {1: -0.42, 2: 0.59, 3: -0.38},
    ),
    (
        [[0.31, 0.82, 0.18, 0.58, 0.64], [0.37, 0.55, 0.06, 0.06, 0.21], [0.68, 0.43, 0.31, 0.59, 0.45],
         [0.3, 0.79, 0.7, 0.24, 0.57], [0.53, 0.88, 0.73, 0.29, 0.98], [0.12, 0.42, 0.76, 0.15, 0.49]],
        {0: 0.25, 1: 0.01, 2: -0.06, 3: 0.14},
        {1: -0.27, 2: 0.13, 3: -0.34, 4: 0.34},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "forgetting", "forward"), AVALANCHE)
def test_transfer_is_what_avalanche_computes(rows, forgetting, forward):
    a = from_rows(rows)
    backward = by_column("backward_transfer", a)
    assert [backward[f"t{j + 1}"] for j in forgetting] == pytest.approx([-lost for lost in forgetting.values()])
    assert compute_all(a)["backward_transfer"] == pytest.approx(-sum(forgetting.values()) / len(forgetting))
    forwards = by_column("forward_transfer", a)
    assert [forwards[f"t{j + 1}"] for j in forward] == pytest.approx(list(forward.values()))
    assert compute_all(a)["forward_transfer"] == pytest.approx(sum(forward.values()) / len(forward))


@st.composite
def whole(draw: st.DrawFn, least: int = 2, most: int = 5) -> AccuracyMatrix:
    """A matrix of at least two tasks with what lies beside it."""
    a = draw(matrices(most=most, least=least, suites=1))
    share = st.floats(0, 0.9, allow_subnormal=False)
    counts = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(50, 100))
    flips = [
        Flips(lost=lost, won=won, right=right, n=200, odds=0.5) for lost, won, right in (draw(counts) for _ in a.tasks)
    ]
    return replace(
        a,
        flips=tuple(flips),
        joint=tuple(draw(share) for _ in a.tasks),
        malformed=tuple(tuple(draw(share) for _ in a.tasks) for _ in a.stages),
    )


def near(left: float | None, right: float | None) -> bool:
    assert left is not None
    assert right is not None
    return math.isclose(left, right, abs_tol=1e-9)


@slowly
@given(whole())
def test_the_metrics_of_the_field_hang_together(a):
    v, last = compute_all(a), len(a.tasks) - 1
    assert near(v["backward_transfer_T"], v["average_accuracy"] - v["learning_accuracy"])
    assert near(v["backward_transfer_T"], v["backward_transfer"] * last / (last + 1))
    assert near(v["format_part"] + v["knowledge_part"], v["backward_transfer"])
    base = sum(a.scores[0]) / len(a.tasks)
    assert near(v["net_learning"], v["learning_accuracy"] - base)
    assert near(v["intransigence"], sum(a.joint) / len(a.tasks) - v["learning_accuracy"])
    assert near(v["fm_lai_T"], (v["fm_lai_T1"] * last + by_column("fm_lai_T", a)[a.tasks[-1]]) / (last + 1))
    assert v["fm_lai_T1"] <= min(0, -v["forgetting_chaudhry"], v["forgetting_since_learned"]) + 1e-9
    assert v["forgetting_since_learned"] <= v["backward_transfer"] + 1e-9
    assert v["forgetting_chaudhry"] >= -v["forgetting_since_learned"] - 1e-9
    left = [row[j] for row, j in ((a.final, j) for j in range(last))]
    kept = sum(left) - sum(a.scores[0][:last])
    gained = sum(a.scores[j + 1][j] - a.scores[0][j] for j in range(last))
    assert v["gain_retained"] is None if gained == 0 else near(v["gain_retained"] * gained, kept)


@slowly
@given(whole())
def test_a_mean_over_all_tasks_is_the_metric_and_the_mean_of_its_tasks(a):
    for name, metric in ALL.items():
        columns = a.suites if metric.of_suites else a.tasks
        assert metric.compute(a, columns) == metric.compute(a), name
        assert metric.compute(a, []) is None, name
        parts = [value for value in by_column(name, a).values() if value is not None]
        if metric.kind != "ratio" and name != "mean_average_accuracy":
            assert near(sum(parts) / len(parts), metric.compute(a)), name


@slowly
@given(st.lists(whole(least=3, most=3), min_size=2, max_size=2))
def test_a_metric_of_arrays_is_the_metric_of_each_number(pair):
    def stacked(rows):
        return tuple(
            tuple(numpy.array([[x, y]]) for x, y in zip(*both, strict=True)) for both in zip(*rows, strict=True)
        )

    both = replace(
        pair[0],
        scores=stacked([a.scores for a in pair]),
        general=stacked([a.general for a in pair]),
        malformed=stacked([a.malformed for a in pair]),
        joint=tuple(numpy.array([[x, y]]) for x, y in zip(*(a.joint for a in pair), strict=True)),
        flips=tuple(
            Flips(
                **{name: numpy.array([[getattr(f, name), getattr(g, name)]]) for name in ("lost", "won", "right")},
                n=200,
                odds=0.5,
            )
            for f, g in zip(*(a.flips for a in pair), strict=True)
        ),
    )
    for name, metric in ALL.items():
        found = metric.compute(both)
        for number, a in enumerate(pair):
            wanted = metric.compute(a)
            if wanted is None:  # a ratio by zero: NaN among numbers
                assert numpy.isnan(found[0, number]), name
            else:
                assert math.isclose(found[0, number], wanted, abs_tol=1e-9), name


def test_a_task_is_learned_by_what_its_own_stage_leaves_above_the_base():
    a = from_rows([[0.2, 0.5, 0.5], [0.9, 0.1, 0.5], [0.2, 0.51, 0.5], [0.2, 0.5, 0.53]])
    assert learned(a) == ("t1", "t3")
    assert learned(a, margin=0.0) == ("t1", "t2", "t3")
    assert learned(from_rows([[0.2, 0.1], [0.9, 0.9]], joint=True)) == ()


def test_the_page_of_the_metrics_is_made_from_the_code(tmp_path):
    template = text.ROOM / "metrics.md.in"
    made = text.render(template.read_text(), text.Numbers(tmp_path))
    page = text.ROOT / text.DOCUMENTS[template.name]
    assert page.read_text() == made, "docs/metrics.md is out of date: python -m paper_figures.text"
    for name, metric in ALL.items():
        assert f"| `{name}` | `{metric.equation}` |" in made


def test_intervals_of_means_cover_what_they_say():
    """The table that benchmarks/coverage.py wrote: 93 to 97%, but for its own error, from three seeds on."""
    with text_metrics.COVERAGE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    error = 2 * (0.95 * 0.05 / 1000) ** 0.5 * 100
    for row in rows:
        for name in ("average accuracy", "net learning", "backward transfer", "general delta"):
            most = 97 if int(row["seeds a side"]) > 2 else 98
            assert 93 - error < float(row[name]) < most + error, (row["seeds a side"], name)
