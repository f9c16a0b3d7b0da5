"""Tables of accuracies: read strictly, given what they can give, and never a verdict without an interval."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.command import cli
from harness.core import Stream, UserError
from harness.results.matrix import from_rows
from harness.results.metrics import ALL, compute_all
from harness.scoring.accuracies import read, score_matrices
from harness.scoring.evidence import intervals, reasons
from harness.scoring.gate import SHIP, STOP, UNSURE, Interval, decide, judged, parse, verdict

TABLE = "stage,scienceqa,gqa,mmmu\n0,0.61,0.55,0.52\nscienceqa,0.93,0.54,\ngqa,0.90,0.71,0.50\n"


def table(folder: Path, text: str, name: str = "a.csv") -> Path:
    """A file with this text."""
    (folder / name).write_text(text)
    return folder / name


def test_a_table_gives_the_metrics_of_its_cells_and_says_what_it_cannot(tmp_path):
    one = score_matrices([table(tmp_path, TABLE)], "direct")
    (a,) = one.matrices
    assert (a.stages, a.tasks, a.suites) == (("base", "scienceqa", "gqa"), ("scienceqa", "gqa"), ("mmmu",))
    assert a.scores == ((0.61, 0.55), (0.93, 0.54), (0.9, 0.71))
    assert a.general == ((0.52,), (None,), (0.5,))
    found, computed = intervals(one), compute_all(a)
    for name in ALL:
        assert found[name].value == (None if computed[name] is None else pytest.approx(computed[name]))
        assert found[name].low is found[name].high is None
        assert (found[name].value is None) == (name in reasons(one))
    assert round(100 * found["backward_transfer"].value, 2) == -3.0


def test_stages_may_be_numbered_and_empty_fields_are_not_observed(tmp_path):
    numbered = read(table(tmp_path, "stage,gqa,pathvqa\nbase,,0.2\n1,.9,0.3\n2,0.6,8e-1\n"), "direct")
    named = read(table(tmp_path, "stage,gqa,pathvqa\npathvqa,0.6,0.8\ngqa,0.9,0.3\n", "b.csv"), "direct")
    assert numbered.scores == ((None, 0.2), (0.9, 0.3), (0.6, 0.8))
    assert numbered.tasks == ("gqa", "pathvqa")
    assert named.tasks == ("pathvqa", "gqa"), "the order of the stages is that of the rows"
    assert named.scores == ((None, None), (0.8, 0.6), (0.3, 0.9))
    one = score_matrices([table(tmp_path, "stage,gqa,pathvqa\n1,.9,0.3\n2,0.6,0.8\n")], "cot")
    assert reasons(one)["net_learning"] == "not observed: gqa after base, pathvqa after base"


def test_joint_training_has_a_row_of_its_own(tmp_path):
    a = read(table(tmp_path, "stage,gqa,pathvqa\n0,0.1,0.2\njoint,0.6,0.8\n"), "direct")
    assert (a.stages, a.trained, a.ordered) == (("base", "joint"), (("gqa", "pathvqa"),), False)


def test_a_stream_says_which_columns_are_tasks(tmp_path):
    stream = registry.typed(Stream, "o1")
    text = "stage,scienceqa,mmmu,super-clevr,textvqa\n0,.1,.2,.3,.4\n3,.5,.6,.7,.8\n"
    a = read(table(tmp_path, text), "direct", stream)
    assert (a.tasks, a.suites) == (stream.tasks, stream.general)
    assert a.scores == ((0.3, 0.1, 0.4), (None,) * 3, (None,) * 3, (0.7, 0.5, 0.8))
    assert a.general[0] == (0.2, None, None)
    with pytest.raises(UserError, match="has a column gqa, which is not of stream o1"):
        read(table(tmp_path, "stage,gqa\n1,0.5\n"), "direct", stream)
    with pytest.raises(UserError, match="'4' is no stage of super-clevr, scienceqa, textvqa"):
        read(table(tmp_path, "stage,scienceqa\n4,0.5\n"), "direct", stream)


WRONG = {
    "percent": ("stage,gqa\n1,61.3\n", "61.3 is above 1: tables hold fractions, write 0.613 for 61.3%"),
    "a word": ("stage,gqa\n1,high\n", "row 2, gqa: 'high' is no fraction"),
    "not a number": ("stage,gqa\n1,nan\n", "'nan' is no fraction"),
    "negative": ("stage,gqa\n1,-0.5\n", "is no fraction"),
    "a stage twice": ("stage,gqa\n1,0.5\n1,0.5\n", "row 3 is a second row of stage '1'"),
    "base twice": ("stage,gqa\n0,0.5\nbase,0.5\n1,0.2\n", "row 3 is a second row of stage 'base'"),
    "a column twice": ("stage,gqa,gqa\n1,0.5,0.5\n", "has the column gqa twice"),
    "no stage column": ("task,gqa\n1,0.5\n", "has no table"),
    "only the base": ("stage,gqa\n0,0.5\n", "has no row after the base's"),
    "a stage too few": ("stage,gqa,pathvqa\n1,0.5,0.5\n", "has 2 columns and the stages 1: number them from 1 to 2"),
    "a formula": ("stage,=cmd()\n1,0.5\n", "is no name"),
    "a strange stage": ("stage,gqa\ngqa,0.5\npathvqa,0.5\n", "'pathvqa' is no stage of gqa"),
    "cut off": ("stage,gqa\n1,0.5", "is empty or cut off"),
    "no table": ("", "is empty or cut off"),
    "a ragged row": ("stage,gqa\n1,0.5,0.6\n", "row 2 has 3 fields instead of 2"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_malformed_table_is_one_line(tmp_path, what):
    text, words = WRONG[what]
    with pytest.raises(UserError) as refused:
        read(table(tmp_path, text), "direct")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_tables_are_seeds_with_an_interval_over_them(tmp_path):
    from scipy import stats

    values = (0.90, 0.91, 0.86)
    paths = [table(tmp_path, TABLE.replace("0.90", str(value)), f"{value}.csv") for value in values]
    one = score_matrices(paths, "direct")
    found = intervals(one)["backward_transfer"]
    losses = [value - 0.93 for value in values]
    low, high = stats.t.interval(0.95, 2, loc=sum(losses) / 3, scale=stats.sem(losses))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.noise == "seeds"
    (decided,) = judged(parse("backward_transfer>-20", ALL), intervals(one), reasons(one))
    assert (decided.verdict, "without the noise of items" in decided.why) == (SHIP, True)
    other = table(tmp_path, "stage,scienceqa\n1,0.5\n", "other.csv")
    with pytest.raises(UserError, match="has other stages"):
        score_matrices([paths[0], other], "direct")


def test_one_table_never_ships(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path, TABLE)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["score", "--matrix", "a.csv", "--gate", "backward_transfer>-50, loss_rate<90"])
    said = capsys.readouterr().out
    assert stopped.value.code == 4
    assert "cannot tell: backward_transfer is -3.00, but one table of accuracies has no interval" in said
    assert "cannot tell: loss_rate is undefined: a table of accuracies does not say which items flip" in said
    assert (tmp_path / "evidence.json").is_file()


# --- the gate


@given(
    low=st.floats(-1, 1),
    width=st.floats(0, 1),
    bound=st.integers(-100, 100),
    sign=st.sampled_from([">", ">=", "<", "<="]),
)
def test_a_verdict_is_about_the_whole_interval(low, width, bound, sign):
    (rule,) = parse(f"gain{sign}{bound}", ["gain"])
    ends = (low, low + width)
    word = decide(rule, Interval(value=low + width / 2, low=ends[0], high=ends[1])).verdict
    met = [{">": x > rule.bound, ">=": x >= rule.bound, "<": x < rule.bound, "<=": x <= rule.bound}[sign] for x in ends]
    assert word == (SHIP if all(met) else STOP if not any(met) else UNSURE)


def test_one_broken_rule_stops_and_all_must_be_met():
    rules = parse("gain>5,gain<10,churn<5", ["gain", "churn"])
    found = {"gain": Interval(value=0.07, low=0.06, high=0.08)}
    decided = judged(rules, found, {"churn": "not observed: t1 after t2"})
    assert [one.verdict for one in decided] == [SHIP, SHIP, UNSURE]
    assert decided[2].why == "churn is undefined: not observed: t1 after t2"
    assert (verdict(decided[:2]), verdict(decided)) == (SHIP, UNSURE)
    broken = judged(parse("gain>9,churn<5", ["gain", "churn"]), found, {})
    assert verdict(broken) == STOP


@pytest.mark.parametrize(
    "text", ["", "gain", "gain>", ">5", "gain=5", "gain>5;churn<1", "gain>1e3", "gain>5 and churn<1", "gain>nan",
             "__import__('os')>1", "gain>5,", "gain>>5", "gain > - 5", "g" * 65 + ">1"],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(UserError) as refused:
        parse(text, ["gain", "churn"])
    assert "\n" not in str(refused.value)


def test_a_gate_has_an_end():
    with pytest.raises(UserError, match="40 rules: give at most 32"):
        parse(",".join(["gain>1"] * 40), ["gain"])


def test_reasons_are_found_for_every_metric_and_every_shape():
    from harness.scoring.reasons import why_not

    whole = from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]], general=[[0.1]] * 3)
    for name, metric in ALL.items():
        if metric.compute(whole) is None:
            assert why_not(name, whole, items=False), name
    one = from_rows([[0.2], [0.9]])
    assert why_not("backward_transfer", one, items=True) == "one task alone has no earlier one"
    assert why_not("general_delta", one, items=True) == "no general suites"
    assert why_not("retention", from_rows([[0.2, 0.1], [0.0, 0.3], [0.6, 0.8]]), items=True) == "a quotient by zero"
