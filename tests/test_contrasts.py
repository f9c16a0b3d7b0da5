"""Intervals on differences between arms, held against the closed form, and the documents that print them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from statistics import fmean, pvariance

import pytest
from fake_published import published_run

from harness.core import UserError
from harness.results.contrasts import Arm, difference
from harness.results.marks import Place, Scores
from harness.results.published import PublishedRun, published
from paper_figures.text import Numbers, documents, render

ITEMS = 400


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PublishedRun:
    """A published run of two tasks and a suite."""
    results = tmp_path_factory.mktemp("results")
    published_run(results)
    return published(results)[0]


def marks(seed: int, level: float, size: int = 1) -> Mapping[Place, Scores]:
    """Made-up marks of every cell; ``size`` items in a row share a group, and then their scores too."""
    rng = Random(seed)
    found = {}
    for stage in range(3):
        for task in ("gqa", "pathvqa", "pope"):
            drawn = [float(rng.random() < level) for _ in range(ITEMS // size)]
            found[stage, task, "direct"] = Scores(
                examples=tuple(f"{task}/{n}" for n in range(ITEMS)),
                groups=tuple(f"{task}/{n // size}" for n in range(ITEMS)),
                scores=tuple(drawn[n // size] for n in range(ITEMS)),
            )
    return found


def arm(run: PublishedRun, *scored: Mapping[Place, Scores]) -> Arm:
    return Arm(runs=[run] * len(scored), marks=scored, style="direct")


def test_the_interval_of_one_seed_is_that_of_paired_items(run: PublishedRun) -> None:
    one, other = marks(0, 0.7), marks(1, 0.5)
    found = difference("general_delta", arm(run, one), arm(run, other))
    paired = [
        (a - b) - (c - d)
        for a, b, c, d in zip(
            one[2, "pope", "direct"].scores,
            one[0, "pope", "direct"].scores,
            other[2, "pope", "direct"].scores,
            other[0, "pope", "direct"].scores,
            strict=True,
        )
    ]
    error = (pvariance(paired) / ITEMS) ** 0.5
    assert found.value == pytest.approx(fmean(paired))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_items_that_share_a_picture_are_drawn_together(run: PublishedRun) -> None:
    wide = difference("average_accuracy", arm(run, marks(0, 0.5, size=4)), arm(run, marks(1, 0.5, size=4)))
    narrow = difference("average_accuracy", arm(run, marks(0, 0.5)), arm(run, marks(1, 0.5)))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(2, rel=0.15)


def test_an_arm_against_itself_has_no_difference_where_its_seeds_agree(run: PublishedRun) -> None:
    same = arm(run, marks(0, 0.6), marks(0, 0.6))
    found = difference("backward_transfer", same, same)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_seeds_that_differ_widen_the_interval(run: PublishedRun) -> None:
    shared = marks(0, 0.6)
    better = {place: Scores(examples=s.examples, groups=s.groups, scores=(1.0,) * ITEMS) for place, s in shared.items()}
    apart = difference("average_accuracy", arm(run, shared, better), arm(run, shared))
    alike = difference("average_accuracy", arm(run, shared, shared), arm(run, shared))
    assert apart.high - apart.low > 10 * (alike.high - alike.low)


def test_other_items_and_metrics_that_are_no_differences_are_refused(run: PublishedRun) -> None:
    other = {
        place: Scores(examples=s.examples, groups=tuple(f"x{g}" for g in s.groups), scores=s.scores)
        for place, s in marks(0, 0.5).items()
    }
    with pytest.raises(UserError, match="not asked the same items of gqa"):
        difference("average_accuracy", arm(run, marks(0, 0.5)), arm(run, other))
    with pytest.raises(UserError, match="fm_lai_T is no mean of differences"):
        difference("fm_lai_T", arm(run, marks(0, 0.5)), arm(run, other))


def test_a_documents_numbers_are_computed_where_its_placeholders_stand(tmp_path: Path) -> None:
    for seed in range(2):
        published_run(tmp_path, seed=seed)
    numbers = Numbers(tmp_path)
    runs = numbers.arm("twin/sft")
    scores = [run.matrix("direct").scores[2][1] for run in runs]
    assert None not in scores
    wanted = f"{100 * fmean(score for score in scores if score is not None):.1f}"
    assert render("a {{cell twin/sft pathvqa pathvqa direct}} b {{seeds twin/sft}}", numbers) == f"a {wanted} b 2"
    assert "± " in render("{{mean twin/sft average_accuracy direct}}", numbers)
    table = render("{{table headline twin}}", numbers)
    assert table.count("\n") == 2
    assert "| `sft` | direct | 2 | " in table


@pytest.mark.parametrize(
    ("text", "said"),
    [("{{mean twin/nobody gain cot}}", "no run of twin/nobody"), ("{{guess twin/sft}}", "is unknown: begin it")],
)
def test_a_placeholder_that_asks_for_what_is_not_there_is_refused(tmp_path: Path, text: str, said: str) -> None:
    published_run(tmp_path)
    with pytest.raises(UserError, match=said):
        render(text, Numbers(tmp_path))


@pytest.mark.slow
def test_the_documents_say_what_results_holds() -> None:
    for path, made in documents().items():
        assert path.read_text() == made, f"{path.name} is out of date: python -m paper_figures.text"
