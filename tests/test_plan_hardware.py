"""Plans for machines that are not here: what a run of the paper's setting takes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from baselines.rft import RFT_LORA
from harness import registry
from harness.budget.hardware import CARDS, Hardware, cpu, named
from harness.command import cli, grid_plan, plan, price, printing
from harness.core import Paradigm, Run, Scale, Stream, UserError, replace
from harness.scales import QWEN25_VL_7B, TWIN
from harness.training.ranks import refuse_unequal
from tests.fake_runs import SFT, fake_run

EIGHT = named("8xh100-80gb")
VLLM = QWEN25_VL_7B
LARGE = replace(VLLM, engine="transformers", rollout_engine="transformers")


@pytest.fixture(autouse=True)
def plans_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts that are too long, and the difference that a run could find, are held elsewhere: they take seconds."""
    monkeypatch.setattr(plan, "settled", lambda run, pictures: run)
    monkeypatch.setattr("harness.command.compare.foreseen", lambda run: "")


def asked(paradigm: str = "rft", scale: Scale = LARGE, **changes) -> Run:
    return Run(
        paradigm=registry.typed(Paradigm, paradigm), stream=registry.typed(Stream, "default"), scale=scale, **changes
    )


def test_the_papers_run_can_be_planned_before_data_and_model_are_here(tmp_path):
    rft, sft = (plan.of(asked(name), tmp_path, EIGHT) for name in ("rft", "sft"))
    assert rft.rollouts == pytest.approx(1.65e6, rel=0.03)
    assert rft.asked == pytest.approx(860_000, rel=0.01)
    assert rft.disk_bytes / 1e9 == pytest.approx(465, rel=0.01)
    assert rft.price.shape.parameters == 8_292_166_656
    assert any(note.startswith("not here, and counted as published: scienceqa, textvqa") for note in rft.notes)
    assert any("35% of 989 TFLOP/s" in note and "no model of this size was measured" in note for note in rft.notes)
    assert sft.price.verdict == "fits"
    assert sft.device_hours == pytest.approx(8 * sft.wall_seconds / 3600)
    assert sft.device_hours < rft.device_hours / 2
    halved = plan.of(asked(scale=replace(LARGE, ranks=16)), tmp_path, replace(EIGHT, count=16))
    training = [sum(stage.seconds for stage in one.stages) for one in (rft, halved)]
    assert training[1] == pytest.approx(training[0] / 2, rel=0.1)
    each = {stage.name: stage.seconds / stage.items for stage in rft.stages}
    assert each["gqa"] < each["textvqa"] < each["vizwiz"], "their pictures are as much larger"


def test_memory_is_refused_in_one_line_that_says_what_to_do(tmp_path):
    for cards, has in (("4xh100-80gb", 4), ("cpu", 0)):
        few = plan.of(asked("sft"), tmp_path, named(cards))
        assert few.seconds == 0.0
        assert any("lacks the cards" in note for note in few.notes)
        with pytest.raises(UserError, match=rf"takes 8 GPUs, and {cards} has {has}: use another scale"):
            plan.refuse(few, tmp_path)
    one = plan.of(asked("sft", replace(LARGE, ranks=0)), tmp_path, EIGHT)
    with pytest.raises(UserError, match=r"takes 16\d\.\d GB of memory at its peak, a card of 8xh100-80gb has 80\.0 GB"):
        plan.refuse(one, tmp_path)
    small = replace(EIGHT, host=48 * 10**9)
    with pytest.raises(UserError, match=r"of the host's memory, 8xh100-80gb has 48\.0 GB: use a host with more"):
        plan.refuse(plan.of(asked("sft"), tmp_path, small), tmp_path)


