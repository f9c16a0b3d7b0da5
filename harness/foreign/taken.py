"""Weights that another trainer left, taken in: the parent's architecture to the last tensor, and the parent's files.

An adapter is added to the parent's weights in fp32, so that the next stage's trainer gets a whole model again. Only
tensors are taken. Configuration, tokenizer, chat template and processor stay the parent's, so that no framework's
version of them reaches evaluation.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.core import UserError
from harness.lora import is_adapter, merged, settings_of
from harness.values import cut, is_number
from harness.weights import model_files

INDEX = "model.safetensors.index.json"
COSTS = "costs.json"
STATE = "trainer_state.json"  # what transformers' Trainer leaves beside the weights
COUNTS = ("optimiser_steps", "sampled_tokens", "trained_tokens")
FLOATS = ("F64", "F32", "F16", "BF16")

Shapes = Mapping[str, tuple[int, ...]]


def take(out: Path, parent: Path, target: Path) -> None:
    """Make ``target`` a model's folder: the tensors of ``out``, all other files of ``parent``.

    Raises:
        UserError: where ``out`` is no safetensors model of the parent's architecture, and no adapter that fits it.
    """
    if is_adapter(out):
        out = _added(out, parent)
    weights = _weights(out)
    _refuse_another(_shapes(weights), _shapes(_safetensors(parent)), _ties(parent))
    target.mkdir(parents=True)
    for file in model_files(parent):
        if file.suffix != ".safetensors" and file.name != INDEX:
            shutil.copyfile(file, target / file.name)
    for file in weights:
        try:
            os.link(file, target / file.name)
        except OSError:  # a disk without hard links
            shutil.copyfile(file, target / file.name)
    if len(weights) > 1:
        shutil.copyfile(out / INDEX, target / INDEX)


def _safetensors(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.glob("*.safetensors") if path.is_file() and not path.is_symlink()))


def _weights(out: Path) -> tuple[Path, ...]:
    """The files of a model's weights in a folder."""
    found = _safetensors(out)
    if not found:
        pickled = any(out.glob("*.bin")) or any(out.glob("*.pt")) or any(out.glob("*.pth"))
        what = "pickled weights, which are never loaded" if pickled else "no *.safetensors"
        raise UserError(f"{out} holds {what}: let the trainer save safetensors right there")
    if len(found) > 1:
        try:
            listed = set(json.loads((out / INDEX).read_bytes())["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            listed = set()
        if listed != {path.name for path in found}:
            raise UserError(f"{out} holds {len(found)} *.safetensors, but no {INDEX} that names them: save one model")
    return found


def _added(adapter: Path, parent: Path) -> Path:
    """A folder of the parent's weights with the adapter's added, beside the adapter's."""
    import torch
    from transformers import AutoModelForImageTextToText

    settings_of(adapter)
    target = adapter.with_name(f"{adapter.name}-merged")
    shutil.rmtree(target, ignore_errors=True)
    model = AutoModelForImageTextToText.from_pretrained(
        parent, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    merged(model, adapter).save_pretrained(target)
    return target


def _shapes(files: tuple[Path, ...]) -> Shapes:
    """Name and shape of each tensor, from the headers of the files."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as opened:
                for name in opened.keys():  # noqa: SIM118 - no mapping
                    tensor = opened.get_slice(name)
                    if tensor.get_dtype() not in FLOATS:
                        raise UserError(f"{file}: {cut(name)} is of {tensor.get_dtype()}: save weights of floats")
                    found[name] = tuple(tensor.get_shape())
        except SafetensorError as fault:
            raise UserError(f"{file} is damaged ({cut(str(fault))}): train the stage again") from fault
    return found


def _ties(parent: Path) -> bool:
    """Whether the output layer is the embedding, so that it may be saved or left out."""
    try:
        return bool(json.loads((parent / "config.json").read_bytes()).get("tie_word_embeddings"))
    except (OSError, ValueError, AttributeError):
        return False


def _refuse_another(found: Shapes, wanted: Shapes, tied: bool) -> None:
    """Raise UserError, naming the first tensor, where two models differ in one."""
    free = {"lm_head.weight"} if tied else set()
    for what, names in (("lacks", wanted.keys() - found.keys() - free), ("has", found.keys() - wanted.keys() - free)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(f"the trainer's model {what} {cut(min(names))}{more}: it is none of the parent's kind")
    for name in sorted(wanted.keys() & found.keys()):
        if found[name] != wanted[name]:
            said = " x ".join(map(str, found[name])), " x ".join(map(str, wanted[name]))
            raise UserError(f"the trainer's {cut(name)} is {said[0]}, the parent's {said[1]}: it is another model")


def reported(out: Path) -> dict[str, int]:
    """Steps and tokens as the trainer tells them in costs.json; else the steps of transformers' state; else 0.

    Raises:
        UserError: where costs.json holds something else.
    """
    counts = dict.fromkeys(COUNTS, 0)
    if (out / COSTS).is_file():
        try:
            said = json.loads((out / COSTS).read_bytes())
        except ValueError as fault:
            raise UserError(f"{out / COSTS} is no JSON: write numbers for {', '.join(COUNTS)}") from fault
        if not isinstance(said, dict) or not said.keys() <= counts.keys() or not all(map(_count, said.values())):
            raise UserError(f"{out / COSTS}: write whole numbers of 0 or more for {', '.join(COUNTS)}, nothing else")
        return {**counts, **said}
    try:
        steps = json.loads((out / STATE).read_bytes())["global_step"]
    except (OSError, ValueError, KeyError, TypeError):
        return counts
    return {**counts, "optimiser_steps": steps} if _count(steps) else counts


def _count(value: object) -> bool:
    return isinstance(value, int) and is_number(value)


__all__ = ["reported", "take"]
