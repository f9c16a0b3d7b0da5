"""An update in several forward passes is the update in one: same losses, gradients and weights, up to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from noise_jobs import NOISE, SMALL, WORDS, build_bases, item, job, tensors

from baselines.rft import RFT_NOCOT, grpo_trainer
from baselines.sft import SFT, sft_trainer
from harness.core import Paradigm, UserError, replace
from harness.training.grpo import together
from harness.training.launch import train
from harness.training.trainers import micro_batches


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("paradigm", [SFT, replace(RFT_NOCOT, kl=0.5)], ids=["sft", "grpo"])
def test_four_micro_batches_are_one_batch(bases: tuple[Path, Path], tmp_path: Path, paradigm: Paradigm) -> None:
    batch = 8
    scale = replace(SMALL, sft_batch=batch)
    build = sft_trainer if paradigm is SFT else grpo_trainer
    found = {}
    for parts in (1, 4):
        given = replace(scale, micro_batch=batch // parts)
        made = job(bases[0], tmp_path / str(parts), paradigm, examples=uneven(16), scale=given, reference=bases[1])
        trainer = build(made)
        assert trainer.args.per_device_train_batch_size == batch // parts
        found[parts] = updates(trainer)
    assert len(found[1]) == len(found[4]) == (2 if paradigm is SFT else 8)
    for whole, split in zip(found[1], found[4], strict=True):
        assert split == pytest.approx(whole, rel=2e-4, abs=1e-6)


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
