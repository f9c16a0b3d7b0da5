"""TRL's trainers, held: fp32 master weights, a resume that loses nothing, counted tokens, and a seeing vision tower.

What is held, and why:

- ``Trainer._load_from_checkpoint`` restores 1 of 93 tensors of Qwen2.5-VL (huggingface/transformers #43701); here the
  weights go through ``from_pretrained``. The policy starts from the job's model and a state only replaces its
  weights, so GRPO's reference never comes from a resumed policy.
- TRL switches on bf16 autocast and gradient checkpointing; both are off on a CPU.
- A save is sealed by a file written last; a state without a fitting seal is never resumed from.
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
from harness.core import Job, Progress, Scale, Trained, UserError, digest
from harness.lora import without_renamed
from harness.store.lineage import CARRY
from harness.training import adapters, resume

SAVE_SECONDS = 10.0  # no save sooner than this after the last one,
SAVE_SHARE = 0.04  # and no larger share of the time goes into saving
VISION = ("visual.", "vision_tower.", "vision_model.")


def run_trainer(job: Job, build: Callable[[Job], Any]) -> Trained:
    """Train one stage with the trainer that ``build`` makes, from its last whole state where there is one.

    A job without examples (a filter may drop them all) copies its model: zero steps, zero tokens.

    Raises:
        UserError: where training diverges, or a prompt is longer than the scale allows.
    """
    weights, states, identity = job.folder / "weights", job.folder / "states", _identity(job)
    counts = resume.opened(weights, identity)
    if counts is None:
        resume.remove(weights)
        counts = _train(job, build, weights, states, identity) if job.examples else _copy(job, weights)
        resume.seal(weights, identity, counts)
        gc.collect()  # a trainer and its callbacks know each other: only the collector frees the model
    resume.remove(states)
    return Trained(
        weights=weights,
        optimiser_steps=counts["optimiser_steps"],
        sampled_tokens=counts["sampled_tokens"],
        trained_tokens=counts["trained_tokens"],
        carry=weights / CARRY if (weights / CARRY).is_dir() else None,
    )


def settings(job: Job) -> dict[str, Any]:
    """What all trainers share. Data order and epochs are fixed before, so a trainer sees one epoch, in order."""
    import torch
    from transformers import TrainingArguments

    cpu = not torch.cuda.is_available()
    half = not cpu and job.scale.precision == "bfloat16"
    # transformers renamed the switch in 5.23 and warns about the old name.
    renamed = "activation_checkpointing" in TrainingArguments.__dataclass_fields__
    return {
        "output_dir": str(job.folder / "states"),
        "num_train_epochs": 1,
        "seed": job.seed,
        "data_seed": job.seed,
        "use_cpu": cpu,
        "fp16": False,
        "bf16": half,
        "activation_checkpointing" if renamed else "gradient_checkpointing": half,
        "optim": "adamw_torch",
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_drop_last": False,
        "dataloader_pin_memory": not cpu,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
    }


def micro_batches(scale: Scale, sequences: int) -> dict[str, int]:
    """TRL's settings for an update of so many sequences: ``scale.micro_batch`` of them, at most, in a forward pass.

    Raises:
        UserError: where an update is no whole number of micro-batches.
    """
    size = min(scale.micro_batch or sequences, sequences)
    if sequences % size:
        raise UserError(
            f"{sequences} sequences of a batch are no whole number of micro-batches of {size}: "
            f"set micro_batch of scale {scale.name} to a divisor of {sequences}"
        )
    return {"per_device_train_batch_size": size, "gradient_accumulation_steps": sequences // size}


def policy(job: Job) -> Any:
    """The model that a stage trains: the job's, or its base with an adapter."""
    if job.paradigm.adapter is None:
        return load_policy(job.model)
    return adapters.adapted(load_policy(adapters.stands_under(job)), job)


def load_policy(folder: Path) -> Any:
    """The model of a folder with fp32 master weights: bf16 weights alone would round updates at 1e-6 away.

    Rollouts fill what TRL leaves open from the model's generation settings, so of these only the end tokens are kept.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
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

    class Held(kind):  # type: ignore[misc]
        sampled_tokens = 0
        trained_tokens = 0
        pictured = False

        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            given = inputs["labels"] != -100 if "labels" in inputs else inputs["completion_mask"]
            self.trained_tokens += int(given.sum())
            self.pictured = self.pictured or self.shows_pictures(inputs)
            return super().compute_loss(model, inputs, *rest, **options)

        def shows_pictures(self, inputs: Any) -> bool:
            """Whether a batch has pictures."""
            return inputs.get("pixel_values") is not None

        def counts(self) -> dict[str, int]:
            return {
                "optimiser_steps": self.state.global_step,
                "sampled_tokens": self.sampled_tokens,
                "trained_tokens": self.trained_tokens,
            }

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            state = Path(resume_from_checkpoint)
            if adapters.is_adapted(self.model):
                adapters.restore(self.model, state)
            else:
                self.model.load_state_dict(load_policy(state).state_dict())
            counts = resume.opened(state, _identity(job))
            if counts is None:
                raise RuntimeError(f"{state} changed while it was being resumed from")
            self.sampled_tokens, self.trained_tokens = counts["sampled_tokens"], counts["trained_tokens"]

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            if adapters.is_adapted(self.model):
                adapters.save_state(self.model, Path(output_dir or self.args.output_dir), job)
            else:
                super()._save(output_dir, state_dict)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            states = Path(self.args.output_dir)
            state = states / f"checkpoint-{self.state.global_step}"
            (state / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
            resume.seal(state, _identity(job), self.counts())
            for older in set(states.glob("checkpoint-*/")) - {state}:
                resume.remove(older)

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
    state = resume.last_whole(states, identity)
    with without_renamed():
        trainer.train(resume_from_checkpoint=str(state) if state else None)
    if adapters.is_adapted(trainer.model):
        adapters.save(trainer.model, weights, job)
    else:
        trainer.model.save_pretrained(weights)
    trainer.processing_class.save_pretrained(weights)
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
            if between and state.global_step < state.max_steps and idle >= max(SAVE_SECONDS, self.cost / SAVE_SHARE):
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
            step = Progress(step=state.global_step, steps=state.max_steps, loss=loss, reward=self.reward)
            job.report(step)

    return Watch()


def check_vision(model: Any) -> bool:
    """Whether pictures were seen to train the vision tower; False while the batch had nothing to learn from.

    An adapter of the language model alone leaves the vision tower as it is: there is nothing to be seen.

    Raises:
        RuntimeError: where the language model has a gradient and the vision tower has none.
    """
    trained = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    seen = {True: all(not _is_vision(name) for name, _ in trained), False: False}
    for name, parameter in trained:
        vision = _is_vision(name)
        seen[vision] = seen[vision] or (parameter.grad is not None and bool(parameter.grad.any()))
    if seen[False] and not seen[True]:
        raise RuntimeError("the batch has pictures, but the vision tower got no gradient: it did not run")
    return seen[True]


def _is_vision(name: str) -> bool:
    """Whether a parameter is of the vision tower, by the names that transformers gives towers."""
    return any(tower in name for tower in VISION)


def _identity(job: Job) -> str:
    """Whose state it is: a state is only resumed by the job that saved it."""
    shown = [[task.name, example.id] for task, example in job.examples]
    return digest([job.key, job.paradigm.name, job.stage, job.seed, shown, job.epochs])


def _copy(job: Job, weights: Path) -> dict[str, int]:
    """The job's model, unchanged, as the stage's result."""
    weights.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(job.model, weights)
    return {"optimiser_steps": 0, "sampled_tokens": 0, "trained_tokens": 0}
