"""The ledger of claims: strict files, words by intervals alone, and nothing said without runs or their noise."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from baselines.rft import RFT_NOCOT
from harness.command import cli
from harness.core import UserError
from harness.results.claims import FAILS, HOLDS, UNDECIDED, Claim, Part, decide, read_claim, read_claims, word_of
from harness.results.compare import compare
from harness.results.sides import side
from harness.results.standings import seen_runs
from tests.fake_runs import MTL, SFT, fake_run, publish

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published results: three seeds of an arm that forgets, one of an arm that does not, and joint training."""
    place = tmp_path_factory.mktemp("claims")
    for seed in range(3):
        publish(fake_run(place / "runs", SFT, seed=seed, forgets=0.6, items=60), place / "results")
    publish(fake_run(place / "runs", RFT_NOCOT, forgets=0.0, items=60), place / "results")
    publish(fake_run(place / "runs", MTL, items=60), place / "results")
    return place / "results"


def claim(*parts: Part, needs: str = "") -> Claim:
    """A claim of these parts."""
    return Claim(
        name="mine", title="A claim", source="arXiv:0000.00000", number="1", provenance="none", parts=parts,
        written=date(2026, 1, 1), before_runs=True, needs=needs,
    )  # fmt: skip


LESS = Part(one="rft-nocot", other="sft", metric="backward_transfer", rule="above", margin=5.0)
LOST = Part(one="sft", metric="backward_transfer", rule="below", margin=-10.0)


def test_a_word_is_given_by_the_interval_of_the_statistics(results):
    seen, _ = seen_runs(results)
    both, alone, reverse = decide(
        [claim(LESS, LOST), claim(LOST), claim(LESS, Part(one="sft", metric="gain", rule="below", margin=0.0))],
        seen,
        "twin",
    )
    arms = [side(name, "", results, results) for name in ("rft-nocot", "sft")]
    (row,) = compare(*arms, ["backward_transfer"]).rows
    assert both.found[0].estimate == row.difference
    assert (both.word, alone.word, reverse.word) == (HOLDS, HOLDS, FAILS)
    assert [one.word for one in reverse.found] == [HOLDS, FAILS]
    assert both.why == ""


UNKNOWN = {
    "no runs": (Part(one="rft", other="sft", metric="gain", rule="above", margin=0.0), "no runs of rft"),
    "no value": (Part(one="mtl", metric="backward_transfer", rule="above", margin=0.0), "is undefined for mtl"),
    "one seed": (Part(one="rft-nocot", metric="gain", rule="above", margin=0.0), "one seed of rft-nocot"),
    "one seed each": (
        Part(one="rft-nocot", other="mtl", metric="average_accuracy", rule="above", margin=0.0),
        "one seed of rft-nocot and of mtl: the noise of seeds is unknown",
    ),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_nobody_can_know_is_undecided(results, what):
    part, words = UNKNOWN[what]
    (one,) = decide([claim(part)], seen_runs(results)[0], "twin")
    assert one.word == UNDECIDED
    assert words in one.why


def test_one_undecided_part_leaves_a_claim_undecided_and_a_need_is_said(results):
    seen, _ = seen_runs(results)
    near = Part(one="rft-nocot", other="sft", metric="average_accuracy", rule="within", margin=0.01)
    some, none, elsewhere = decide([claim(LOST, near), claim(needs="a probe"), claim(LOST)], seen, "twin")
    assert some.word in (UNDECIDED, FAILS)
    assert (none.word, none.why) == (UNDECIDED, "needs a probe")
    assert decide([claim(LOST)], seen, "twin-long")[0].why == "no runs of sft"
    assert elsewhere.word == HOLDS


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_rules_are_each_others_mirror(margin):
    for low, high in ((0.03, 0.05), (-0.05, -0.03), (-0.01, 0.01), (0.01, 0.03)):
        assert word_of("above", margin, low, high) == word_of("below", -margin, -high, -low)
        assert word_of("within", 0.02, low, high) == word_of("within", 0.02, -high, -low)
        if word_of("within", 0.02, low, high) == HOLDS:
            assert word_of("above", 0.02, low, high) == FAILS


TEXT = (ROOT / "claims" / "01-rft-forgets-less.toml").read_text()
WRONG = {
    "no TOML": ("title = ", "is no claim"),
    "a field too few": (TEXT.replace("source", "origin", 1), "is no claim"),
    "a field too many": ("more = 1\n" + TEXT, "has an unknown field more"),
    "a field of a part": (TEXT + "seed = 3\n", "has an unknown field seed in a part"),
    "an unknown metric": (TEXT.replace('"backward_transfer"', '"bwt"'), "names the metric bwt, which is unknown"),
    "an unknown rule": (TEXT.replace('"above"', '"near"'), "is no claim"),
    "a word for a margin": (TEXT.replace("margin = 0.0", 'margin = "2"'), "is no claim"),
    "no parts": (TEXT.partition("[[parts]]")[0], "wants parts that decide it, or what it needs"),
    "both": ('needs = "more"\n' + TEXT, "and not both"),
    "nothing within": (TEXT.replace('"above"', '"within"'), "a margin of 0 leaves nothing within it"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_malformed_claim_is_one_line(tmp_path, what):
    text, words = WRONG[what]
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UserError) as refused:
        read_claim(tmp_path / "mine.toml")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_claim_of_the_ledger_says_where_it_comes_from():
    ledger = read_claims(ROOT / "claims")
    assert len(ledger) >= 15
    for one in ledger:
        assert "arXiv:" in one.source
        assert one.title
        assert one.number
        assert one.provenance


def test_the_command_prints_every_claim_for_every_scale(results, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["claims", "--results", str(results)])
    said = capsys.readouterr()
    assert stopped.value.code == 0, said.err
    assert "Claims on the scale twin" in said.out
    assert "SFT forgets earlier tasks" in said.out
    assert "needs the probe" in said.out
    assert "written after runs were seen" in " ".join(said.out.split())
    for flags, words in (
        (["--scale", "twins"], "no run of scale 'twins' is published: use one of twin"),
        (["--claims", str(tmp_path / "none")], "is no folder"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["claims", "--results", str(results), *flags])
        said = capsys.readouterr()
        assert (stopped.value.code, said.out) == (2, "")
        assert words in said.err
    with pytest.raises(SystemExit):
        cli.main(["claims", "--results", str(tmp_path)])
    assert "holds no published run" in capsys.readouterr().err
