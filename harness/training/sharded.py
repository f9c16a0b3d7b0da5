"""Weights that lie in parts on several ranks (FSDP2): how a trainer is told, and how they are loaded and gathered.

FSDP2 keeps fp32 master weights by design, runs forward and backward in the scale's precision, and saves and resumes
each rank's part. What is made of it here, and why:

- Whole weights are loaded onto each rank's own GPU and not into memory of the host, which N ranks share.
- A resume state holds each rank's part; only the weights of a finished stage are gathered, in fp32, by the main rank.
- TRL shards GRPO's reference as one unit, which is whole again in every forward pass; here it is done layer by layer,
  as accelerate does the policy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.core import Job
from harness.training import adapters
from harness.training.ranks import agreed, launched


def sharding(half: bool) -> dict[str, Any]:
    """What TrainingArguments are told on ranks, beside what they are told elsewhere."""
    if not launched():
        return {}
    return {
        "use_cpu": False,
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": True,
            "cpu_ram_efficient_loading": False,  # every rank loads all the same (transformers 5.23)
            "activation_checkpointing": half,
            "state_dict_type": "SHARDED_STATE_DICT",
        },
    }


def placement() -> dict[str, Any]:
    """Where ``from_pretrained`` puts whole weights: on a rank's own GPU; as ever outside of ranks and without one."""
    import torch

    own = launched() and torch.cuda.is_available()
    return {"device_map": {"": int(os.environ["LOCAL_RANK"])}} if own else {}


def reference_loading(precision: str) -> dict[str, Any]:
    """How TRL loads GRPO's reference: as the policy, from safetensors of a local folder.

    On ranks it goes to each one's own GPU; TRL would spread it over all of them. There it is held in the
    precision of the forward pass, to which FSDP2 rounds it anyway.
    """
    if not launched():
        return {}
    kept = {"dtype": precision, "use_safetensors": True, "local_files_only": True}
    return {"device_map": None, **placement(), **kept}


def shard_reference(model: Any, accelerator: Any) -> Any:
    """The reference in parts on all ranks, layer by layer; nothing of it is trained."""
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model

    model.requires_grad_(False)  # else accelerate holds it in fp32 as it does what is trained
    return fsdp2_prepare_model(accelerator, model.eval())


def gathered(trainer: Any) -> dict[str, Any]:
    """The whole weights, in memory of the host and on the main rank alone; what is tied is there once, as in a file."""
    found = trainer.accelerator.get_state_dict(trainer.model)
    tied = trainer.accelerator.unwrap_model(trainer.model).all_tied_weights_keys
    return {name: value for name, value in found.items() if name not in tied}


def save_whole(trainer: Any, folder: Path, job: Job) -> None:
    """Write a trainer's weights and processor into a folder; of several ranks the main one gathers and writes."""
    whole = gathered(trainer) if launched() else None

    def write() -> None:
        if adapters.is_adapted(trainer.model):
            adapters.save(trainer.model, folder, job, whole)
        else:
            trainer.model.save_pretrained(folder, state_dict=whole)
        trainer.processing_class.save_pretrained(folder)

    agreed(write)


__all__ = ["gathered", "placement", "reference_loading", "save_whole", "shard_reference", "sharding"]
