"""Supervised fine-tuning on the single gold answer, stage by stage (sft) or on all tasks at once (mtl)."""

from __future__ import annotations

import math
from typing import Any

from harness.asking.chat import literal
from harness.asking.engines.prompts import own_words
from harness.asking.engines.transformers import end_tokens, load_processor
from harness.asking.styles import COT, DIRECT
from harness.core import Example, Job, Learner, Lora, Paradigm, Scale, Task, Trained, Work, joint, replace
from harness.training.presentations import Row, dataset, presentations, question, rounded
from harness.training.ranks import across_ranks, micro_batches
from harness.training.trainers import held, policy, refuse_long, run_trainer, settings


def update_sft(scale: Scale) -> tuple[int, int]:
    """The sequences of an update; each may be learned on any rank."""
    return scale.sft_batch, 1


@across_ranks(update_sft)
def train_sft(job: Job, **changes: Any) -> Trained:
    """Minimise the mean negative log-likelihood of the target's tokens and the end-of-turn token, nothing else.

    One optimiser step is one batch of ``scale.sft_batch``, in forward passes of at most ``scale.micro_batch``. AdamW,
    cosine rate with a warm-up over a tenth of the steps, no weight decay (LLaMA-Factory's, arXiv:2507.05386). The tenth
    is rounded down, where transformers rounds up: a rate that warms up starts at 0, and a stage of one step would learn
    nothing. A last batch that is not full starts again from the first presentation. ``changes`` replace fields of TRL's
    SFTConfig.
    """
    return run_trainer(job, lambda given: sft_trainer(given, **changes))


def target(job: Job, example: Example) -> str:
    """What the reply should be: the gold answer as the paradigm's style writes it."""
    return job.paradigm.style.write(example.answers[0], example.rationale)


def sft_trainer(job: Job, **changes: Any) -> Any:
    """TRL's SFTTrainer for a job, ready to train."""
    from trl import SFTConfig, SFTTrainer

    scale = job.scale
    processor = load_processor(job.model, scale)

    shown = rounded(presentations(job), scale.sft_batch)

    def row(task: Task, example: Example) -> Row:
        said = [{"type": "text", "text": literal(target(job, example))}]
        reply = own_words(processor, [{"role": "assistant", "content": said}])
        return {**question(job.paradigm.style, task, example, processor), "completion": reply}

    chosen = {
        **settings(job),
        **micro_batches(scale, scale.sft_batch),
        "train_sampling_strategy": "sequential",
        "learning_rate": scale.rates["sft"] * job.paradigm.rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup_steps(len(shown) // scale.sft_batch),
        "weight_decay": 0.0,
        "loss_type": "nll",
        "completion_only_loss": True,
        "assistant_only_loss": False,
        "max_length": None,
        "packing": False,
        "padding_free": False,
    }
    model = policy(job)
    trainer = held(SFTTrainer, job)(
        model=model,
        args=SFTConfig(**{**chosen, **changes}),
        train_dataset=dataset(shown, row),
        processing_class=processor,
        data_collator=_collator(processor, end_tokens(model, processor.tokenizer), job),
    )
    # transformers asks the model whether its loss takes the count of an update's tokens, and Qwen2.5-VL says no; but
    # the loss is TRL's, which does. Without it an update of several micro-batches would be the mean of their means.
    trainer.model_accepts_loss_kwargs = True
    return trainer


def _collator(processor: Any, ends: list[int], job: Job) -> Any:
    """TRL's collator, without the line break that the chat template writes after the end of a turn.

    A reply stops at the first token that ends one, so what follows it is never generated and is no target.
    """
    import torch
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    class Collator(DataCollatorForVisionLanguageModeling):  # type: ignore[misc]
        def torch_call(self, examples: list[dict[str, Any]]) -> Any:
            batch = super().torch_call(examples)
            labels = batch["labels"]
            prompts = batch["attention_mask"].sum(1) - (labels != -100).sum(1)
            refuse_long(prompts.tolist(), job)
            ended = torch.isin(labels, torch.tensor(ends)).cumsum(1)
            labels[ended.roll(1, 1).index_fill(1, torch.tensor([0]), 0) > 0] = -100
            return batch

    return Collator(processor=processor, max_length=None, completion_only_loss=True)


def work_sft(shown: int, paradigm: Paradigm, scale: Scale) -> Work:
    """Updates for so many presentations, and the sum of their rates: a tenth of them rising, then half a cosine."""
    steps = math.ceil(shown / scale.sft_batch)
    rise = warmup_steps(steps)
    fall = [0.5 * (1 + math.cos(math.pi * step / max(1, steps - rise))) for step in range(steps - rise)]
    peak = scale.rates["sft"] * paradigm.rate
    return Work(steps=steps, dose=peak * math.fsum([*(step / rise for step in range(rise)), *fall]))


def warmup_steps(steps: int) -> int:
    """A tenth of the steps, rounded down."""
    return steps // 10


LIKELIHOOD = Learner(
    name="sft",
    version=1,
    train=train_sft,
    work=work_sft,
    obeys=frozenset(
        {
            "style", "rate", "adapter", "precision", "sft_batch", "rates", "min_pixels", "max_pixels",
            "max_prompt_tokens", "micro_batch",
        }
    ),
)  # fmt: skip
SFT = Paradigm(name="sft", learner=LIKELIHOOD, style=DIRECT, cite="arXiv:2507.05386")
SFT_COT = replace(SFT, name="sft-cot", style=COT)
MTL = replace(SFT, name="mtl", stages=joint)
# Adapters want about ten times the rate of full fine-tuning. Looked at, not tuned: on the rate grid's stream, split and
# seed (benchmarks/rates.py) three, ten and thirty times gave 39.0, 39.6 and 40.0% where sft's own rate gave 40.4%.
SFT_LORA = replace(SFT, name="sft-lora", adapter=Lora(rank=16, alpha=32), rate=10.0)
