"""Rollouts by vLLM, here a fake that expands marks and keeps features as vLLM does: repairs, guard, and stock TRL."""

from __future__ import annotations

from pathlib import Path

import fake_vllm
import pytest
from fake_vllm import FakeLLM, import_utils
from PIL import Image
from rollout_jobs import SAMPLED, as_stock, differences, job_of, trained

from baselines.advantages import RFT_REMAX
from baselines.rft import RFT_LORA, grpo_trainer
from harness.core import UserError, replace
from harness.scales import TWIN, model_folder
from harness.training import rollouts
from harness.training.advantages import over_greedy
from harness.training.rollouts import refuse_strangers, seeds_of
from harness.training.trainers import load_policy

ROUNDING = 1e-4  # nats


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_vllm.install(monkeypatch)


@pytest.mark.slow
def test_both_engines_agree_on_all_that_is_sampled_while_the_weights_move(tmp_path: Path) -> None:
    trainer = trained(job_of(tmp_path))
    found, (made,) = differences(trainer), FakeLLM.made
    assert len(found) == 2
    assert max(found) < ROUNDING
    assert made.given["model"] == str(model_folder(TWIN))
    assert made.given["dtype"] == "float32"
    assert made.given["generation_config"] == "vllm"
    assert made.given["limit_mm_per_prompt"]["image"] > 1
    assert made.given["max_model_len"] == TWIN.max_prompt_tokens + 32
    forget = ["forget prompts", "forget features", "forget pixels"]
    (one, *_), (other, *_) = [call for call in made.calls if call[0] == "weights"]
    assert one == other == "weights"
    assert [call for call in made.calls if call[0] != "weights"] == [
        *forget,
        ("generate", 32),
        *forget,
        ("generate", 32),
    ]
    moved = trainer.model.model.visual.patch_embed.proj.weight
    assert not moved.equal(trainer.ref_model.model.visual.patch_embed.proj.weight), "or nothing could be stale"


@pytest.mark.slow
def test_stock_trl_is_ended_by_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "mended", as_stock)
    with pytest.raises(
        UserError, match=r"stage seen: vLLM and the policy differ by 0\.\d+ nats a token, 0.05 is the most"
    ):
        trained(job_of(tmp_path))


@pytest.mark.slow
def test_features_that_are_kept_over_an_update_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeLLM, "_forget", lambda self: None)
    first, second = differences(trained(job_of(tmp_path, each=2, epochs={"gqa": 2, "mmlu-pro": 2, "mmmu": 2})))
    assert first < ROUNDING
    assert second > 10 * ROUNDING


def test_asleep_it_is_woken_and_given_the_weights_before_it_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    made = grpo_trainer(job_of(tmp_path, each=1)).vllm_generation
    made.enable_sleep_mode = made._llm_weights_sleeping = True
    made.seeds = [1, 2]
    llm = made.llm
    llm.calls.clear()
    ids = [made.processing_class.tokenizer("What?")["input_ids"]] * 2
    assert made.generate(ids, [[], []], 2)[1] == made.generate(ids, [[], []], 2)[1], "seeds decide"
    wake = [("wake", "kv_cache"), ("generate", 2), ("sleep", 2)]
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "empty_cache", lambda: None)
        count = len(llm.calls)
        made.sync_weights()
    forget = ["forget prompts", "forget features", "forget pixels"]
    weights = ("weights", len(list(made._iter_named_params())))
    assert llm.calls[: count // 2] == [weights, *forget, *wake]
    assert llm.calls[count:] == [("wake", "weights"), *[("weights", 1)] * weights[1], *forget]


def test_seeds_are_each_replys_own_and_a_function_of_job_step_and_rank(tmp_path: Path) -> None:
    job = job_of(tmp_path, each=1)
    drawn = [
        seeds_of(made, step, rank, 64) for made in (job, replace(job, seed=4)) for step in (0, 1) for rank in (0, 1)
    ]
    assert len({seed for seeds in drawn for seed in seeds}) == 8 * 64
    assert seeds_of(job, 1, 1, 64) == drawn[3]


@pytest.mark.parametrize("difference", [0.051, float("nan")])
def test_the_guard_ends_what_is_too_far_apart(tmp_path: Path, difference: float) -> None:
    job = job_of(tmp_path, each=1)
    refuse_strangers(0.05, job)
    with pytest.raises(UserError, match=r"stage seen: vLLM and the policy differ by .* 0.05 is the most") as refused:
        refuse_strangers(difference, job)
    assert "\n" not in str(refused.value)


def test_marks_must_be_as_many_as_pictures() -> None:
    picture = Image.new("RGBA", (48, 48), (1, 2, 3, 0))
    sent = rollouts._asked([7, 5, 5, 5, 8, 7, 5, 8], [picture, picture], 5)
    assert sent["prompt_token_ids"] == [7, 5, 8, 7, 5, 8]
    assert [shown.mode for shown in sent["multi_modal_data"]["image"]] == ["RGB", "RGB"]
    assert rollouts._asked([7, 8], [], 5) == {"prompt_token_ids": [7, 8]}
    with pytest.raises(RuntimeError, match="2 marks for 1 pictures"):
        rollouts._asked([7, 5, 5, 8, 5], [picture], 5)


def test_without_vllm_a_stage_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_utils(), "is_vllm_available", lambda: False)
    with pytest.raises(UserError, match="samples by vLLM, which is not installed: run `pip install"):
        grpo_trainer(job_of(tmp_path, each=1))


@pytest.mark.slow
def test_remax_asks_the_greedy_reply_of_the_same_vllm_and_leaves_the_samples_as_they_are(tmp_path: Path) -> None:
    small = replace(SAMPLED, rollouts=2, prompts_per_update=4)
    job = job_of(tmp_path, RFT_REMAX, small, each=1)
    trainer = trained(job, rate="remax", advantage=over_greedy)
    (made,) = FakeLLM.made
    assert [call for call in made.calls if call[0] == "generate"] == [("generate", 8), ("generate", 4)]
    assert trainer.vllm_generation.temperature == 1.0
    assert max(differences(trainer)) < ROUNDING


@pytest.mark.slow
def test_an_adapter_is_sampled_as_it_is_trained_and_its_base_stays(tmp_path: Path) -> None:
    small = replace(SAMPLED, rollouts=2, prompts_per_update=4, updates_per_rollout_batch=1)
    trainer = trained(job_of(tmp_path, replace(RFT_LORA, rate=1.0), small, each=2))
    base = load_policy(model_folder(TWIN)).state_dict()
    kept = {
        name.replace("base_model.model.", "").replace(".base_layer", ""): value
        for name, value in trainer.model.named_parameters()
    }
    assert all(value.equal(kept[name]) for name, value in base.items() if name in kept)
    assert len([name for name in base if name in kept]) > 80
    assert len(differences(trainer)) == 2
    assert max(differences(trainer)) < ROUNDING
