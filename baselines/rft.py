"""Reinforcement fine-tuning by GRPO (arXiv:2402.03300) as in arXiv:2507.05386, and its ablations, each one field."""

from __future__ import annotations

import math
from typing import Any

from baselines.filtering import SOLVABLE
from harness.asking.engines.transformers import load_processor
from harness.asking.marking import reward
from harness.asking.styles import COT, DIRECT
from harness.core import Example, Job, Learner, Lora, Paradigm, Scale, Task, Trained, UserError, Work, replace
from harness.scales import PLAIN, architecture
from harness.training.adapters import anchor, is_adapted
from harness.training.advantages import Advantage, with_advantage
from harness.training.grpo import held_grpo
from harness.training.presentations import Row, dataset, presentations, question, rounded
from harness.training.ranks import across_ranks, micro_batches
from harness.training.rollouts import mended_rollouts, rollout_settings, with_vllm
from harness.training.sharded import reference_loading
from harness.training.trainers import policy, run_trainer, settings


def update_grpo(scale: Scale) -> tuple[int, int]:
    """The prompts of an update, and the replies to each, which are sampled and scored on one rank."""
    return scale.prompts_per_update, scale.rollouts


@across_ranks(update_grpo)
def train_grpo(job: Job, **changes: Any) -> Trained:
    r"""Sample G replies per prompt and raise what was rewarded above its group.

    With reward r_i of reply i, A_i = (r_i - mean(r)) / (std(r) + 1e-4), ratio = pi(t) / pi_rollout(t) and
    k3 = pi_ref / pi - log(pi_ref / pi) - 1 per token, minimise the mean over the update batch's reply tokens of
    -min(ratio A, clip(ratio, 0.8, 1.3) A) + kl k3. ``scale.updates_per_rollout_batch`` updates follow each rollout
    batch, each on ``scale.prompts_per_update * scale.rollouts`` of its replies, shuffled, in forward passes of at most
    ``scale.micro_batch`` replies; those to one prompt are scored in one sequence (``harness.training.shared_prefix``).
    The loss is in nats; AdamW, constant rate, weight decay 0.01.

    Deviations from the paper's EasyR1: TRL adds 1e-4 to the standard deviation where EasyR1 adds 1e-6 (0.3% of an
    advantage at most, at G = 8); k3 is not clipped to [-10, 10]. A group without difference has A = 0. A last rollout
    batch that is not full starts again from the first presentation; a stage smaller than one rollout batch makes fewer
    updates per rollout batch. ``changes`` replace fields of TRL's GRPOConfig.
    """
    return run_trainer(job, lambda given: grpo_trainer(given, **changes))


