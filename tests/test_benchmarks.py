"""The benchmark's arithmetic and flags, and that the bare trainer takes the very same steps. Nothing is timed."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from baselines.rft import RFT
from baselines.sft import SFT
from benchmarks import gpu, ranks, speed
from benchmarks.bare import Bare
from harness.asking.styles import COT, DIRECT
from harness.core import Decoding, Example, Paradigm, Progress, Task, UserError, replace
from harness.scales import TWIN


def seconds(*wall: float) -> tuple[tuple[float, float], ...]:
    """Pairs of wall and processor seconds, the latter twice the former."""
    return tuple((value, 2 * value) for value in wall)


def test_the_ratio_is_the_median_of_pairs_and_not_a_pair_of_medians() -> None:
    # The machine was ten times slower during the second pair, and one repetition was disturbed.
    times = speed.Times(ours=seconds(1.1, 11.0, 9.0), theirs=seconds(1.0, 10.0, 1.0))
    assert times.ratio() == pytest.approx(1.1)
    assert times.ratio(1) == pytest.approx(1.1)
    assert times.detail() == "9.00 s / 1.00 s, median of 3 pairs; 1.100 in CPU time"


@pytest.mark.slow
def test_repetitions_take_turns() -> None:
    order: list[str] = []
    times = speed.paired(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert "".join(order) == "ababab"
    assert len(times.ours) == len(times.theirs) == 3
    assert all(wall > 0 for wall, _ in times.ours)


def test_a_finding_says_whether_its_bound_is_kept() -> None:
    finding = speed.Finding(item="run", what="it", value=0.5, unit="s", most=0.5, detail="how")
    assert finding.kept is True
    assert replace(finding, value=0.51).kept is False
    assert replace(finding, most=None).kept is None
    assert speed.line(finding) == "| it | 0.5 s | <= 0.5 s | yes | how |"
    assert "| NO |" in speed.line(replace(finding, value=0.51))
    assert speed.line(replace(finding, most=None)) == "| it | 0.5 s |  |  | how |"


def test_flags() -> None:
    plain = speed.flags().parse_args([])
    assert (plain.only, plain.full, plain.json, plain.model) == (None, False, None, None)
    given = speed.flags().parse_args(["--only", "sft", "--only", "run", "--steps", "4", "--full"])
    assert (given.only, given.steps, given.full) == (["sft", "run"], 4, True)


@pytest.mark.parametrize(
    "wrong",
    [["--only", "all"], ["--steps", "0"], ["--pairs", "-1"], ["--items", "x"], ["--json", "no/such/folder/speed.json"]],
)
def test_a_wrong_flag_is_refused_before_anything_is_measured(
    wrong: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "findings", lambda wanted, work: pytest.fail("measured"))
    with pytest.raises(SystemExit) as end:
        speed.main(wrong)
    assert end.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_items_are_measured_in_their_order_whole_processes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(name: str) -> Any:
        return lambda *rest: asked.append(rest[0] if name == "training" else name) or iter(())  # type: ignore[func-returns-value]

    for name in ("commands", "runs", "training", "evaluation"):
        monkeypatch.setattr(speed, name, note(name))
    parse = speed.flags().parse_args
    assert list(speed.findings(parse([]), Path())) == []
    assert asked == ["commands", "runs", "sft", "grpo", "evaluation"]
    asked.clear()
    assert list(speed.findings(parse(["--only", "grpo", "--only", "run"]), Path())) == []
    assert asked == ["runs", "grpo"]


def test_the_report_is_a_table_and_a_file_and_keeps_what_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = speed.Finding(item="run", what="it", value=2.0, unit="x", most=1.0)

    def break_off(wanted: Any, work: Path) -> Any:
        yield finding
        raise UserError("the machine is gone: get another one")

    monkeypatch.setattr(speed, "findings", break_off)
    assert speed.main(["--json", str(tmp_path / "speed.json")]) == 2
    said = capsys.readouterr()
    assert speed.line(finding) in said.out
    assert said.err == "error: the machine is gone: get another one\n"
    content = json.loads((tmp_path / "speed.json").read_text())
    assert content["findings"] == [
        {"item": "run", "what": "it", "value": 2.0, "unit": "x", "most": 1.0, "detail": "", "kept": False}
    ]
    assert content["machine"]["cores"] >= 1


def test_a_whole_process_is_measured_with_its_children() -> None:
    child = "x = bytearray(3 * 10**8); x[::4096] = b'1' * len(x[::4096])"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    _, peak = speed.whole_process([sys.executable, "-c", parent])
    assert peak >= 0.3
    took, _ = speed.whole_process([sys.executable, "-c", "import time; time.sleep(0.2)"])
    assert took >= 0.2


def test_a_process_that_fails_is_a_fault_with_its_own_last_line() -> None:
    command = [
        sys.executable,
        "-c",
        "import os, sys; print('a\\nwhy ' + os.environ['WHO'], file=sys.stderr); sys.exit(3)",
    ]
    with pytest.raises(UserError, match=r"ended with 3 \(why me\)"):
        speed.whole_process(command, WHO="me")
    assert speed.whole_process(command, codes=(0, 3), WHO="me")[0] > 0


# The bare trainer beside the held one

SMALL = replace(
    TWIN,
    sft_batch=2,
    rollouts=4,
    prompts_per_update=2,
    updates_per_rollout_batch=2,
    decodings={
        "direct": Decoding(name="greedy-4", max_new_tokens=4),
        "cot": Decoding(name="greedy-4", max_new_tokens=4),
    },
    rates={"sft": 3e-3, "grpo": 3e-3},
)


def score_by_hash(answer: str, example: Example) -> float:
    """An arbitrary mark, so that the groups of an untrained policy differ."""
    return hashlib.sha256(answer.encode()).digest()[0] % 4 / 3


@pytest.fixture(scope="module")
def gqa() -> Task:
    """GQA's twin with arbitrary marks."""
    from tasks.gqa import GQA

    return replace(GQA, score=score_by_hash)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, gqa: Task) -> Path:
    """An untrained twin base."""
    from twin_base.model import build

    folder = tmp_path_factory.mktemp("base")
    build(folder, 0, [style.ask(gqa, gqa.twin("train", n)) for n in range(30) for style in (DIRECT, COT)])
    return folder


