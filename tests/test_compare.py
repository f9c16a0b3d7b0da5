"""Two arms side by side: the three words, the counts, the hard cases, and the command that prints them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy
import pandas
import pytest
from fake_runs import RFT, SFT, SHORT, fake_run, publish

from benchmarks.coverage import World, arm, questions
from harness.command import cli
from harness.core import UserError
from harness.core import replace as other
from harness.results.arms import Arm
from harness.results.compare import HEADLINE, compare
from harness.results.marks_table import of_table
from harness.results.power import forecast
from harness.results.sides import notes, runs_of, side

WORLD = World(items=400, share=1, seed=0.02)


def arms(seeds: int = 3, better: World | None = None, world: World = WORLD) -> tuple[Arm, Arm]:
    rng = numpy.random.default_rng(0)
    asked = questions(world, rng)
    return arm(world, asked, seeds, rng, "a"), arm(better or world, asked, seeds, rng, "b")


def words(one: Arm, two: Arm, *names: str, margin: float = 0.02) -> dict[str, str]:
    found = compare(one, two, names or HEADLINE, margin=margin, replicates=300)
    return {row.metric: row.word for row in found.rows}


def test_an_arm_and_itself_are_equivalent_in_everything() -> None:
    for seeds in (1, 3):
        one, _ = arms(seeds)
        found = compare(one, one)
        assert {row.word for row in found.rows} == {"equivalent"}
        assert [row.metric for row in found.rows] == list(HEADLINE)
        assert all(row.difference.value == row.difference.error == 0 for row in found.rows)
        assert all(counts.right_one == counts.lost_other == 0 for counts in found.items)


@pytest.mark.slow
def test_what_differs_differs_and_what_these_items_cannot_tell_is_said_so() -> None:
    one, two = arms(better=replace(WORLD, forgets=1.0))
    assert words(one, two, "backward_transfer", "net_learning") == {
        "backward_transfer": "differs",
        "net_learning": "cannot tell",
    }
    found = compare(one, two, ["backward_transfer"])
    (row,) = found.rows
    assert row.difference.value == pytest.approx(row.one - row.other)
    assert row.difference.low > row.difference.smallest() > 0
    assert 0 < row.floor < row.difference.value
    assert words(one, two, "net_learning", margin=0.2) == {"net_learning": "equivalent"}
    with pytest.raises(UserError, match="gqa, pathvqa, vizwiz, pope has a single item or picture"):
        compare(*arms(world=replace(WORLD, items=2, share=2)))
    some, fewer = arms(world=replace(WORLD, items=20))
    assert words(some, fewer, "average_accuracy") == {"average_accuracy": "cannot tell"}


@pytest.mark.slow
def test_p_values_are_corrected_by_holm_over_the_metrics_asked() -> None:
    one, two = arms(better=replace(WORLD, forgets=0.3))
    names = ("average_accuracy", "backward_transfer", "net_learning")
    alone = sorted(compare(one, two, [name]).rows[0].p for name in names)
    together = sorted(row.p for row in compare(one, two, names).rows)
    steps = [min(1.0, p * (3 - place)) for place, p in enumerate(alone)]
    assert together == pytest.approx([max(steps[: place + 1]) for place in range(3)])


def test_the_items_are_counted_and_mcnemar_is_exact_for_single_runs() -> None:
    one, two = arms(1, better=replace(WORLD, forgets=1.0))
    found = {row.column: row for row in compare(one, two).items}
    mine, yours = (side.tasks[0].scores[0] for side in (one, two))
    only = int(((mine[-1] > 0) & (yours[-1] == 0)).sum()), int(((mine[-1] == 0) & (yours[-1] > 0)).sum())
    row = found["gqa"]
    assert (row.right_one, row.right_other, row.n) == (*only, 400)
    tail = sum(comb(sum(only), k) for k in range(min(only) + 1)) / 2 ** sum(only)
    assert row.p_right == pytest.approx(min(1.0, 2 * tail))
    lost = ((mine[1] > 0) & (mine[-1] == 0)).astype(int), ((yours[1] > 0) & (yours[-1] == 0)).astype(int)
    assert (row.lost_one, row.lost_other) == (int((lost[0] > lost[1]).sum()), int((lost[0] < lost[1]).sum()))
    assert row.p_lost is not None
    assert row.p_lost < 0.01
    assert found["vizwiz"].lost_one == 0  # the last task has nothing after its own stage
    several = compare(*arms(2)).items[0]
    assert several.p_right is None
    assert 0 < several.right_one < 400


def test_a_task_that_nobody_learned_is_not_among_the_learned() -> None:
    one, two = arms(better=replace(WORLD, forgets=0.5))
    flat = one.tasks[1].scores.copy()
    flat[:] = flat[:, :1]
    still = replace(one, tasks=(one.tasks[0], replace(one.tasks[1], scores=flat), one.tasks[2]))
    found = compare(still, two)
    assert found.learned == ("gqa", "vizwiz")
    row = next(row for row in found.rows if row.metric == "backward_transfer")
    assert row.learned.value == pytest.approx(row.by_column["gqa"].value)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three published seeds of sft and of rft, which forgets more; and one more of sft, not published."""
    root = tmp_path_factory.mktemp("world")
    for paradigm, forgets, seeds in ((SFT, 0.0, 3), (RFT, 0.6, 3)):
        for seed in range(seeds):
            publish(fake_run(root / "runs", paradigm, seed=seed, items=60, forgets=forgets), root / "results")
    fake_run(root / "runs", SFT, seed=9, items=60, forgets=0.0)
    return root


