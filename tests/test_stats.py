"""Intervals and tests: against closed forms, statsmodels and scipy, and by simulation."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups
from test_matrix import slowly

from benchmarks import coverage, intervals
from benchmarks.coverage import World, arm, questions
from harness.core import UserError
from harness.results.arms import Arm, Column, column_of, paired
from harness.results.cell_interval import cell_interval
from harness.results.marks import Scores
from harness.results.metrics import ALL, compute_all
from harness.results.peaks import null_of_peaks
from harness.results.power import noise_between
from harness.results.resampling import matrix_of, over_seeds
from harness.results.stats import Estimate, differences, estimates, resample

WORLD = World(items=150, share=1)


def arms(seeds: int = 1, world: World = WORLD, other: World | None = None) -> tuple[Arm, Arm]:
    """Two arms that were asked the same items."""
    rng = numpy.random.default_rng(3)
    asked = questions(world, rng)
    return arm(world, asked, seeds, rng, "a"), arm(other or world, asked, seeds, rng, "b")


def changes(of: Arm) -> numpy.ndarray:
    """The change of every item since its task's own stage, mean over the tasks that have one: [seed, item]."""
    early = [column.scores[:, -1] - column.scores[:, own] for own, column in enumerate(of.tasks[:-1], start=1)]
    return numpy.stack(early)


def test_the_interval_of_one_seed_is_that_of_paired_items():
    one, other = arms()
    found = differences(one, other, ["backward_transfer"])["backward_transfer"]
    apart = changes(one)[:, 0] - changes(other)[:, 0]  # [task, item]
    error = (apart.var(axis=1, ddof=1) / apart.shape[1]).sum() ** 0.5 / len(apart)
    assert found.value == pytest.approx(apart.mean())
    assert found.error == pytest.approx(error, rel=0.08)
    assert found.high - found.low == pytest.approx(2 * NormalDist().inv_cdf(0.975) * found.error)
    assert found.noise_of == "none"


