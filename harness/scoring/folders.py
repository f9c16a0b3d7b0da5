"""Folders of models that other trainers left: which one holds the weights, and what to do where none does.

Only safetensors are read. What is refused is named by what was found instead, with the step of its own trainer that
makes a model of it.
"""

from __future__ import annotations

from pathlib import Path

from harness.core import UserError
from harness.lora import is_adapter
from harness.values import cut

TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
SHOWN = 4


def model_in(folder: Path) -> Path:
    """The folder itself, if it holds a model (config.json and safetensors) or a LoRA adapter.

    Raises:
        UserError: saying what it holds instead, and how that becomes a model.
    """
    if not folder.is_dir():
        raise UserError(f"{cut(str(folder))} is no folder: give the folder of a saved model")
    if holds_model(folder) or is_adapter(folder):
        return folder
    raise UserError(f"{cut(str(folder))} holds no model (config.json and *.safetensors): {_instead(folder)}")


def refuse_wordless(folder: Path) -> None:
    """Raise UserError where a model's folder lacks what turns text and pictures into its inputs."""
    for what, names in (("tokenizer", TOKENIZERS), ("picture processor", PROCESSORS)):
        if not any((folder / name).is_file() for name in names):
            raise UserError(
                f"{cut(str(folder))} has no {what} ({' or '.join(names)}): copy those files from the base's folder"
            )


def holds_model(folder: Path) -> bool:
    """Whether a folder holds a whole model: config.json and safetensors that are no adapter's."""
    weights = [path for path in folder.glob("*.safetensors") if not path.name.startswith("adapter_")]
    return bool(weights) and (folder / "config.json").is_file()


def _instead(folder: Path) -> str:
    """What a folder without a model holds, and what to do."""
    names = {path.name for path in folder.iterdir()}
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    if (shards := _verl_shards(folder)) is not None:
        merged = shards / "huggingface"
        if holds_model(merged):
            return f"its model is in {merged}: give that folder"
        return f"these are shards of verl or EasyR1: merge {shards} with EasyR1's scripts/model_merger.py"
    if "zero_to_fp32.py" in names or any(name.startswith("global_step") for name in names):
        return "these are DeepSpeed's shards: run its zero_to_fp32.py --safe_serialization, or save a gathered model"
    if any((path / ".metadata").is_file() for path in (folder, *inner)) or "pytorch_model_fsdp_0" in names:
        return "these are FSDP's shards: merge them with `accelerate merge-weights`"
    if found := [path.name for path in inner if holds_model(path)]:
        return f"its subfolders {', '.join(map(cut, found[:SHOWN]))} do: give the one that is meant"
    if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
        return "pickled weights are never loaded: save them again with save_pretrained(safe_serialization=True)"
    if any(name.endswith(".gguf") for name in names):
        return "GGUF cannot be read here: give the model it was converted from, or serve it and give its URL"
    return "give the folder of a saved model"


def _verl_shards(folder: Path) -> Path | None:
    """Where the shards of verl's FSDP workers lie in a checkpoint's folder; None where there are none."""
    for place in (folder, folder / "actor"):
        if place.is_dir() and any(place.glob("model_world_size_*_rank_*.pt")):
            return place
    return None


__all__ = ["holds_model", "model_in", "refuse_wordless"]