@pytest.fixture
def harness(capsys, monkeypatch, store):
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(store)
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, "--results", "results"])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def named(store: Path, start: str) -> str:
    return next(path.name for path in sorted((store / "runs").glob(f"{start}*")))


def test_the_command_compares_seeds_of_paradigms(harness, store) -> None:
    code, out, err = harness("compare", "sft", "rft", "--metric", "backward_transfer", "--metric", "churn")
    assert (code, err) == (0, "")
    assert "A: sft (3 seeds, direct style)" in out
    assert "note: styles differ: direct against cot" in out
    row = next(line for line in out.splitlines() if line.strip().startswith("backward_transfer"))
    assert row.split()[-1] == "differs"
    assert out.splitlines()[-1].startswith("at a margin of 2 points  differs: backward_transfer")
    arms = side("sft", "", store / "runs", store / "results"), side("rft", "", store / "runs", store / "results")
    (wanted,) = compare(*arms, ["backward_transfer", "churn"]).rows[:1]
    assert f"{100 * wanted.difference.value:+.2f} [{100 * wanted.difference.low:+.2f}" in row


def test_a_run_and_itself_are_equivalent_by_the_command(harness, store) -> None:
    run = named(store, "sft-short-twin-s9")
    code, out, _ = harness("compare", run, str(store / "runs" / run), "--margin", "1")
    assert code == 0
    assert f"note: {run} is one seed: the interval holds the noise of items alone" in out
    row = next(line for line in out.splitlines() if line.strip().startswith("average_accuracy"))
    floor = float(row.split()[-5])  # what two published seeds of sft differ by
    assert 0 < floor < 20
    words = "average_accuracy, net_learning, backward_transfer, loss_rate, general_delta"
    assert out.splitlines()[-1] == f"at a margin of 1 points  equivalent: {words}"


