"""RLOO and ReMax as in arXiv:2507.05386: GRPO's clipped loss and KL term with another advantage.

TRL's RLOOTrainer is another algorithm (the KL stands in the reward, the ratio is a sequence's), so it is not used.
"""

from __future__ import annotations

from baselines.rft import RFT, grpo_trainer, update_grpo, work_grpo
from harness.core import Job, Learner, Paradigm, Scale, Trained, Work, replace
from harness.training.advantages import leave_one_out, over_greedy
from harness.training.ranks import across_ranks
from harness.training.trainers import run_trainer


@across_ranks(update_grpo)
def train_rloo(job: Job) -> Trained:
    """GRPO with A_i = r_i - mean of the others' rewards; no division by the standard deviation (arXiv:2402.14740)."""
    return run_trainer(job, lambda given: grpo_trainer(given, rate="rloo", advantage=leave_one_out))


@across_ranks(update_grpo)
def train_remax(job: Job) -> Trained:
    """GRPO with A_i = r_i - reward of the greedy reply (arXiv:2310.10505).

    The greedy replies are made by the weights that sampled, count as sampled tokens, and leave the sampled ones as they
    are; they are not trained on.
    """
    return run_trainer(job, lambda given: grpo_trainer(given, rate="remax", advantage=over_greedy))


def work_rloo(shown: int, paradigm: Paradigm, scale: Scale) -> Work:
    """GRPO's updates and replies, at RLOO's rate."""
    work = work_grpo(shown, paradigm, scale)
    return replace(work, dose=work.steps * scale.rates["rloo"] * paradigm.rate)


def work_remax(shown: int, paradigm: Paradigm, scale: Scale) -> Work:
    """GRPO's updates and replies, and one greedy reply more to every prompt."""
    work = work_grpo(shown, paradigm, scale)
    greedy = work.rollouts // scale.rollouts
    return replace(
        work,
        rollouts=work.rollouts + greedy,
        sampled_tokens=work.sampled_tokens + greedy * scale.decodings[paradigm.style.name].max_new_tokens,
        dose=work.steps * scale.rates["remax"] * paradigm.rate,
    )


RLOO = Learner(name="rloo", version=1, train=train_rloo, work=work_rloo, obeys=RFT.learner.obeys, scores=True)
REMAX = replace(RLOO, name="remax", train=train_remax, work=work_remax)
RFT_RLOO = replace(RFT, name="rft-rloo", learner=RLOO, cite="arXiv:2507.05386, arXiv:2402.14740")
RFT_REMAX = replace(RFT, name="rft-remax", learner=REMAX, cite="arXiv:2507.05386, arXiv:2310.10505")
