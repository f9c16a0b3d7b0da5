"""What a run will do and cost, before it does it, and the display that follows it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from harness import registry
from harness.command import plan, progress
from harness.command.units import Units, units_of
from harness.core import Cell, Paradigm, Progress, Run, Scale, Stream, replace
from harness.observe import file_name
from harness.run_inputs import cells_of, observations, run_id
from harness.scales import TWIN, TWIN_LONG
from harness.store.checkpoints import Store
from tests.fake_runs import RFT, RIF_RFT, SFT, fake_run


@pytest.fixture(autouse=True)
def counts_alone(monkeypatch):
    """Plans count; that they also name prompts which are too long is held elsewhere, and takes seconds."""
    monkeypatch.setattr(plan, "settled", lambda run, pictures: run)


def asked(paradigm: str = "rft", **changes) -> Run:
    return Run(
        paradigm=registry.typed(Paradigm, paradigm),
        stream=registry.typed(Stream, "default"),
        scale=registry.typed(Scale, "twin"),
        **changes,
    )


def test_a_plan_counts_what_the_learners_do(tmp_path):
    scale = asked().scale
    sft, rft, rif = (plan.of(asked(name), tmp_path) for name in ("sft", "rft", "rif-rft"))
    assert [stage.name for stage in rft.stages] == list(asked().stream.tasks)
    first = asked().stream.tasks[0]
    shown = scale.train_items // asked().stream.epochs[first] * asked().stream.epochs[first]
    assert sft.stages[0].optimiser_steps == -(-shown // scale.sft_batch)
    assert rft.stages[0].rollouts == rft.stages[0].optimiser_steps * scale.prompts_per_update * scale.rollouts
    assert rft.stages[0].rollouts >= shown * scale.rollouts
    assert rif.rollouts > rft.rollouts
    assert sft.rollouts == 0
    assert rft.cells == 8 * 10 * 2
    assert rft.cell_items <= scale.test_items
    assert plan.of(asked("mtl"), tmp_path).cells == 2 * 10 * 2


def test_a_plan_counts_the_style_that_a_paradigm_brings_along(tmp_path):
    usual = asked("sft")
    scale = replace(usual.scale, decodings={**usual.scale.decodings, "own": usual.scale.decodings["direct"]})
    own = replace(usual, scale=scale, paradigm=replace(usual.paradigm, style=replace(usual.paradigm.style, name="own")))
    assert plan.of(own, tmp_path).cells == 8 * 10 * 3
    assert plan.of(own, tmp_path).evaluation_seconds > plan.of(usual, tmp_path).evaluation_seconds


def test_a_plan_for_few_items(tmp_path):
    few = plan.of(asked(limit=4), tmp_path)
    assert few.cell_items == 4
    assert [stage.items for stage in few.stages] == [4 * epochs for epochs in asked().stream.epochs.values()]
    assert few.stages[0].optimiser_steps == 1
    assert few.seconds < plan.of(asked(), tmp_path).seconds
    assert any("cannot be published" in note for note in few.notes)


def test_a_plan_prices_by_earlier_runs(tmp_path):
    def units() -> Units:
        return units_of(asked("rif-rft"), Store(tmp_path))

    assert units().seconds == TWIN.seconds
    assert "declares" in units().source
    for paradigm in (SFT, RFT, RIF_RFT):
        folder = fake_run(tmp_path, paradigm)
        costs = json.loads((folder / "costs.json").read_text())
        stages = {
            "1": {"optimiser_steps": 20, "seconds": 40.0 if paradigm is SFT else 60.0, "items": 4},
            "2": {"optimiser_steps": 1, "seconds": 9.0},
        }
        if paradigm is RIF_RFT:
            stages["1"]["filter_seconds"] = 8.0
        (folder / "costs.json").write_text(json.dumps({**costs, "stages": stages}))
    assert units().seconds == {**TWIN.seconds, "sft": 2.0, "grpo": 3.0, "solvable": 2.0}
    assert units().of("of nobody") == 3.0, "what was never measured is the costliest that is known"
    assert units().of_item("own", tuple(TWIN.decodings)) == max(units().of(style) for style in TWIN.decodings) < 0.1
    assert str(tmp_path) in units().source
    assert units_of(replace(asked("sft"), scale=TWIN_LONG), Store(tmp_path)).seconds == TWIN_LONG.seconds


HOSTILE = ["half a fi", "[]", "null", '"text"', '{"schema": 2, "id": "x"}', "[" * 10**5]
HOSTILE_STAGES = [
    {"1": {"optimiser_steps": "20", "seconds": "x", "items": [], "filter_seconds": {}, "evaluation_seconds": "y"}},
    {"1": {"optimiser_steps": 20, "seconds": None}, "x": {"optimiser_steps": True, "seconds": -1.0}},
    {"1": {"optimiser_steps": 20, "seconds": 1e999}},
    {"1": None},
    [],
]


@pytest.mark.parametrize("text", HOSTILE + [json.dumps({"stages": stages}) for stages in HOSTILE_STAGES])
def test_costs_that_are_damaged_leave_a_plan_to_the_other_runs(tmp_path, text):
    bad, good = fake_run(tmp_path, SFT), fake_run(tmp_path, RFT)
    costs = json.loads((good / "costs.json").read_text())
    (good / "costs.json").write_text(json.dumps({**costs, "stages": {"1": {"optimiser_steps": 20, "seconds": 60.0}}}))
    known = json.loads(text) if text.startswith('{"stages"') else None
    (bad / "costs.json").write_text(text if known is None else json.dumps({**costs, "id": bad.name, **known}))
    assert units_of(asked("sft"), Store(tmp_path)).seconds == {**TWIN.seconds, "grpo": 3.0}


def test_a_plan_counts_what_the_run_has_done_before(tmp_path):
    fresh, folder = plan.of(asked("mtl"), tmp_path), tmp_path / run_id(asked("mtl"))
    (folder / "replies").mkdir(parents=True)
    for one in cells_of(observations(asked("mtl")))[:10]:
        (folder / "replies" / file_name(one)).touch()
    (folder / "replies" / "9-strange-cot.parquet").touch()
    half = plan.of(asked("mtl"), tmp_path)
    assert half.cells_stored == 10
    assert half.evaluation_left == fresh.evaluation_seconds * (1 - 10 / 40)
    assert half.wall_seconds == pytest.approx(fresh.wall_seconds - fresh.evaluation_seconds / 4)


def test_a_finished_stage_is_in_the_store_also_where_its_run_is_finished_and_it_was_freed(tmp_path, monkeypatch):
    made = fake_run(tmp_path, SFT)
    monkeypatch.setattr(plan, "run_id", lambda run: made.name)
    wanted = replace(asked("sft"), stream=replace(asked("sft").stream, name="short", tasks=("gqa", "pathvqa"),
                     epochs={"gqa": 1, "pathvqa": 1}))  # fmt: skip
    stored = [(stage.stored, stage.seconds) for stage in plan.of(wanted, tmp_path).stages]
    assert stored == [(True, 0.0), (True, 0.0)]
    record = json.loads((made / "run.json").read_text())
    (made / "run.json").write_text(json.dumps({**record, "finished": False}))
    shutil.rmtree(tmp_path / "checkpoints" / record["stages"][1]["key"])
    assert [stage.stored for stage in plan.of(wanted, tmp_path).stages] == [True, False]
    (made / "run.json").write_text(json.dumps(record))
    assert [stage.stored for stage in plan.of(wanted, tmp_path).stages] == [True, True]


def cell(**changes) -> Cell:
    values = dict(
        run="r", stage=0, stage_name="base", task="gqa", style="cot", decoding="greedy-32", scorer="s", engine="e", n=4,
        score=0.5, malformed=0.0, truncated=0.0, weights="w", data="d",
    )  # fmt: skip
    return Cell(**values | changes)


def test_progress_in_plain_lines(tmp_path, capsys):
    planned = plan.of(asked(limit=4), tmp_path)
    with progress.Display(planned, stream=sys.stderr) as display:
        display.stage(1, 7, "scienceqa")
        for step in range(1, 5):
            display.progress(Progress(step=step, steps=4, reward=step / 4))
        display.cell(cell(), 160, 160)
        display.note("stage gqa is in the store")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("stage 1/7 scienceqa")
    assert "step 4/4 reward 1.000" in lines[1]
    assert "cell 160/160 gqa cot 50.0%" in lines[2]
    assert lines[3].startswith("stage gqa is in the store")
    assert len(lines) == 4


def test_time_left_is_what_is_not_done_at_the_measured_speed(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    planned = plan.of(asked(), tmp_path)
    clock = progress.Clock(planned)
    assert clock.left() is None
    now = 2 * planned.evaluation_seconds / 8
    for _ in range(planned.cells // 8):
        clock.cell()
        clock._heard = -1.0
    assert clock.left() == pytest.approx(2 * (planned.seconds - planned.evaluation_seconds / 8), rel=0.05)
