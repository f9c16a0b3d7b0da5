"""TRL's trainers, held: fp32 master weights, a resume that loses nothing, counted tokens, and a seeing vision tower.

What is held, and why, on one device and on several ranks (``harness.training.ranks``):

- ``Trainer._load_from_checkpoint`` restores 1 of 93 tensors of Qwen2.5-VL (huggingface/transformers #43701); here the
  weights go through ``from_pretrained``. The policy starts from the job's model and a state only replaces its
  weights, so GRPO's reference never comes from a resumed policy.
- TRL switches on bf16 autocast and gradient checkpointing; both are off on a CPU.
- A save is sealed by a file written last; a state without a fitting seal is never resumed from.
- Of several ranks each counts its own part, and the main one decides when to save, seals and removes: else they would
  wait for each other for ever, or remove what another one needs.
"""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.asking.engines.transformers import without_settings
from harness.core import Job, Progress, Trained, UserError, digest
from harness.digests import keep_digest
from harness.lora import without_renamed
from harness.store.lineage import CARRY
from harness.training import adapters, resume
from harness.training.ranks import agreed, dealt, is_main, launched
from harness.training.reporting import reporting, settings_of
from harness.training.sharded import placement, save_whole, sharding
from harness.training.vision import check_moved, check_vision, learns_to_see

SAVE_SECONDS = 10.0  # no save sooner than this after the last one,
SAVE_SHARE = 0.04  # and no larger share of the time goes into saving


def run_trainer(job: Job, build: Callable[[Job], Any]) -> Trained:
    """Train one stage with the trainer that ``build`` makes, from its last whole state where there is one.

    A job without examples (a filter may drop them all) copies its model: zero steps, zero tokens.

    Raises:
        UserError: where training diverges, or a prompt is longer than the scale allows.
    """
    weights, states, identity = job.folder / "weights", job.folder / "states", _identity(job)
    counts = agreed(lambda: resume.opened(weights, identity))
    if counts is None:
        agreed(lambda: resume.remove(weights))
        with reporting(job):
            made = (
                _train(job, build, weights, states, identity) if job.examples else agreed(lambda: _copy(job, weights))
            )
        for file in dealt(resume.files_of(weights)):
            keep_digest(file)
        agreed(lambda: resume.seal(weights, identity, made))
        counts = made
        gc.collect()  # a trainer and its callbacks know each other: only the collector frees the model
    agreed(lambda: resume.remove(states))
    return Trained(
        weights=weights,
        optimiser_steps=counts["optimiser_steps"],
        sampled_tokens=counts["sampled_tokens"],
        trained_tokens=counts["trained_tokens"],
        carry=weights / CARRY if (weights / CARRY).is_dir() else None,
    )


def recomputing() -> str:
    """What transformers calls the switch to compute activations again: 5.23 renamed it and warns about the old name."""
    from transformers import TrainingArguments

    new = "activation_checkpointing"
    return new if new in TrainingArguments.__dataclass_fields__ else "gradient_checkpointing"


def settings(job: Job) -> dict[str, Any]:
    """What all trainers share. Data order and epochs are fixed before, so a trainer sees one epoch, in order."""
    import torch

    cpu = not torch.cuda.is_available()
    half = job.scale.precision == "bfloat16" and (launched() or not cpu)
    return {
        "output_dir": str(job.folder / "states"),
        "num_train_epochs": 1,
        "seed": job.seed,
        "data_seed": job.seed,
        "use_cpu": cpu,
        "fp16": False,
        "bf16": half,
        recomputing(): half and not launched(),  # FSDP2's own there
        "optim": "adamw_torch",
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_drop_last": False,
        "dataloader_pin_memory": not cpu,
        **settings_of(job),
        "disable_tqdm": True,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        **sharding(half),
    }


def policy(job: Job) -> Any:
    """The model that a stage trains: the job's, or its base with an adapter."""
    if job.paradigm.adapter is None:
        return load_policy(job.model)
    return adapters.adapted(load_policy(adapters.stands_under(job), adapters.wanted(job).frozen), job)