@pytest.mark.slow
def test_a_stage_has_the_steps_that_were_asked_for(base: Path, gqa: Task, tmp_path: Path) -> None:
    scale = replace(TWIN, model=str(base))

    def items(paradigm: Paradigm, steps: int) -> int:
        return len(speed.job_of(paradigm, scale, gqa, steps, tmp_path).examples)

    assert [items(SFT, steps) for steps in (1, 5)] == [16, 80]
    assert [items(RFT, steps) for steps in (1, 2, 4, 5)] == [8, 16, 32, 64]  # whole rollout batches of four updates


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", [SFT, replace(RFT, style=DIRECT)], ids=["sft", "grpo"])
def test_bare_and_held_trainer_take_the_same_steps(base: Path, gqa: Task, tmp_path: Path, paradigm: Paradigm) -> None:
    from trl import GRPOTrainer, SFTTrainer

    from baselines.rft import grpo_trainer
    from baselines.sft import sft_trainer

    seen: list[Progress] = []
    scale = replace(SMALL, model=str(base))
    job = replace(speed.job_of(paradigm, scale, gqa, 2, tmp_path / "held"), report=seen.append)
    bare = Bare(job)
    trainer = bare.learn(tmp_path / "bare")
    assert bare.steps == trainer.state.global_step == 2
    # TRL's own class, and not one setting apart
    assert type(trainer) is (SFTTrainer if paradigm is SFT else GRPOTrainer)
    held = (sft_trainer if paradigm is SFT else grpo_trainer)(job).args
    # but for the name under which TRL takes the mean over an update's tokens
    names = {field.name for field in fields(held)} - {"output_dir", "loss_type"}
    assert (held.loss_type, trainer.args.loss_type) == (("nll", "nll") if paradigm is SFT else ("dapo", "bnpo"))
    assert {name: getattr(trainer.args, name) for name in names} == {name: getattr(held, name) for name in names}

    weights = speed.learn_held(job).weights
    logged = [entry for entry in trainer.state.log_history if "loss" in entry and "train_runtime" not in entry]
    if paradigm is SFT:
        assert [step.loss for step in seen] == [entry["loss"] for entry in logged]
    else:
        assert [step.reward for step in seen] == 2 * [logged[0]["reward"]]  # one rollout batch for both updates
    assert len(seen) == 2
    before, one, other = ((folder / "model.safetensors").read_bytes() for folder in (base, weights, tmp_path / "bare"))
    assert one != before != other
    if paradigm is SFT:
        assert one == other
    else:
        moved, apart = (speed.distance(folder, weights) for folder in (base, tmp_path / "bare"))
        assert apart < 0.01 * moved


def test_the_gpu_report_says_in_one_line_that_no_gpu_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert gpu.main(["--size", "twin"]) == 2
    assert capsys.readouterr().err == "error: no GPU is here: benchmarks.speed measures on a CPU\n"
    assert ranks.main(["--ranks", "2"]) == 2
    assert capsys.readouterr().err == "error: 2 GPUs are wanted and 0 are here: tests/test_ranks.py tries two CPUs\n"


@pytest.mark.slow
def test_the_larger_model_of_the_gpu_report_is_a_qwen_of_its_size_with_long_pictures(tmp_path: Path) -> None:
    from PIL import Image
    from transformers import AutoModelForImageTextToText

    from harness.asking.engines.transformers import load_processor

    scale = gpu.sizes(tmp_path)["long"]
    model = AutoModelForImageTextToText.from_pretrained(scale.model, local_files_only=True)
    assert model.config.model_type == "qwen2_5_vl"
    assert 50e6 < sum(parameter.numel() for parameter in model.parameters()) < 100e6
    grid = load_processor(Path(scale.model), scale).image_processor(Image.new("RGB", (48, 48)))["image_grid_thw"][0]
    assert int(grid.prod()) // 4 == (gpu.LONG_SIDE // 16) ** 2 == 576  # patches, four of which are one token