def test_items_and_seeds_are_crossed_as_in_a_two_way_clustered_regression():
    of = arm(World(items=300, share=3, seed=0.4), questions(World(items=300, share=3), numpy.random.default_rng(0)), 6,
             numpy.random.default_rng(1))  # fmt: skip
    column = of.tasks[0]
    single = replace(of, tasks=(column,), suites=(), stages=("base", "gqa"), trained=(("gqa",),))
    single = replace(single, tasks=(replace(column, scores=column.scores[:, [0, -1]], malformed=None),))
    found = estimates(single, ["average_accuracy"])["average_accuracy"]
    y = single.tasks[0].scores[:, -1]
    seed, item = (numpy.broadcast_to(shape, y.shape).ravel() for shape in (numpy.arange(6)[:, None], numpy.arange(300)))
    from statsmodels.regression.linear_model import OLS

    fitted = OLS(y.ravel(), numpy.ones(y.size)).fit()
    both, by_seed, by_group = (float(numpy.squeeze(part)) for part in cov_cluster_2groups(fitted, seed, item // 3))
    assert found.value == pytest.approx(y.mean())
    assert found.items == pytest.approx(by_group, rel=0.15)
    assert found.items + found.seeds == pytest.approx(both, rel=0.25)
    assert found.seeds < by_seed


def test_items_that_share_a_picture_are_drawn_together():
    world = replace(WORLD, items=200)
    one, other = arms(world=world)

    def repeated(of: Arm) -> Arm:
        """Every item four times, as items of one picture."""

        def four(column: Column) -> Column:
            scores = numpy.repeat(column.scores, 4, axis=2)
            groups = tuple(numpy.repeat(column.groups, 4))
            items = tuple(f"{group}/{n}" for n, group in enumerate(groups))
            return replace(column, items=items, groups=groups, scores=scores, malformed=None)

        return replace(of, tasks=tuple(map(four, of.tasks)), suites=tuple(map(four, of.suites)))

    once = differences(one, other, ["average_accuracy"])["average_accuracy"]
    four_times = differences(repeated(one), repeated(other), ["average_accuracy"])["average_accuracy"]
    assert four_times.value == pytest.approx(once.value)
    assert four_times.error == pytest.approx(once.error, rel=1e-6)  # four copies say nothing more


def test_few_seeds_have_the_quantile_of_student():
    few = Estimate(value=0.0, items=0.0, seeds=0.01, df=2.0, noise_of="own")
    assert few.high == pytest.approx(0.1 * scipy_stats.t.ppf(0.975, 2))
    both = replace(few, items=0.01)
    assert 0.1 * 1.96 < few.high < both.high == pytest.approx((few.high**2 + (0.1 * 1.959964) ** 2) ** 0.5)


def test_an_arm_of_one_seed_varies_as_the_other_does():
    rng = numpy.random.default_rng(3)
    world = replace(WORLD, seed=0.5)
    asked = questions(world, rng)
    many, single = arm(world, asked, 5, rng, "a"), arm(world, asked, 1, rng, "b")
    found = differences(many, single, ["average_accuracy"])["average_accuracy"]
    assert found.noise_of == "borrowed"
    assert found.df == pytest.approx(4)
    alone = estimates(many, ["average_accuracy"])["average_accuracy"]
    assert found.seeds > 4 * alone.seeds  # 1/5 + 1 of a seed's variance instead of 1/5


def test_the_same_runs_are_paired_seed_by_seed():
    one, _ = arms(seeds=3)
    for name, found in differences(one, one).items():
        if found is not None:
            assert (found.value, found.low, found.high, found.p_value()) == (0.0, 0.0, 0.0, 1.0), name
            assert found.p_equivalent(0.02) == 0.0


variances = st.floats(1e-8, 1e-2)


@slowly
@given(st.floats(-0.2, 0.2), variances, st.sampled_from([0.0, 1e-6, 1e-3]), st.floats(1, 30))
def test_tests_and_intervals_agree(value, items, seeds, df):
    found = Estimate(value=value, items=items, seeds=seeds, df=df, noise_of="own")
    assert (found.p_value() < 0.05 - 1e-9) <= (found.low > 0 or found.high < 0) <= (found.p_value() < 0.05 + 1e-6)
    narrow = found.half(0.9)  # two one-sided tests at 5% are an interval at 90%
    for margin in (0.02, 0.1):
        inside = abs(value) + narrow < margin
        assert (found.p_equivalent(margin) < 0.05 - 1e-6) <= inside <= (found.p_equivalent(margin) < 0.05 + 1e-6)
    assert 0.0 <= found.p_equivalent(0.02) <= 1.0


def test_the_smallest_difference_is_that_of_a_power_analysis():
    found = Estimate(value=0.0, items=0.003**2, seeds=0.0, df=1.0, noise_of="own")
    size = NormalIndPower(ddof=0).solve_power(nobs1=100, alpha=0.05, power=0.8, ratio=0, alternative="two-sided")
    assert found.smallest() == pytest.approx(size * 0.003 * 10, rel=1e-3)


def test_the_replicates_of_all_items_once_are_the_cells():
    of, _ = arms(seeds=2)
    a = over_seeds(matrix_of(of))
    assert a.scores[2][1] == pytest.approx(of.tasks[1].scores[:, 2].mean())
    mean = {name: float(numpy.mean(value)) for name, value in compute_all(matrix_of(of)).items() if value is not None}
    assert mean["backward_transfer"] == pytest.approx(changes(of).mean())
    assert mean["churn"] == pytest.approx(abs(changes(of)).mean())
    assert compute_all(a)["backward_transfer"] == pytest.approx(mean["backward_transfer"])
    drawn = resample(of, replicates=500)
    cell = drawn.cell(2, "pathvqa")
    assert cell.value == pytest.approx(a.scores[2][1])
    tasks = tuple(replace(c, scores=c.scores[:1], malformed=None) for c in of.tasks)
    only = replace(of, seeds=of.seeds[:1], tasks=tasks, suites=())
    single = resample(only, replicates=2000).cell(2, "pathvqa")
    share = single.value
    assert single.error == pytest.approx((share * (1 - share) / 150) ** 0.5, rel=0.08)
    assert resample(of, of).cell(2, "pathvqa").error == 0.0
    assert numpy.mean(drawn.drawn[0].scores[2][1]) == pytest.approx(a.scores[2][1], abs=0.01)


def test_a_missing_cell_leaves_what_needs_it_undefined():
    of, other = arms(seeds=2)
    column = of.tasks[0]
    scores = column.scores.copy()
    scores[1, 1] = numpy.nan
    holed = replace(of, tasks=(replace(column, scores=scores), *of.tasks[1:]))
    found = differences(holed, other)
    gone = {name for name, value in found.items() if value is None}
    assert {"backward_transfer", "learning_accuracy", "loss_rate", "fm_lai_T"} <= gone
    assert not gone & {"average_accuracy", "forward_transfer", "general_delta"}


def test_a_peak_metric_of_a_model_that_forgot_nothing_is_its_null():
    world = replace(WORLD, forgets=0.0, items=100, seed=0.0)
    rng = numpy.random.default_rng(5)
    nulls = [null_of_peaks(arm(world, questions(world, rng), 2, rng), replicates=100) for _ in range(60)]
    for name in ("fm_lai_T1", "forgetting_chaudhry"):
        seen, null = (numpy.array([getattr(one[name], part) for one in nulls]) for part in ("value", "mean"))
        assert abs(seen.mean()) > 0.004, name  # nothing was forgotten, and yet
        apart = seen - null
        assert abs(apart.mean()) < 4 * apart.std() / len(apart) ** 0.5, name
        assert 0.02 < numpy.mean([one[name].as_much for one in nulls]) < 0.98
    forgot = replace(world, forgets=1.0)
    assert null_of_peaks(arm(forgot, questions(world, rng), 3, rng))["fm_lai_T1"].as_much == 0.0


@pytest.mark.parametrize("two", [False, True])
def test_an_interval_holds_the_truth_about_as_often_as_it_says(two):
    found = coverage.measure(World(items=60, seed=0.2), 4, two=two, simulations=120, replicates=200)
    for name in coverage.LINEAR:
        assert 0.87 < found[name] <= 1.0, (name, found[name])  # 95 +- 4 standard errors of 120 simulations


def test_wilson_for_marks_of_0_and_1_and_no_other():
    low, high = cell_interval([1.0] * 30 + [0.0] * 10)
    z, n, p = NormalDist().inv_cdf(0.975), 40, 0.75
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * (p * (1 - p) / n + z * z / 4 / n**2) ** 0.5,
    )
    assert (low, high) == pytest.approx((middle - half, middle + half))
    assert cell_interval([1.0] * 20)[1] == 1.0
    assert 0.8 < cell_interval([1.0] * 20)[0] < 0.9
    partial = [1.0] * 30 + [0.3] * 5 + [0.6] * 5
    low, high = cell_interval(partial)
    error = numpy.std(partial) / 40**0.5
    assert (high - low) == pytest.approx(2 * 1.96 * error, rel=0.2)
    shared = cell_interval(partial, [str(n // 2) for n in range(40)])
    assert shared[1] - shared[0] > 1.2 * (high - low)
    with pytest.raises(ValueError, match="without items"):
        cell_interval([])


def test_other_items_are_refused_or_the_common_ones_are_taken():
    one, other = arms()
    fewer = replace(
        other,
        tasks=tuple(
            replace(c, items=c.items[9::-1], groups=c.groups[9::-1], scores=c.scores[..., 9::-1], malformed=None)
            for c in other.tasks
        ),
        suites=(),
    )
    with pytest.raises(UserError, match=r"not asked the same items of gqa \(10 of 150 and 10 are common\)"):
        paired(one, fewer)
    mine, yours = paired(one, fewer, intersect=True)
    assert mine.tasks[0].items == yours.tasks[0].items == one.tasks[0].items[:10]
    assert (yours.tasks[0].scores == other.tasks[0].scores[..., :10]).all()
    assert mine.suites == yours.suites == ()
    regrouped = replace(other, tasks=tuple(replace(c, groups=("x",) * 150) for c in other.tasks))
    with pytest.raises(UserError, match="grouped differently"):
        paired(one, regrouped)
    with pytest.raises(UserError, match="no task in common"):
        paired(one, replace(other, tasks=(), suites=()))
    cell = Scores(examples=("a", "b"), groups=("a", "b"), scores=(1.0, 0.0))
    others = replace(cell, examples=("a", "c"))
    with pytest.raises(UserError, match="not asked the same items of gqa"):
        column_of("gqa", "cot", [{(0, "gqa", "cot"): cell, (1, "gqa", "cot"): others}], 2)
    with pytest.raises(UserError, match="nothing of gqa was observed in the direct style"):
        column_of("gqa", "direct", [{(0, "gqa", "cot"): cell}], 2)


def test_every_metric_has_an_interval_where_all_is_there():
    of, _ = arms(seeds=3)
    found = estimates(
        replace(of, joint=(0.9, 0.9, 0.9)), [name for name in ALL if name != "chance_adjusted_forgetting"]
    )
    assert all(found.values())


def test_intervals_of_all_metrics_take_seconds():
    """5,000 items and 5 seeds take under 10 s of one idle core: ``python -m benchmarks.intervals``."""
    found = intervals.measure(items=500, seeds=2)
    assert found["two arms, processor"] < 10


def test_what_could_be_found_is_foreseen_from_the_noise_of_arms_that_were_run():
    world = replace(WORLD, items=200, seed=0.1)
    noise = noise_between(*arms(seeds=5, world=world), "backward_transfer")
    found = differences(*arms(seeds=5, world=world), ["backward_transfer"])["backward_transfer"]
    assert (noise.count, noise.tasks) == (200, 2)
    assert noise.smallest(5, 200, 2) == pytest.approx(found.smallest(), rel=0.25)
    assert noise.smallest(5, 200, 2) < noise.smallest(2, 200, 2) > noise.smallest(2, 800, 2)
    assert noise_between(*arms(seeds=1), "backward_transfer") is None