def test_metrics_are_named_with_their_definitions_and_given_for_a_run(harness, store) -> None:
    code, out, _ = harness("metrics")
    assert code == 0
    for text in ("gain_retained", "mean_{j=1..T-1} (A[T,j] - A[j,j])", "SEFE", "tasks with options", "dose"):
        assert text in out
    code, out, _ = harness("metrics", "sft", "--style", "cot")
    assert code == 0
    assert "sft, 3 seeds, cot style: percent and points" in out
    row = next(line for line in out.splitlines() if line.strip().startswith("fm_lai_T1"))
    assert row.count("[") == 2
    code, out, _ = harness("metrics", named(store, "rft-short-twin-s0"))
    assert code == 0
    ends = out[out.index("Scores at the end") :]
    assert ends.count("[") == 1 + 3  # two tasks and a suite
    rows = [line.split() for line in ends.splitlines() if line.strip().startswith(("gqa", "pathvqa", "pope"))]
    unreadable = sum(float(row[-4]) for row in rows)
    assert unreadable > 0  # the made-up replies are empty now and then


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody", "sft"], "nobody is no run in runs or results/runs, no run's folder, and no paradigm"),
        (["sft", "sft", "--metric", "accuracy"], "--metric accuracy is unknown: use one of average_accuracy"),
        (["sft", "sft", "--margin", "0"], "--margin 0 is out of range"),
        (["sft", "rft", "--style", "french"], "nothing of gqa was observed in the french style"),
        (["sft,", "rft"], "a run's name is empty"),
        (["sft,rft", "rft"], "no seeds of one another (they differ in their paradigm)"),
        (["sft,sft", "rft"], "names a run twice"),
        (["missing.csv", "rft"], "missing.csv is not there"),
    ],
)
def test_what_cannot_be_compared_is_one_line(harness, arguments, said) -> None:
    code, out, err = harness("compare", *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


def test_runs_that_share_a_checkpoint_are_no_replicates_and_a_run_stands_on_one_side(store) -> None:
    places = store / "runs", store / "results"
    runs = runs_of("sft", *places)
    mine = side(runs[0].id, "", *places)
    with pytest.raises(UserError, match="stands on both sides"):
        notes(runs[:1], runs, (mine, side("sft", "", *places)))
    record = runs[1].record
    twin = (replace(record.stages[0], key=runs[0].record.stages[0].key), *record.stages[1:])
    shared = other(runs[1], record=other(record, stages=twin))
    from harness.results.arms import arm_of

    with pytest.raises(UserError, match=r"share the stage gqa: they are no replicates"):
        arm_of([runs[0], shared], [{}, {}])
    theirs = replace(mine, name="b", seeds=(runs[1].id,))
    said = notes([runs[0]], [shared], (mine, theirs))
    assert "the two sides share the checkpoints of gqa: no replicates there" in said
    elsewhere = other(shared, record=other(record, base="c" * 64, data={**record.data, "gqa": "other"}))
    with pytest.raises(UserError, match="the test data of gqa differ"):
        notes([runs[0]], [elsewhere], (mine, theirs))
    said = notes([runs[0]], [elsewhere], (mine, theirs), intersect=True)
    assert "the sides differ in more than their paradigm: base model, test data" in said
    lacking = other(runs[1], cells=runs[1].cells[1:])
    assert any(
        "lacks 1 cells (base/gqa/direct first)" in line for line in notes([lacking], [lacking], (theirs, theirs))
    )


def test_a_run_whose_marks_are_not_those_of_its_cells_is_refused(store, tmp_path) -> None:
    run = next((store / "results" / "runs").glob("sft-*"))

    def damaged(change) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / run.name
        shutil.copytree(run, folder)
        table = pandas.read_parquet(folder / "marks.parquet")
        change(table).to_parquet(folder / "marks.parquet")
        return folder

    def swapped(table: pandas.DataFrame) -> pandas.DataFrame:
        return table.assign(stage=table["stage"].replace({1: 2, 2: 1}))

    def edited(table: pandas.DataFrame) -> pandas.DataFrame:
        return table.assign(score=table["score"].where(table.index > 0, 1 - table["score"]))

    refused = {
        "does not follow from its marks": [swapped, edited, lambda table: table[table["stage"] < 2]],
        "an item of a cell twice": [lambda table: pandas.concat([table, table.head(1)])],
        "empty fields": [lambda table: table.assign(score=table["score"].where(table.index > 0))],
        "is missing or damaged": [lambda table: table.drop(columns="group")],
    }
    for said, changes in refused.items():
        for change in changes:
            with pytest.raises(UserError, match=said):
                side(str(damaged(change)), "", store / "runs", store / "results")


def test_a_cell_that_is_missing_is_named_and_undefined(store, tmp_path, harness) -> None:
    run = next((store / "results" / "runs").glob("sft-*"))
    folder = tmp_path / run.name
    shutil.copytree(run, folder)
    lines = (folder / "cells.csv").read_text().splitlines(keepends=True)
    (folder / "cells.csv").write_text("".join(line for line in lines if ",1,gqa,gqa,direct," not in line))
    code, out, _ = harness("compare", str(folder), "rft", "--style", "direct")
    assert code == 0
    assert f"note: {run.name} lacks 1 cells (gqa/gqa/direct first): what needs them is undefined" in out
    assert "backward_transfer is undefined" in out
    assert out.splitlines()[-1].count("average_accuracy") == 1


@pytest.mark.slow
def test_a_table_of_marks_is_an_arm(store, tmp_path, harness) -> None:
    places = store / "runs", store / "results"
    wanted = side("sft", "direct", *places)
    rows = [
        {"run": seed, "stage": stage, "stage_name": name, "task": column.name, "example": item, "group": group,
         "score": column.scores[number, stage, place], "malformed": bool(column.malformed[number, stage, place])}
        for number, seed in enumerate(wanted.seeds)
        for stage, name in enumerate(wanted.stages)
        for column in wanted.columns
        for place, (item, group) in enumerate(zip(column.items, column.groups, strict=True))
    ]  # fmt: skip
    for path in (tmp_path / "marks.csv", tmp_path / "marks.parquet"):
        table = pandas.DataFrame(rows)
        table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
        found = of_table(path)
        assert (found.stages, found.trained) == (wanted.stages, wanted.trained)
        assert [column.name for column in found.suites] == ["pope"]
        assert {row.word for row in compare(found, replace(wanted, seeds=found.seeds)).rows} == {"equivalent"}
    code, out, _ = harness("compare", str(tmp_path / "marks.csv"), "rft", "--style", "direct", "--metric", "churn")
    assert code == 0
    assert "A: marks.csv (3 seeds, own style)" in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": "1.5"}, "a score that is no fraction"),
        ({"score": ""}, "a score that is no fraction"),
        ({"stage": "-1"}, "a stage that is no count"),
        ({"stage": "7"}, "number them from 0, the base, without a gap"),
        ({"example": ""}, "an empty task, example or stage_name"),
        ({"example": "2"}, "an item of a cell twice"),
        ({"stage_name": "pathvqa"}, "names the stage 1 twice"),
        ({"style": "cot"}, "holds the styles cot, direct: name one"),
    ],
)
def test_a_table_that_holds_no_marks_is_refused(tmp_path, change, said) -> None:
    path = tmp_path / "marks.csv"
    row = {"stage": "1", "stage_name": "gqa", "task": "gqa", "example": "1", "score": "1", "style": "direct"}
    base = {**row, "stage": "0", "stage_name": "base"}
    pandas.DataFrame([{**row, **change}, {**row, "example": "2"}, base, {**base, "example": "2"}]).to_csv(
        path, index=False
    )
    with pytest.raises(UserError, match=said):
        of_table(path)
    path.write_text("stage,task\n0,gqa\n")
    with pytest.raises(UserError, match="has no column stage_name, example, score"):
        of_table(path)


def test_a_plan_says_what_could_be_found_by_the_noise_of_published_arms(store) -> None:
    line = forecast("rft", SHORT, "twin", 60, store / "results")
    assert line.startswith("smallest difference in backward transfer that is found with 80% power")
    assert line.endswith("(by the noise of twin/rft and twin/sft)")
    assert forecast("rft", SHORT, "large", 60, store / "results").endswith(", of another stream or scale)")
    assert forecast("rft", other(SHORT, tasks=("gqa",), epochs={"gqa": 1}), "twin", 60, store / "results") == ""
    assert forecast("rft", SHORT, "twin", 60, store / "nothing") == ""
