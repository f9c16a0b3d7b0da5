"""What a model is made of, as far as memory and arithmetic see it: counted from the shapes of its tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
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
    of ``merge`` x ``merge`` patches of ``patch`` x ``patch`` pixels.
    """

    parameters: int
    language: int
    vision: int
    merger: int
    vocabulary: int
    width: int
    inner: int
    layers: int
    attention_width: int
    kv_width: int
    vision_layers: int
    vision_full: int
    vision_width: int
    patch: int
    merge: int
    linears: Mapping[str, int]

    @property
    def kv_values(self) -> int:
        """Numbers that the cache of keys and values holds for a token."""
        return 2 * self.layers * self.kv_width

    @property
    def embedding(self) -> int:
        """Parameters of the table of tokens; the head has as many, and may be the same table."""
        return self.vocabulary * self.width

    def adapter(self, rank: int, targets: str | tuple[str, ...] = "all-linear") -> int:
        """Parameters of LoRA (arXiv:2106.09685) of that rank on layers called so; the head is none of them.

        Raises:
            UserError: where no layer is called so.
        """
        names = tuple(self.linears) if targets == "all-linear" else (targets,) if isinstance(targets, str) else targets
        if unknown := [name for name in names if name not in self.linears]:
            raise UserError(f"the model has no layer {unknown[0]}: use all-linear, or {', '.join(self.linears)}")
        return rank * sum(self.linears[name] for name in names)

    def picture_tokens(self, pixels: int) -> int:
        """How many tokens a picture of so many pixels is."""
        return max(1, round(pixels / (self.patch * self.merge) ** 2))

    def patches(self, pixels: int) -> int:
        """How many patches a picture of so many pixels has."""
        return self.picture_tokens(pixels) * self.merge**2


def counted(config: Mapping[str, Any], tensors: Tensors) -> Shape:
    """The shape of a model from its config.json and the shapes of its tensors.

    Raises:
        UserError: where the config is not that of a vision-language model as Qwen's.
    """
    try:
        text, seen = config["text_config"], config["vision_config"]
        tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
        found = {name: shape for name, shape in tensors.items() if not (tied and name.startswith("lm_head"))}
        parts = {"language": 0, "vision": 0, "merger": 0}
        linears: dict[str, int] = {}
        for name, shape in found.items():
            owner, kind = name.removesuffix(".weight").split("."), _part(name)
            if name.endswith(".weight") and len(shape) > 1 and kind:
                parts[kind] += math.prod(shape)
                if len(shape) == 2:  # the first layer of a vision tower is a convolution: LoRA leaves it out
                    linears[owner[-1]] = linears.get(owner[-1], 0) + sum(shape)
        heads = int(text["num_attention_heads"])
        head = int(text.get("head_dim") or text["hidden_size"] // heads)
        depth = int(seen["depth"])
        return Shape(
            parameters=sum(math.prod(shape) for shape in found.values()),
            **parts,
            vocabulary=int(text["vocab_size"]),
            width=int(text["hidden_size"]),
            inner=int(text["intermediate_size"]),
            layers=int(text["num_hidden_layers"]),
            attention_width=heads * head,
            kv_width=int(text["num_key_value_heads"]) * head,
            vision_layers=depth,
            vision_full=len(seen["fullatt_block_indexes"]) if "fullatt_block_indexes" in seen else depth,
            vision_width=int(seen["hidden_size"]),
            patch=int(seen["patch_size"]),
            merge=int(seen["spatial_merge_size"]),
            linears=linears,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise UserError(
            f"the model's config.json has no {fault} where it is looked for: memory and time cannot be planned for it"
        ) from fault


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
        UserError: where a file is missing, damaged, or of another kind of model.
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
