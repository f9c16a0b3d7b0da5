"""Adapters in training: the policy that a stage starts from, its KL reference, what is saved, and weights for rollouts.

One adapter goes from stage to stage, on the base that the run starts from. TRL copies the adapter that it is given to
one named "ref" and takes that for the KL reference, which is the previous stage; without that copy it switches the
adapter off, which leaves the base.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.core import Job, Lora
from harness.lora import NUMBERS, attached, digest_of, is_adapter, refuse_other_base, save_adapter, without_renamed
from harness.store.lineage import CARRY

REFERENCE = "ref"  # TRL's name


def adapted(base: Any, job: Job) -> Any:
    """The loaded base with the adapter that a stage begins with: the one handed on, or a new one that changes nothing.

    A new adapter's A is drawn from the job's seed. Raises UserError where the adapter stands on another base.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    if handed := handed_on(job):
        refuse_other_base(handed, stands_under(job))
        return attached(base, handed, trainable=True)
    lora = wanted(job)
    targets = "all-linear" if lora.targets == ("all-linear",) else list(lora.targets)
    settings = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0, bias="none")
    with torch.random.fork_rng(), without_renamed():
        torch.manual_seed(job.seed)
        return get_peft_model(base, settings)


def wanted(job: Job) -> Lora:
    """The adapter that the job's paradigm asks for."""
    lora = job.paradigm.adapter
    if lora is None:
        raise ValueError(f"{job.paradigm.name} asks for no adapter")
    return lora


def handed_on(job: Job) -> Path | None:
    """The folder of the adapter that the stage before left: beside its merged weights, or as its checkpoint."""
    return next((folder for folder in (job.carry, job.model) if folder and is_adapter(folder)), None)


def stands_under(job: Job) -> Path:
    """The base that the job's adapter stands on."""
    return job.base or job.model


def is_adapted(model: Any) -> bool:
    """Whether a loaded model has an adapter."""
    return hasattr(model, "peft_config")


def inner(model: Any) -> Any:
    """The transformers model, inside an adapter or not."""
    return model.get_base_model() if is_adapted(model) else model


def anchor(model: Any, reference: str) -> None:
    """Make the KL reference of a policy with an adapter the one that the paradigm names."""
    if reference == "base" and REFERENCE in model.peft_config:
        model.delete_adapter(REFERENCE)


def save_state(model: Any, folder: Path, job: Job) -> None:
    """Write what a stage resumes from of the weights: the adapter alone."""
    save_adapter(model, folder, digest_of(stands_under(job)))


def save(model: Any, folder: Path, job: Job, whole: dict[str, Any] | None = None) -> None:
    """Write a stage's result: the adapter, or merged fp32 weights with the adapter for the next stage beside them.

    ``whole`` holds the weights where they lie in parts on several ranks, which keep the adapter alone.
    """
    base = digest_of(stands_under(job))
    if wanted(job).keep == "adapter":
        save_adapter(model, folder, base, whole)
        return
    save_adapter(model, folder / CARRY, base, whole)
    model.float().merge_and_unload().save_pretrained(folder)


def restore(model: Any, state: Path) -> None:
    """Put the numbers of a saved adapter into the one that is trained."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    found = set_peft_model_state_dict(model, load_file(state / NUMBERS), adapter_name="default")
    if found.unexpected_keys:
        raise RuntimeError(f"{state} holds {found.unexpected_keys[0]}, which the adapter does not have")


def summed_weights(model: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of each weight as a plain model has it, adapter added; the frozen base is left as it is.

    Merging the adapter in place and taking it out again, as TRL does for each hand-over to vLLM, rounds the base every
    time: after a hundred times a bf16 base is another model.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = inner(model)
    layers = {name: layer for name, layer in plain.named_modules() if isinstance(layer, BaseTunerLayer)}
    for name, weight in plain.state_dict().items():
        owner, _, part = name.rpartition(".base_layer.")
        if owner in layers:
            value = weight + layers[owner].get_delta_weight("default").to(weight.dtype) if part == "weight" else weight
            yield f"{owner}.{part}", value
        elif not any(name.startswith(f"{layer}.") for layer in layers):
            yield name, weight
