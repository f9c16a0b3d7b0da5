"""The documents that print what results/ holds."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from fake_published import published_run

from harness.core import UserError
from paper_figures.text import Numbers, documents, render


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
