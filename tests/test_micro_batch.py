"""An update in several forward passes is the update in one: same losses, gradients and weights, up to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from noise_jobs import NOISE, SMALL, WORDS, build_bases, item, job, tensors

from baselines.rft import RFT, RFT_NOCOT, grpo_trainer
from baselines.sft import SFT, sft_trainer
from harness.core import Paradigm, UserError, replace
from harness.scales import TWIN
from harness.training.grpo import together
from harness.training.launch import train
from harness.training.ranks import micro_batches

# TRL 1.16 asks for an attribute that transformers 5.23 renamed; run_trainer() silences it, a bare trainer does not.
renamed = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two untrained twin bases that differ in their seed."""
    return build_bases(tmp_path_factory)


def uneven(count: int) -> Any:
    """Examples with targets from one word to six, so that a mean of means is not the mean."""
    made = []
    for n in range(count):
        answer = " ".join(WORDS[: 1 + 5 * (n % 4 == 0)])
        made.append((NOISE, replace(item("train", n, pictures=n % 3), answers=(answer,))))
    return tuple(made)


def updates(trainer: Any) -> list[tuple[float, float]]:
    """Loss and norm of the gradient of each update of a trainer."""
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    return [(entry["loss"], entry["grad_norm"]) for entry in logged]


def assert_equal(whole: list[tuple[float, float]], split: list[tuple[float, float]]) -> None:
    assert len(whole) == len(split) > 1
    for one, other in zip(whole, split, strict=True):
        assert other == pytest.approx(one, rel=2e-4, abs=1e-6)


@pytest.mark.slow
@renamed
def test_four_micro_batches_of_sft_are_one_batch(bases: tuple[Path, Path], tmp_path: Path) -> None:
    found = []
    for micro_batch in (None, 2):
        scale = replace(SMALL, sft_batch=8, micro_batch=micro_batch)
        trainer = sft_trainer(job(bases[0], tmp_path, SFT, examples=uneven(16), scale=scale))
        assert trainer.args.per_device_train_batch_size == (micro_batch or 8)
        found.append(updates(trainer))
    assert_equal(*found)


@pytest.mark.slow
@renamed
def test_four_micro_batches_of_grpo_are_one_batch(tmp_path: Path) -> None:
    """On the twin base, whose replies differ in length: so a mean of the micro-batches' means is not the mean."""
    from benchmarks.speed import job_of
    from tasks.gqa import GQA

    found = []
    for micro_batch in (None, 4):
        scale = replace(TWIN, prompts_per_update=2, updates_per_rollout_batch=2, micro_batch=micro_batch)
        trainer = grpo_trainer(job_of(RFT, scale, GQA, 6, tmp_path))
        assert trainer.args.per_device_train_batch_size == (micro_batch or 16)
        found.append(updates(trainer))
        lengths = [entry["completions/max_length"] - entry["completions/min_length"]
                   for entry in trainer.state.log_history if "completions/max_length" in entry]  # fmt: skip
        assert min(lengths) > 2
    assert_equal(*found)


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", [SFT, RFT_NOCOT], ids=["sft", "grpo"])
def test_a_stage_in_micro_batches_counts_and_learns_the_same(
    bases: tuple[Path, Path], tmp_path: Path, paradigm: Paradigm
) -> None:
    import torch

    made = job(bases[0], tmp_path / "whole", paradigm, examples=uneven(8))
    whole = train(made)
    split = train(replace(made, folder=tmp_path / "split", scale=replace(SMALL, micro_batch=2)))
    assert replace(split, weights=whole.weights) == whole
    before, one, other = (tensors(folder) for folder in (bases[0], whole.weights, split.weights))
    moved = torch.cat([(one[name] - before[name]).flatten() for name in one])
    apart = torch.cat([(one[name] - other[name]).flatten() for name in one])
    assert apart.norm() < 0.02 * moved.norm()


def test_what_does_not_divide_is_refused_in_one_line() -> None:
    for sequences in (4, 8):
        with pytest.raises(UserError, match=rf"^{sequences} sequences .* micro_batch of scale small to a divisor of"):
            micro_batches(replace(SMALL, micro_batch=3), sequences)
        assert micro_batches(SMALL, sequences)["gradient_accumulation_steps"] == 1
        assert micro_batches(replace(SMALL, micro_batch=64), sequences)["per_device_train_batch_size"] == sequences


def test_replies_of_one_prompt_are_dealt_to_the_same_micro_batch() -> None:
    import torch

    owners = [3, 1, 2, 3, 0, 1, 2, 0, 1, 3, 0, 2]
    parts = [
        {
            "owner": torch.tensor(owners[n : n + 3]),
            "ids": 10 * torch.tensor(owners[n : n + 3])[:, None],
            "all": torch.tensor(5),
        }
        for n in range(0, 12, 3)
    ]
    dealt = together(parts)
    assert [part["owner"].tolist() for part in dealt] == [[0] * 3, [1] * 3, [2] * 3, [3] * 3]
    assert all(part["ids"].tolist() == [[10 * n] for n in part["owner"]] for part in dealt)
    assert all(part["all"] == 5 for part in dealt)