def test_what_vllm_is_given_is_held_against_what_it_wants(tmp_path):
    fits = plan.of(asked("rft", VLLM), tmp_path, EIGHT)
    assert fits.price.verdict == "fits"
    plan.refuse(fits, tmp_path)
    slow = plan.of(asked("rft", LARGE), tmp_path, EIGHT)
    assert slow.price.verdict == "no", "transformers keeps keys and values of all rollouts at once"
    little = plan.of(asked("rft", replace(VLLM, rollout_memory=0.2)), tmp_path, EIGHT)
    with pytest.raises(
        UserError, match=r"gives vLLM 16\.0 GB of a card, and it wants 23\.\d GB: use a scale whose roll"
    ):
        plan.refuse(little, tmp_path)
    much = plan.of(asked("rft", replace(VLLM, rollout_memory=0.9)), tmp_path, EIGHT)
    with pytest.raises(
        UserError, match=r"72\.0 GB of a card that training needs: use a scale whose .* is 0\.50 or less"
    ):
        plan.refuse(much, tmp_path)
    assert fits.evaluation_seconds < slow.evaluation_seconds


def test_disk_is_refused_on_this_machine_alone(tmp_path):
    here = replace(EIGHT, here=True)
    with pytest.raises(UserError, match=r"the disk of .* but about 464\.\d GB are needed"):
        plan.refuse(replace_disk(plan.of(asked("sft"), tmp_path, here)), tmp_path)
    plan.refuse(plan.of(asked("sft"), tmp_path, EIGHT), tmp_path)


def replace_disk(planned: plan.Plan) -> plan.Plan:
    """The plan, if this disk is too small for it, else one a thousand times as large."""
    import shutil

    free = shutil.disk_usage("/").free
    return planned if free < planned.disk_bytes else replace(planned, disk_bytes=planned.disk_bytes * 1000)


def test_the_twin_is_planned_by_what_was_measured_here_and_by_the_model_elsewhere(tmp_path):
    here = plan.of(asked("sft", TWIN), tmp_path)
    assert here.hardware.here
    assert here.price.verdict == "fits"
    assert "declares" in here.notes[0]
    elsewhere = plan.of(asked("sft", TWIN), tmp_path, named("1xl4-24gb"))
    assert "TFLOP/s" in elsewhere.notes[0]
    assert 0 < elsewhere.seconds < here.seconds
    unknown = Hardware(card=replace(CARDS["l4-24gb"], name="Graphics 9000", flops=0.0), count=1)
    assert plan.of(asked("sft", TWIN), tmp_path, unknown).seconds == 0.0


def test_what_was_measured_here_replaces_the_modelled_time(tmp_path):
    scale = replace(TWIN, seconds={})
    modelled = plan.of(asked("sft", scale), tmp_path)
    assert "GFLOP/s" in modelled.notes[0]
    folder = fake_run(tmp_path, SFT)
    costs = json.loads((folder / "costs.json").read_text())
    stages = {"1": {"optimiser_steps": 20, "seconds": 100.0, "items": 4}}
    (folder / "costs.json").write_text(json.dumps({**costs, "stages": stages}))
    measured = plan.of(asked("sft", scale), tmp_path)
    assert "earlier runs of scale twin" in measured.notes[0]
    assert measured.stages[0].seconds == pytest.approx(5.0 * measured.stages[0].optimiser_steps)
    assert measured.evaluation_seconds == modelled.evaluation_seconds


def test_a_learner_with_means_of_its_own_is_not_judged(tmp_path):
    run = asked("sft")
    foreign = replace(run.paradigm, learner=replace(run.paradigm.learner, name="other", obeys=frozenset({"rates"})))
    rates = {**LARGE.rates, "other": 1e-5}
    found = plan.of(replace(run, paradigm=foreign, scale=replace(LARGE, rates=rates)), tmp_path, EIGHT)
    assert found.price.memory.training == {}
    plan.refuse(found, tmp_path)


def test_sizes_of_a_forward_pass_follow_the_scale():
    def way(paradigm: str, **changes) -> price.Way:
        return price.of(registry.typed(Paradigm, paradigm), replace(LARGE, **changes), EIGHT).way

    rft = way("rft")
    assert (rft.tokens, rft.row, rft.pictures) == (4096 + 8 * 1024, 4096 + 8 * 1024, 1)
    assert (rft.reference, rft.waiting, rft.replies) == (2, 64, "transformers")
    assert way("rft", micro_batch=32).tokens == 4 * rft.tokens
    assert way("rft-nokl").reference == 0
    assert way("rft-nocot").row == 4096 + 8 * 64
    sft = way("sft", micro_batch=1)
    assert (sft.tokens, sft.replies, sft.waiting) == (4096 + 64, "", 0)
    assert way("sft", micro_batch=None).tokens == 2 * sft.tokens, "sixteen targets on eight cards"
    assert price.of(registry.typed(Paradigm, "rft"), TWIN, Hardware(card=cpu(), count=1)).way.reference == 4


