"""What a model is made of, as far as memory and arithmetic see it: counted from the shapes of its tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core import UserError

Tensors = Mapping[str, tuple[int, ...]]
WINDOW = 64  # patches of a window of Qwen2.5-VL's vision tower: 112 x 112 pixels (arXiv:2502.13923, section 2.1)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A vision-language model in numbers.

    ``parameters`` are all, ``language`` and ``vision`` those of the linear layers that a text token and a patch go
    through, ``merger`` those that a picture's token goes through. ``linears`` maps the last name of a linear layer,
    such as q_proj, to the sum of inputs and outputs over all layers called so: LoRA of rank r on it has r times as many
    parameters. ``vision_full`` vision layers see a whole picture, the others a window of it. A picture's token is made
    of ``merge`` x ``merge`` patches of ``patch`` x ``patch`` pixels. Of a model of another kind the parameters alone
    are known: its activations and its time count nothing.
    """

    parameters: int
    language: int = 0
    vision: int = 0
    merger: int = 0
    vocabulary: int = 0
    width: int = 0
    inner: int = 0
    layers: int = 0
    attention_width: int = 0
    kv_width: int = 0
    vision_layers: int = 0
    vision_full: int = 0
    vision_width: int = 0
    vision_inner: int = 0
    patch: int = 1
    merge: int = 1
    linears: Mapping[str, int] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether more than the number of parameters is known."""
        return self.layers > 0

    @property
    def kv_values(self) -> int:
        """Numbers that the cache of keys and values holds for a token."""
        return 2 * self.layers * self.kv_width

    @property
    def embedding(self) -> int:
        """Parameters of the table of tokens; the head has as many, and may be the same table."""
        return self.vocabulary * self.width

    def adapter(self, rank: int, targets: tuple[str, ...] = ("all-linear",)) -> int:
        """Parameters of LoRA (arXiv:2106.09685) of that rank on layers called so; the head is none of them.

        Raises:
            UserError: where no layer is called so.
        """
        names = tuple(self.linears) if targets == ("all-linear",) else [name.rpartition(".")[2] for name in targets]
        if unknown := [name for name in names if name not in self.linears]:
            raise UserError(f"the model has no layer {unknown[0]}: use all-linear, or {', '.join(self.linears)}")
        return rank * sum(self.linears[name] for name in dict.fromkeys(names))

    def picture_tokens(self, pixels: int) -> int:
        """How many tokens a picture of so many pixels is."""
        return max(1, round(pixels / (self.patch * self.merge) ** 2))

    def patches(self, pixels: int) -> int:
        """How many patches a picture of so many pixels has."""
        return self.picture_tokens(pixels) * self.merge**2


def counted(config: Mapping[str, Any], tensors: Tensors) -> Shape:
    """The shape of a model from its config.json and the shapes of its tensors."""
    text, seen = config.get("text_config"), config.get("vision_config")
    tied = bool(config.get("tie_word_embeddings", False))
    found = {name: shape for name, shape in tensors.items() if not (tied and name.startswith("lm_head"))}
    parameters = sum(math.prod(shape) for shape in found.values())
    if not isinstance(text, Mapping) or not isinstance(seen, Mapping):
        return Shape(parameters=parameters)
    try:
        return Shape(parameters=parameters, **_parts(found), **_text(text), **_vision(seen))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return Shape(parameters=parameters)


def _parts(tensors: Tensors) -> dict[str, Any]:
    """The parameters of language model, vision tower and merger, and the linear layers by their last name."""
    parts = {"language": 0, "vision": 0, "merger": 0}
    linears: dict[str, int] = {}
    for name, shape in tensors.items():
        kind = _part(name)
        if name.endswith(".weight") and len(shape) > 1 and kind:
            parts[kind] += math.prod(shape)
            if len(shape) == 2:  # the first layer of a vision tower is a convolution: LoRA leaves it out
                last = name.removesuffix(".weight").rpartition(".")[2]
                linears[last] = linears.get(last, 0) + sum(shape)
    return {**parts, "linears": linears}


def _text(config: Mapping[str, Any]) -> dict[str, Any]:
    heads = int(config["num_attention_heads"])
    head = int(config.get("head_dim") or config["hidden_size"] // heads)
    return {
        "vocabulary": int(config["vocab_size"]),
        "width": int(config["hidden_size"]),
        "inner": int(config["intermediate_size"]),
        "layers": int(config["num_hidden_layers"]),
        "attention_width": heads * head,
        "kv_width": int(config["num_key_value_heads"]) * head,
    }


def _vision(config: Mapping[str, Any]) -> dict[str, Any]:
    depth = int(config["depth"])
    return {
        "vision_layers": depth,
        "vision_full": len(config["fullatt_block_indexes"]) if "fullatt_block_indexes" in config else depth,
        "vision_width": int(config["hidden_size"]),
        "vision_inner": int(config["intermediate_size"]),
        "patch": int(config["patch_size"]),
        "merge": int(config["spatial_merge_size"]),
    }


def _part(name: str) -> str:
    """Which part of a model a tensor of several dimensions belongs to; empty for a table that is only looked up."""
    if "embed_tokens" in name or "pos_embed" in name or "lm_head" in name:
        return ""
    if "merger" in name:
        return "merger"
    return "vision" if "visual." in name else "language"


def of_folder(folder: Path) -> Shape:
    """The shape of the model in a folder, from its config and the headers of its safetensors.

    Raises:
        UserError: where a file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118
                    tensors[name] = tuple(weights.get_slice(name).get_shape())
        except SafetensorError as error:
            raise UserError(f"{path} is damaged ({error}): download or copy the model again") from error
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'} cannot be read: download or copy the model again") from error
    return counted(config if isinstance(config, dict) else {}, tensors)


__all__ = ["WINDOW", "Shape", "counted", "of_folder"]
