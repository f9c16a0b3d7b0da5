"""Which training examples a stage keeps."""

from __future__ import annotations

from collections.abc import Sequence

from harness.asking.evaluate import open_pictures
from harness.asking.marking import mark, single_gold
from harness.core import Job, Verdict

CORRECT = 0.5  # accuracy from which a rollout counts as correct; against a single gold answer it is 0 or 1
OPEN_AT_ONCE = 256  # examples whose pictures are in memory at the same time


def solvable(job: Job) -> Sequence[Verdict]:
    """Keep the examples that the policy starting the stage solves at least once (RIF-RFT, arXiv:2507.05386).

    ``scale.rollouts`` replies per example at T = 1 in the paradigm's style, read and marked by the reward's own parser
    against the single gold answer. An example solved every time is kept too. One verdict per example, in their order.
    """
    from harness.asking.engines.transformers import TransformersEngine

    scale, style = job.scale, job.paradigm.style
    engine = TransformersEngine(job.model, scale)
    verdicts: list[Verdict] = []
    for start in range(0, len(job.examples), OPEN_AT_ONCE):
        part = job.examples[start : start + OPEN_AT_ONCE]
        prompts = [(style.ask(task, example), open_pictures(example)) for task, example in part]
        decoding = scale.decodings[style.name]
        groups = engine.sample(prompts, decoding, scale.rollouts, job.seed + start, scale.top_p)
        for (task, example), replies in zip(part, groups, strict=True):
            marks = [mark(task, style, single_gold(example), reply.text) for reply in replies]
            correct = sum(marked.score >= CORRECT for marked in marks)
            tokens = sum(reply.tokens for reply in replies)
            verdicts.append(
                Verdict(id=example.id, kept=correct > 0, correct=correct, rollouts=len(replies), sampled_tokens=tokens)
            )
    return verdicts
