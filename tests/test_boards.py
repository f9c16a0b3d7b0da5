"""The arms beside one another: who is best, who cannot be told apart from it, and the pages that say so."""

from __future__ import annotations

import html.parser
import re
import shutil
from pathlib import Path

import pytest

from baselines.rft import RFT_NOCOT
from harness.command import cli
from harness.core import replace
from harness.results import leaderboard
from harness.results.board_pages import latex, markdown, page
from harness.results.compare import compare
from harness.results.references import with_references
from harness.results.seal import refuse_other_files
from harness.results.sides import side
from harness.results.standings import BEST, TABLE, Board, boards, seen_runs
from harness.results.stats import estimates
from tests.fake_runs import MTL, SFT, fake_run, publish

RESULTS = Path(__file__).resolve().parent.parent / "results"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published results of three arms of one group: one that forgets, one that does not, and joint training."""
    place = tmp_path_factory.mktemp("boards")
    for seed in range(3):
        for paradigm, forgets in ((SFT, 0.6), (RFT_NOCOT, 0.0)):
            publish(fake_run(place / "runs", paradigm, seed=seed, forgets=forgets, items=60), place / "results")
    publish(fake_run(place / "runs", MTL, items=60), place / "results")
    return place / "results"


@pytest.mark.slow
def test_a_board_compares_arms_in_one_style_with_the_statistics_of_compare(results):
    both = boards(seen_runs(results)[0])
    assert [board.style for board in both] == ["cot", "direct"]
    for board in both:
        assert [one.seeds for one in board.standings if one.paradigm != "mtl"] == [3, 3]
        known = {one.paradigm: one for one in board.standings}
        arms = {name: side(name, board.style, results, results) for name in known}
        for name in TABLE:
            for paradigm, arm in arms.items():
                assert known[paradigm].estimates[name] == estimates(arm, [name])[name]
        (best,) = [name for name, one in known.items() if one.words.get("backward_transfer") == BEST]
        (row,) = compare(arms["rft-nocot"], arms["sft"], ["backward_transfer"]).rows
        other = {"rft-nocot": "sft", "sft": "rft-nocot"}[best]
        apart = not row.difference.low <= 0 <= row.difference.high
        assert (known[other].words.get("backward_transfer") is None) == apart
        assert "backward_transfer" not in known["mtl"].words
    assert "backward_transfer" not in {**both[1].standings[-1].words}, "the one that forgets is told apart"


def test_a_group_knows_what_joint_training_reaches(results):
    seen, _ = seen_runs(results)
    entry = next(one for one in leaderboard.load(results) if one["paradigm"] == "sft")
    (run,) = [one.run for one in seen if one.run.id == entry["id"]]
    arm = with_references(side(run.id, "", results, results), [run], results)
    assert entry["intransigence"] == round(estimates(arm, ["intransigence"])["intransigence"].value, 6)


def test_low_is_good_where_a_metric_says_so(results):
    direct = boards(seen_runs(results)[0])[1]
    (best,) = [one.paradigm for one in direct.standings if one.words.get("loss_rate") == BEST]
    assert best == "rft-nocot"


class Reader(html.parser.HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data


def test_the_pages_say_the_same_and_no_name_is_markup(results):
    made = boards(seen_runs(results)[0])
    hostile = "<img src=x onerror=alert(1)>|*_&\\input{/etc/passwd}%$#~^"
    made = [replace(one, standings=tuple(replace(arm, paradigm=hostile) for arm in one.standings)) for one in made]
    reader = Reader()
    reader.feed(page(made))
    assert hostile in reader.text
    assert not {"img", "script", "link", "iframe"} & set(reader.tags)
    assert "http" not in page(made).replace("http-equiv", "")
    text = latex(made)
    assert r"\input" not in text
    assert r"\textbackslash{}input\{/etc/passwd\}\%\$\#\textasciitilde{}\textasciicircum{}" in text
    assert all(
        line.count("&") - line.count(r"\&") == len(TABLE) + 2 for line in text.splitlines() if line.endswith(r"\\")
    )
    rows = [line for line in markdown(made).splitlines() if line.startswith("| &lt;img")]
    assert len(rows) == 6
    assert all(len(re.split(r"(?<!\\)\|", line)) == len(TABLE) + 5 for line in rows)
    patterns = {markdown: r"\*\*[+-]?[0-9.]+ \[", latex: r"\\textbf\{[+-]?[0-9.]+ \[", page: r"<strong>[+-]?[0-9.]+ \["}
    for made_by, pattern in patterns.items():
        assert len(re.findall(pattern, made_by(made))) == 2 * len(TABLE)


def test_an_empty_board_is_a_page_too():
    assert page([]).startswith("<!DOCTYPE html>")
    assert markdown([Board(stream="s", scale="x", group="g", style="cot", standings=())]).count("\n") > 3


def test_the_command_rebuilds_all_and_names_what_is_damaged(results, tmp_path, capsys):
    mine = tmp_path / "results"
    shutil.copytree(results, mine)
    for code, err in ((0, ""), (2, "(left out)")):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["leaderboard", "--rebuild", "--results", str(mine)])
        said = capsys.readouterr()
        assert stopped.value.code == code
        assert err in said.err
        assert bool(err) == bool(said.err)
        made = {path.name for path in mine.iterdir()} - {"runs"}
        assert made == {"leaderboard.csv", "leaderboard.md", "leaderboard.tex", "leaderboard.html"}
        (sorted((mine / "runs").iterdir())[0] / "marks.parquet").write_bytes(b"PAR1")
    assert len(leaderboard.load(mine)) == 6


@pytest.mark.slow
def test_what_is_published_is_what_is_rebuilt_byte_for_byte(tmp_path):
    shutil.copytree(RESULTS / "runs", tmp_path / "runs")
    assert leaderboard.rebuild_all(tmp_path) == ()
    for name in ("leaderboard.csv", "leaderboard.md", "leaderboard.tex", "leaderboard.html"):
        assert (tmp_path / name).read_bytes() == (RESULTS / name).read_bytes(), "run `harness leaderboard --rebuild`"


@pytest.mark.parametrize("folder", sorted((RESULTS / "runs").iterdir()), ids=lambda folder: folder.name)
def test_every_published_run_is_as_it_was_sealed(folder):
    refuse_other_files(folder)