def load_policy(folder: Path, precision: str = "float32") -> Any:
    """The model of a folder with fp32 master weights: bf16 weights alone would round updates at 1e-6 away.

    Another ``precision`` is for weights that are not trained. Rollouts fill what TRL leaves open from the model's
    generation settings, so of these only the end tokens are kept.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=getattr(torch, precision),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        **placement(),
    )
    without_settings(model)
    return model


def refuse_long(lengths: list[int], job: Job) -> None:
    """Raise UserError where a prompt, in tokens, is longer than the scale allows: cutting it would cut its picture."""
    limit = job.scale.max_prompt_tokens
    if max(lengths) > limit:
        raise UserError(
            f"a prompt of {job.stage.name} has {max(lengths)} tokens, scale {job.scale.name} allows {limit}: "
            "shorten the item or use a scale with a larger max_prompt_tokens"
        )


def held(kind: Any, job: Job) -> Any:
    """The TRL trainer class ``kind`` with the repairs of this file, for one job."""
    import torch

    class Held(kind):  # type: ignore[misc]
        sampled_tokens = 0
        trained_tokens: Any = 0  # of this rank, as a tensor: asking a GPU for the number would wait for it
        pictured = False

        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            given = inputs["labels"] != -100 if "labels" in inputs else inputs["completion_mask"]
            self.trained_tokens = self.trained_tokens + given.sum()
            self.pictured = self.pictured or self.shows_pictures(inputs)
            return super().compute_loss(model, inputs, *rest, **options)

        def shows_pictures(self, inputs: Any) -> bool:
            """Whether a batch has pictures."""
            return inputs.get("pixel_values") is not None

        def counts(self) -> dict[str, int]:
            """What all ranks did together; each of them asks."""
            mine = torch.tensor([int(self.sampled_tokens), int(self.trained_tokens)], device=self.accelerator.device)
            sampled, trained = self.accelerator.reduce(mine).tolist()
            steps = self.state.global_step
            return {"optimiser_steps": steps, "sampled_tokens": sampled, "trained_tokens": trained}

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            state = Path(resume_from_checkpoint)
            if launched():
                super()._load_from_checkpoint(resume_from_checkpoint, model)
            elif adapters.is_adapted(self.model):
                adapters.restore(self.model, state)
            else:
                self.model.load_state_dict(load_policy(state).state_dict())
            counts = agreed(lambda: resume.opened(state, _identity(job)))
            if counts is None:
                raise RuntimeError(f"{state} changed while it was being resumed from")
            if is_main():  # the others begin at 0: the sum is what was counted
                self.sampled_tokens, self.trained_tokens = counts["sampled_tokens"], counts["trained_tokens"]

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            if adapters.is_adapted(self.model):
                adapters.save_state(self.model, Path(output_dir or self.args.output_dir), job)
            else:
                super()._save(output_dir, state_dict)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            states = Path(self.args.output_dir)
            state, counts = states / f"checkpoint-{self.state.global_step}", self.counts()
            for file in dealt(resume.files_of(state)):
                keep_digest(file)  # of large ones; all ranks read, each its part
            agreed(lambda: resume.keep_only(state, _identity(job), counts))

        def create_model_card(self, *rest: Any, **options: Any) -> None:
            """No model card for a resume state."""

        def _send_telemetry(self) -> None:
            """No pings."""

    return Held


def _train(job: Job, build: Callable[[Job], Any], weights: Path, states: Path, identity: str) -> dict[str, int]:
    """Run the trainer to its end and write the weights; the counts of the whole stage, resumed parts included."""
    from transformers import PrinterCallback
    from transformers.utils import logging

    logging.disable_progress_bar()
    trainer = build(job)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_watch(trainer, job))
    state = agreed(lambda: resume.last_whole(states, identity))
    with without_renamed():
        trainer.train(resume_from_checkpoint=str(state) if state else None)
    sees = learns_to_see(trainer.model) and any(example.images for _, example in job.examples)
    save_whole(trainer, weights, job)
    if sees:
        agreed(lambda: check_moved(job.model, weights))
    counts: dict[str, int] = trainer.counts()
    return counts


def _watch(trainer: Any, job: Job) -> Any:
    """A callback that reports steps, saves now and then, and sees that the vision tower learns."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        sees = False
        reward: float | None = None
        saved, cost = time.monotonic(), 0.0

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if not self.sees and trainer.pictured:
                self.sees = check_vision(trainer.model)
            trainer.pictured = False

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            # In the middle of a rollout batch there are sampled replies that a state does not hold.
            updates = getattr(args, "steps_per_generation", 1) // args.gradient_accumulation_steps or 1
            between = state.global_step % updates == 0
            idle = time.monotonic() - self.saved
            due = between and state.global_step < state.max_steps
            # By the main rank's clock: to save is done together.
            if due and agreed(lambda: idle >= max(SAVE_SECONDS, self.cost / SAVE_SHARE)):
                control.should_save = True
                self.saved = time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            self.saved, self.cost = time.monotonic(), time.monotonic() - self.saved

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            if not logs or "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]) or not math.isfinite(logs.get("grad_norm", 0.0)):
                raise UserError(
                    f"{job.paradigm.name} diverged at step {state.global_step} of stage "
                    f"{job.stage.name} (loss {logs['loss']}): lower its learning rate"
                )
            self.reward = logs.get("reward", self.reward)
            loss = logs["loss"] if self.reward is None else None
            at = {"step": state.global_step, "steps": state.max_steps, "tokens": trainer.counts()["trained_tokens"]}
            job.report(Progress(**at, loss=loss, reward=self.reward))

    return Watch()


def _identity(job: Job) -> str:
    """Whose state it is: a state is only resumed by the job that saved it."""
    shown = [[task.name, example.id] for task, example in job.examples]
    return digest([job.key, job.paradigm.name, job.stage, job.seed, shown, job.epochs])


def _copy(job: Job, weights: Path) -> dict[str, int]:
    """The job's model, unchanged, as the stage's result."""
    weights.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(job.model, weights)
    return {"optimiser_steps": 0, "sampled_tokens": 0, "trained_tokens": 0}
