"""Paradigms of your own in one file. Use it with `--plugin examples/my_paradigm.py --paradigm rft-anchored`."""

from baselines.rft import RFT
from baselines.sft import LIKELIHOOD, SFT, train_sft, work_sft
from harness.core import Job, Paradigm, Scale, Trained, Work, replace

# One value: reinforcement fine-tuning that is held to the base model instead of the previous stage.
RFT_ANCHORED = replace(RFT, name="rft-anchored", reference="base")


def train_half(job: Job) -> Trained:
    """Supervised fine-tuning on the first half of a stage's examples."""
    half = job.examples[: max(1, len(job.examples) // 2)]
    return train_sft(replace(job, examples=half))


def work_half(shown: int, paradigm: Paradigm, scale: Scale) -> Work:
    """What a plan counts: half as many presentations."""
    return work_sft(max(1, shown // 2), paradigm, scale)


# A learner of your own. It keeps the name sft, by which the scale has its learning rate, and obeys the same fields.
HALF = replace(LIKELIHOOD, train=train_half, work=work_half)
SFT_SHORT = replace(SFT, name="sft-short", learner=HALF)