def test_the_command_prints_the_plan_and_then_refuses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    words = ["plan", "--paradigm", "rft-lora", "--seq", "default", "--scale", "qwen2.5-vl-3b", "--data", "data"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--hardware", "1xl4-24gb"])
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert "Memory at its peak, of 24.0 GB on 1xl4-24gb: no" in out
    assert err.startswith("error: rft-lora on default, scale qwen2.5-vl-3b, seed 0 takes ")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    words[words.index("qwen2.5-vl-3b")] = "qwen2.5-vl-7b"
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--hardware", "8xh100-80gb"])
    assert ended.value.code == 0, "an adapter is trained on all of a scale's ranks"
    merged = replace(RFT_LORA, adapter=replace(RFT_LORA.adapter, keep="merged"))
    with pytest.raises(UserError, match="rft-lora keeps merged weights or freezes them in bf16, which one rank does"):
        refuse_unequal(merged, QWEN25_VL_7B)


def test_a_plan_prints_its_memory_by_part(tmp_path, capsys):
    printing.plan(printing.console(), plan.of(asked("rft"), tmp_path, EIGHT))
    out = capsys.readouterr().out
    for said in ("weights, gradients, moments", "reference", "whole weights", "sum", "GPU-hours", "host: about"):
        assert said in out
    nobody = replace(LARGE, model="nobody/knows")
    printing.plan(printing.console(), plan.of(asked("rft", nobody), tmp_path, EIGHT))
    out = capsys.readouterr().out
    assert "time not known and disk not known" in out
    assert "no memory, no disk of checkpoints and no time: model nobody/knows is not on this machine" in out


def test_a_grid_counts_what_its_runs_share_once(tmp_path):
    sft, rft = asked("sft", TWIN), asked("rft", TWIN)
    first = sft.stream.tasks[:3]
    short = replace(sft.stream, name="short", tasks=first, epochs={task: sft.stream.epochs[task] for task in first})
    both = grid_plan.of([sft, replace(sft, stream=short)], tmp_path)
    one, two = both.plans
    assert (both.stages, both.distinct) == (10, 7)
    assert both.optimiser_steps == one.optimiser_steps
    assert one.asked < both.asked < one.asked + two.asked, "the base is asked twice: the streams watch other tasks"
    assert one.disk_bytes < both.disk_bytes < one.disk_bytes + two.disk_bytes
    apart = grid_plan.of([sft, rft], tmp_path, named("1xl4-24gb"))
    assert (apart.stages, apart.distinct) == (14, 14)
    assert apart.seconds == pytest.approx(sum(one.wall_seconds for one in apart.plans), rel=0.1)
    assert apart.device_hours == pytest.approx(apart.seconds / 3600)


def test_a_sweeps_file_is_planned_by_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("grid.toml").write_text(
        'paradigms = ["sft"]\nstreams = ["default"]\nscales = ["qwen2.5-vl-7b"]\nseeds = [0, 1]\ndata = "data"\n'
    )

    def said(*words: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["plan", *words])
        return ended.value.code, *capsys.readouterr()

    code, out, err = said("--sweep", "grid.toml", "--hardware", "1xl4-24gb")
    assert (code, err.count("\n")) == (2, 1), err
    assert said("--sweep", "grid.toml", "--seq", "default")[2].startswith("error: --sweep FILE names the runs")
    assert said("--seq", "default")[2].startswith("error: --paradigm is missing")
    Path("grid.toml").write_text('paradigms = ["sft"]\nstreams = ["o1"]\nseeds = [0, 1]\n')
    code, out, err = said("--sweep", "grid.toml")
    assert (code, err) == (0, "")
    assert "2 runs on " in out
    assert "together: 6 stages, 6 of them trained" in out
