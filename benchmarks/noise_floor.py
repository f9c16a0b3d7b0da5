"""The noise floor: what the metrics show when nothing new was learned.

``more-pretraining`` is a paradigm of one stage that goes on with the base's own pre-training, in both styles, for as
many presentations as a stage of the stream has. What its cells differ by from the base row is no forgetting of a task.

    harness run --plugin benchmarks/noise_floor.py --paradigm more-pretraining --seq default
"""

from __future__ import annotations

from harness.asking.engines.transformers import load_model, load_processor
from harness.asking.styles import DIRECT
from harness.core import Job, Learner, Paradigm, Scale, Stage, Stream, Trained, Work

RATE = 2e-4  # near where the recipe's schedule ends
SKIPPED = 10**7  # items far behind those that the recipe used


def one_stage(stream: Stream) -> tuple[Stage, ...]:
    """A single stage that names the stream's first task, whose training items it does not look at."""
    return (Stage(name="more-pretraining", tasks=stream.tasks[:1]),)


def pretrain_on(job: Job) -> Trained:
    """As many presentations of the pretrain split as the job has, by the recipe's loss, batch and optimiser."""
    import torch

    from twin_base.pretrain import Batches, Recipe, reply_loss, worlds

    recipe = Recipe()
    torch.manual_seed(job.seed)
    processor = load_processor(job.model, job.scale)
    model = load_model(job.model, job.scale.precision).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    batches, size = Batches(processor, worlds(), 0), job.scale.sft_batch
    steps, tokens = len(job.examples) // size, 0
    for step in range(steps):
        start = SKIPPED * (1 + job.seed % 1000) + step * size
        parts = batches.make(range(start, start + size))
        targets = sum(int((part["labels"] >= 0).sum()) for part in parts)
        for part in parts:
            (reply_loss(model, part) / targets).backward()
        tokens += targets
        optimiser.step()
        optimiser.zero_grad()
    weights = job.folder / "weights"
    model.save_pretrained(weights)
    processor.save_pretrained(weights)
    return Trained(weights=weights, optimiser_steps=steps, sampled_tokens=0, trained_tokens=tokens)


def work_of_pretraining(shown: int, paradigm: Paradigm, scale: Scale) -> Work:
    """Whole batches of so many presentations."""
    return Work(steps=shown // scale.sft_batch)


PRETRAINING = Learner(
    name="pretraining",
    version=1,
    train=pretrain_on,
    work=work_of_pretraining,
    obeys=frozenset({"precision", "sft_batch", "min_pixels", "max_pixels"}),
)
MORE_PRETRAINING = Paradigm(name="more-pretraining", learner=PRETRAINING, style=DIRECT, stages=one_stage)
