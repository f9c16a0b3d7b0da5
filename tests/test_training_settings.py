"""What a stage's training is told: every setting is ours, and the dose is the sum of the rates that were used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from baselines.rft import RFT, grpo_trainer
from baselines.sft import SFT, sft_trainer
from harness.core import Job, Paradigm, replace
from harness.laws import small_job
from harness.scales import TWIN, model_folder
from harness.training.launch import train
from harness.weights import model_files

POISON = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_new_tokens": 6, "bad_words_ids": [[30]]}


def rates(trainer: Any, job: Job) -> list[float]:
    """The learning rate of each update of a trainer."""
    trainer.job = job
    trainer.train()
    return [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]


@pytest.mark.slow
@pytest.mark.parametrize("build", [sft_trainer, grpo_trainer], ids=["sft", "grpo"])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_dose_is_the_sum_of_the_rates_of_the_updates(build: Any, tmp_path: Path) -> None:
    scale = replace(TWIN, sft_batch=1, rollouts=2, prompts_per_update=2, updates_per_rollout_batch=2)
    paradigm = replace(SFT if build is sft_trainer else RFT, rate=3.0)
    job = small_job(paradigm, scale, model_folder(TWIN), tmp_path)
    used = rates(build(job), job)
    assert len(used) == paradigm.learner.work(16, paradigm, scale).steps
    assert sum(used) == pytest.approx(paradigm.learner.work(16, paradigm, scale).dose, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", [SFT, RFT], ids=["sft", "rft"])
def test_the_models_generation_settings_move_no_weight(paradigm: Paradigm, tmp_path: Path) -> None:
    scale = replace(TWIN, rollouts=4, prompts_per_update=4, updates_per_rollout_batch=2)
    poisoned = tmp_path / "poisoned"
    poisoned.mkdir()
    for file in model_files(model_folder(TWIN)):
        shutil.copy(file, poisoned)
    settings = json.loads((poisoned / "generation_config.json").read_text())
    (poisoned / "generation_config.json").write_text(json.dumps({**settings, **POISON}))
    weights = []
    for number, base in enumerate((model_folder(TWIN), poisoned)):
        place = tmp_path / str(number)
        place.mkdir()
        made = train(small_job(paradigm, scale, base, place))
        weights.append((made.weights / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
