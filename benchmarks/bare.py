"""The bare TRL trainer of a job: what the harness's training is measured against."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.core import Job, Paradigm


def is_grpo(paradigm: Paradigm) -> bool:
    """Whether a paradigm learns by GRPO."""
    return paradigm.learner.name == "grpo"


def collator(processor: Any) -> Any:
    """TRL's own collator, but for the line break after a turn's end, which is no target of the harness either."""
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    class Collator(DataCollatorForVisionLanguageModeling):  # type: ignore[misc]
        def torch_call(self, examples: list[dict[str, Any]]) -> Any:
            batch = super().torch_call(examples)
            last = batch["attention_mask"].sum(1) - 1
            batch["labels"].scatter_(1, last[:, None], -100)
            return batch

    return Collator(processor=processor, max_length=None, completion_only_loss=True)


class Bare:
    """The bare TRL trainer of a job: its settings, order, rows and reward; the data ready in memory."""

    def __init__(self, job: Job) -> None:
        """Take the settings from a held trainer, so that they cannot differ, and open all pictures."""
        from baselines.rft import grpo_trainer
        from baselines.sft import sft_trainer, target
        from harness.asking.engines.transformers import load_processor
        from harness.training.presentations import presentations, question, rounded

        self.job = job
        self.grpo = is_grpo(job.paradigm)
        self.args = (grpo_trainer if self.grpo else sft_trainer)(job).args
        if self.grpo:
            self.args.loss_type = "bnpo"  # TRL's own mean over the tokens of one update
        rollouts, updates = (job.scale.rollouts, self.args.steps_per_generation) if self.grpo else (1, 1)
        replies = self.args.per_device_train_batch_size  # of one optimiser step
        self.shown = rounded(presentations(job), replies // rollouts * updates)
        self.steps = len(self.shown) * rollouts // replies
        processor = load_processor(job.model, job.scale)
        self.rows = [question(job.paradigm.style, *pair, processor) for pair in self.shown]
        if not self.grpo:
            for row, (_, example) in zip(self.rows, self.shown, strict=True):
                row["completion"] = [{"role": "assistant", "content": target(job, example)}]

    def trainer(self, folder: Path) -> Any:
        """A new trainer of TRL's own class, and a newly loaded model."""
        from datasets import Dataset
        from transformers import PrinterCallback
        from trl import GRPOTrainer, SFTTrainer

        from harness.asking.engines.transformers import load_processor
        from harness.training.trainers import load_policy

        args = copy.copy(self.args)
        args.output_dir = str(folder)
        processor = load_processor(self.job.model, self.job.scale)
        shared: dict[str, Any] = {
            "model": load_policy(self.job.model),
            "args": args,
            "train_dataset": Dataset.from_dict({"item": list(range(len(self.rows)))}).with_transform(_Ready(self.rows)),
            "processing_class": processor,
        }
        if self.grpo:
            trainer = GRPOTrainer(reward_funcs=self.graded, **shared)
        else:
            trainer = SFTTrainer(data_collator=collator(processor), **shared)
        trainer.remove_callback(PrinterCallback)  # or its lines would cut through ours
        return trainer

    def graded(self, completions: list[Any], item: list[int], **rest: Any) -> list[float]:
        """The harness's reward."""
        from harness.asking.marking import reward

        style = self.job.paradigm.style
        return [
            reward(self.shown[n][0], style, self.shown[n][1], reply[0]["content"])
            for n, reply in zip(item, completions, strict=True)
        ]

    def learn(self, folder: Path) -> Any:
        """Train, and write weights and processor to ``folder``; the trainer."""
        with warnings.catch_warnings():
            # TRL 1.16 asks the model for an attribute that transformers 5.23 renamed.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            trainer = self.trainer(folder)
            trainer.train()
        trainer.model.save_pretrained(folder)
        trainer.processing_class.save_pretrained(folder)
        return trainer


class _Ready:
    """Rows that were made before, by their numbers."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        rows = [self.rows[n] for n in batch["item"]]
        return {"item": batch["item"], **{column: [row[column] for row in rows] for column in rows[0]}}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # datasets hashes its transforms for a cache on disk, which is not used here
