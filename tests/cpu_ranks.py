"""A plugin that lets ranks run where too few GPUs are: each takes a CPU for its GPU, and gloo for NCCL.

accelerate honours FSDP2 on GPUs alone, so in a rank it is told that its CPU is one. Outside of ranks it is left as it
is. With it come the learners of the tests: they must be importable in a rank, where no test is.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from typing import Any

from baselines.rft import GRPO, RFT, RFT_NOCOT, grpo_trainer, update_grpo
from baselines.sft import LIKELIHOOD, train_sft, update_sft
from harness.core import Job, Learner, Paradigm, Progress, Trained, UserError, replace
from harness.training import trainers
from harness.training.ranks import across_ranks, agreed, world
from harness.training.trainers import run_trainer


def pretend_gpus() -> None:
    """Let accelerate and FSDP2 take this rank's CPU for its GPU, unless there are enough of them."""
    import torch

    if torch.cuda.device_count() >= int(os.environ["WORLD_SIZE"]):
        return
    import torch.distributed.fsdp._fully_shard._fully_shard as sharding
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType
    from torch.distributed.device_mesh import init_device_mesh
    from transformers import training_args

    def gloo(*given: Any, **named: Any) -> Any:
        return "gloo", DistributedType.MULTI_GPU

    def cpu(state: Any) -> None:
        state.device = torch.device("cpu")

    def mesh(*given: Any, **named: Any) -> Any:
        return init_device_mesh("cpu", (torch.distributed.get_world_size(),))

    training_args.is_torch_bf16_gpu_available = lambda: True
    PartialState._prepare_backend = gloo
    PartialState.set_device = cpu
    sharding._init_default_mesh = sharding._init_default_fully_shard_mesh = mesh


def reply_to(prompt: list[int], number: int, words: list[int], end: int) -> list[int]:
    """The reply of that number to a prompt: a function of both alone, of one to four words."""
    drawn = hashlib.sha256(f"{prompt}/{number}".encode()).digest()
    return [*(words[byte % len(words)] for byte in drawn[1 : 2 + drawn[0] % 4]), end]


def with_fixed_replies(trainer: Any) -> Any:
    """The trainer, whose replies do not depend on who samples them."""
    tokenizer = trainer.processing_class.tokenizer
    words = tokenizer(" red green blue dog cat seven", add_special_tokens=False)["input_ids"]

    class Fixed(type(trainer)):  # type: ignore[misc]
        def _generate_single_turn(self, ids: Any, images: Any, fields: Any, rollouts: int, **rest: Any) -> Any:
            made = [reply_to(prompt, n % rollouts, words, tokenizer.eos_token_id) for n, prompt in enumerate(ids)]
            return made, None

    trainer.__class__ = Fixed
    return trainer


def check_reference(trainer: Any) -> None:
    """On ranks the reference lies in parts, layer by layer, and is not trained."""
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    units = [module for module in trainer.ref_model.modules() if isinstance(module, FSDPModule)]
    config = trainer.ref_model.config
    assert len(units) > config.text_config.num_hidden_layers + config.vision_config.depth
    assert all(isinstance(part, DTensor) and not part.requires_grad for part in trainer.ref_model.parameters())


@across_ranks(update_grpo)
def train_fixed(job: Job) -> Trained:
    """GRPO on replies that are the same however many ranks there are."""

    def build(given: Job) -> Any:
        trainer = with_fixed_replies(grpo_trainer(given))
        if world() > 1:
            check_reference(trainer)
        return trainer

    return run_trainer(job, build)


@across_ranks(update_grpo)
def train_agreeing(job: Job) -> Trained:
    """GRPO by a vLLM on each rank; refused where that and the sharded policy do not agree to the end."""
    built: list[Any] = []

    def build(given: Job) -> Any:
        built.append(grpo_trainer(given))
        return built[0]

    found, name = run_trainer(job, build), "sampling/sampling_logp_difference/mean"
    apart = [entry[name] for entry in built[0].state.log_history if name in entry]
    if len(apart) < 2 or max(apart) > 0.005:
        raise UserError(f"vLLM and the policy are apart by {apart}")
    return found


@across_ranks(update_sft)
def train_killed(job: Job) -> Trained:
    """SFT whose second rank kills itself after the fifth update."""

    def told(progress: Progress) -> None:
        job.report(progress)
        if progress.step == 5 and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)

    return train_sft(replace(job, report=told))


@across_ranks(update_sft)
def train_refusing(job: Job) -> Trained:
    """Refuse in the second rank, while the first one waits for it."""
    if os.environ["RANK"] == "1":
        raise UserError("rank 1 does not want to")
    agreed(lambda: None)
    raise RuntimeError("what was waited for came")


@across_ranks(update_sft)
def train_waiting(job: Job) -> Trained:
    """Tell who this is, and wait for ever."""
    job.report(Progress(step=os.getpid(), steps=1))
    while job.seed:
        time.sleep(0.01)
    raise RuntimeError("what was waited for came")


@across_ranks(update_sft)
def train_breaking(job: Job) -> Trained:
    """Break in the second rank, while the first one waits for it."""
    if os.environ["RANK"] == "1":
        raise ZeroDivisionError("a learner's own mistake")
    agreed(lambda: None)
    raise RuntimeError("what was waited for came")


FIXED: Learner = replace(GRPO, name="grpo-fixed", train=train_fixed)
AGREEING: Learner = replace(GRPO, name="grpo-agreeing", train=train_agreeing)
KILLED: Learner = replace(LIKELIHOOD, train=train_killed)
REFUSING: Learner = replace(LIKELIHOOD, train=train_refusing)
BREAKING: Learner = replace(LIKELIHOOD, train=train_breaking)
WAITING: Learner = replace(LIKELIHOOD, train=train_waiting)
RFT_AGREEING: Paradigm = replace(RFT, name="rft-agreeing", learner=AGREEING)
RFT_FIXED: Paradigm = replace(RFT_NOCOT, name="rft-fixed", learner=FIXED)

if "RANK" in os.environ:
    pretend_gpus()
    # The clocks of the two disagree: one would always save, the other one never.
    trainers.SAVE_SECONDS, trainers.SAVE_SHARE = 0.0 if os.environ["RANK"] == "0" else 1e9, float("inf")