def updates_per_rollout_batch(presented: int, scale: Scale) -> int:
    """The scale's number of updates per rollout batch, or as many as so few presentations fill; at least one."""
    return max(1, min(scale.updates_per_rollout_batch, presented // scale.prompts_per_update))


def grpo_trainer(job: Job, rate: str = "grpo", advantage: Advantage | None = None, **changes: Any) -> Any:
    """TRL's GRPOTrainer for a job, ready to train; every setting that moves a number is pinned here.

    ``rate`` names the learner whose learning rate is taken, ``advantage`` is another one than GRPO's.
    """
    from trl import GRPOConfig

    scale, paradigm = job.scale, job.paradigm
    if scale.attention == PLAIN and scale.rollout_engine != "transformers":
        raise UserError(
            f"scale {scale.name} samples by {scale.rollout_engine}, which is known of Qwen-VL alone:"
            ' set rollout_engine to "transformers"'
        )
    trained = held_grpo(job, architecture(job.base or job.model) if scale.attention == "dense" else "")
    processor = load_processor(job.model, scale)
    order = presentations(job)
    updates = updates_per_rollout_batch(len(order), scale)
    shown = rounded(order, scale.prompts_per_update * updates)
    micro = micro_batches(scale, scale.prompts_per_update * scale.rollouts)

    def graded(completions: list[Any], completion_ids: list[list[int]], item: list[int], **rest: Any) -> list[float]:
        trainer.sampled_tokens += sum(len(ids) for ids in completion_ids)
        replies = zip(item, completions, strict=True)
        return [reward(shown[n][0], paradigm.style, shown[n][1], reply[0]["content"]) for n, reply in replies]

    def row(task: Task, example: Example) -> Row:
        return question(paradigm.style, task, example, processor)

    chosen = {
        **settings(job),
        **micro,
        "steps_per_generation": updates * micro["gradient_accumulation_steps"],
        "num_generations": scale.rollouts,
        "num_iterations": 1,
        "shuffle_dataset": False,
        "learning_rate": scale.rates[rate] * paradigm.rate,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.01,
        "loss_type": "dapo",  # the mean over the tokens of one update, as EasyR1's: see held_grpo
        "scale_rewards": "group",
        "multi_objective_aggregation": "sum_then_normalize",
        "importance_sampling_level": "token",
        "epsilon": 0.2,
        "epsilon_high": 0.3,
        "delta": None,
        "beta": paradigm.kl,
        "use_bias_correction_kl": False,  # TRL would weight k3 by the ratio; the paper does not
        "sync_ref_model": False,
        "model_init_kwargs": reference_loading(scale.precision) or None,
        "mask_truncated_completions": False,
        "top_entropy_quantile": 1.0,
        "entropy_coef": 0.0,
        "use_adaptive_entropy": False,
        "disable_dropout": False,
        "cast_lm_head_to_fp32": False,
        "max_completion_length": scale.decodings[paradigm.style.name].max_new_tokens,
        "temperature": 1.0,
        "top_p": scale.top_p,
        "top_k": 0,
        "min_p": None,
        "repetition_penalty": 1.0,
        **rollout_settings(job, processor),
        "log_completions": False,
        "log_multimodal": False,
    }
    kind = trained if scale.rollout_engine == "transformers" else with_vllm(trained, job)
    kind = kind if advantage is None else with_advantage(kind, advantage)
    with mended_rollouts(job):
        trainer = kind(
            model=_policy_beside(job),
            reward_funcs=graded,
            args=GRPOConfig(**{**chosen, **changes}),
            train_dataset=dataset(shown, row),
            processing_class=processor,
        )
    if is_adapted(trainer.model):
        anchor(trainer.model, paradigm.reference)
    elif trainer.ref_model is not None and trainer.ref_model.config._name_or_path != str(job.reference):
        raise RuntimeError(f"the KL reference is {trainer.ref_model.config._name_or_path}, not {job.reference}")
    return trainer


def _policy_beside(job: Job) -> Any:
    """The policy, with its path set to the reference's: TRL loads the KL reference from the policy's path."""
    if job.paradigm.kl and job.reference is None:
        raise ValueError(f"{job.paradigm.name} has a KL term, but the job names no reference")
    model = policy(job)
    if job.reference is not None and not is_adapted(model):
        model.config._name_or_path = str(job.reference)
    return model


def work_grpo(shown: int, paradigm: Paradigm, scale: Scale) -> Work:
    """Updates, and the replies that they are made on, for so many presentations."""
    updates = updates_per_rollout_batch(shown, scale)
    steps = math.ceil(shown / (scale.prompts_per_update * updates)) * updates
    rollouts = steps * scale.prompts_per_update * scale.rollouts
    tokens = rollouts * scale.decodings[paradigm.style.name].max_new_tokens
    return Work(steps=steps, rollouts=rollouts, sampled_tokens=tokens, dose=steps * scale.rates["grpo"] * paradigm.rate)


GRPO = Learner(
    name="grpo",
    version=1,
    train=train_grpo,
    work=work_grpo,
    obeys=frozenset(
        {
            "style", "kl", "reference", "rate", "adapter", "precision", "rollouts", "prompts_per_update",
            "updates_per_rollout_batch", "decodings", "rates", "min_pixels", "max_pixels", "max_prompt_tokens", "top_p",
            "micro_batch", "attention", "rollout_engine", "rollout_memory", "importance_cap",
        }
    ),
    scores=True,
)  # fmt: skip
RFT = Paradigm(name="rft", learner=GRPO, style=COT, kl=0.01, cite="arXiv:2507.05386")
RIF_RFT = replace(RFT, name="rif-rft", select=SOLVABLE)
RFT_NOKL = replace(RFT, name="rft-nokl", kl=0.0)
RFT_NOCOT = replace(RFT, name="rft-nocot", style=DIRECT)
# As sft-lora: 53.0% there, where rft at its own rate gave 55.4%.
RFT_LORA = replace(RFT, name="rft-lora", adapter=Lora(rank=16, alpha=32), rate=10.0)
