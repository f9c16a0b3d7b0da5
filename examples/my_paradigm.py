"""Paradigms of your own in one file. Use it with `--plugin examples/my_paradigm.py --paradigm rft-anchored`."""

from baselines.rft import RFT
from baselines.sft import SFT, learn_sft
from harness.core import Job, Trained, replace

# One value: reinforcement fine-tuning that is held to the base model instead of the previous stage.
RFT_ANCHORED = replace(RFT, name="rft-anchored", reference="base")


def learn_short(job: Job) -> Trained:
    """A learner of your own: supervised fine-tuning on the first half of a stage's examples."""
    half = job.examples[: max(1, len(job.examples) // 2)]
    return learn_sft(replace(job, examples=half))


SFT_SHORT = replace(SFT, name="sft-short", learn=learn_short)
