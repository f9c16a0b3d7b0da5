"""Whether a model's folder can take part: what transformers loads it as, its processor, its chat template, its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.asking.chat import messages
from harness.core import Scale, UserError
from harness.values import cut

READERS = ("transformers", "vllm", "endpoint")  # the engines that read a folder as transformers does
QUESTION, ANSWER = "What is it?", "forty-two"


def refuse_unfit(folder: Path, scale: Scale) -> None:
    """Look at all that evaluation and training take for granted of a model; its weights are not loaded.

    Raises:
        UserError: where its architecture is none that reads pictures and text, it needs code of its own, its processor
            or chat template is missing or does not do what a chat with a picture wants, or no token ends a reply.
    """
    from harness.asking.engines.transformers import declared_ends, load_processor

    config = _config(folder)
    _architecture(folder, config)
    try:
        processor = load_processor(folder, scale)
    except (OSError, ValueError, ImportError, AttributeError, TypeError, KeyError) as fault:
        raise UserError(f"the processor of model {folder} does not load ({cut(str(fault), 160)}): {_OTHER}") from fault
    if getattr(processor, "image_processor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise UserError(f"model {folder} has no processor of pictures and text: {_OTHER}")
    try:
        _chat(folder, processor, set(declared_ends(folder, processor.tokenizer)))
    except UserError:
        raise
    except Exception as fault:  # a chat template is a program of the model's
        said = f"the processor of model {folder} fails at a chat with a picture"
        raise UserError(f"{said} ({type(fault).__name__}: {cut(str(fault), 160)}): {_OTHER}") from fault


_OTHER = "use a model that transformers loads as image-text-to-text, with its processor and its chat template"


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return dict(config)
    except (OSError, ValueError, TypeError) as fault:
        raise UserError(f"{folder / 'config.json'} is damaged ({cut(str(fault), 80)}): copy the model again") from fault


def _architecture(folder: Path, config: dict[str, Any]) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    kind = str(config.get("model_type", ""))
    if kind not in KNOWN:
        own = "brings code of its own, which is never trusted" if "auto_map" in config else "does not read pictures"
        raise UserError(f"model {folder} is a {cut(kind, 40) or 'nameless model'}, which {own}: {_OTHER}")
    if "quantization_config" in config:
        raise UserError(f"the weights of model {folder} are quantised, and such are not trained: use its plain weights")
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"model {folder} has an adapter beside it: merge it into the weights, or remove it")


def _chat(folder: Path, processor: Any, ends: set[int]) -> None:
    """A chat with a picture, and the reply to it, as training and evaluation write them."""
    from PIL import Image

    if not getattr(processor, "chat_template", None):
        raise UserError(f"model {folder} has no chat template: {_OTHER}")
    asked = messages(QUESTION, 1)
    prompt = processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    if QUESTION not in prompt:
        raise UserError(f"the chat template of model {folder} leaves the question out: {_OTHER}")
    tokenizer = processor.tokenizer
    if tokenizer(prompt)["input_ids"] != _ids(tokenizer, prompt) and not _begun(tokenizer, prompt):
        raise UserError(
            f"the chat template of model {folder} leaves out what its tokenizer puts before a text"
            f" ({tokenizer.bos_token}): add it to the template"
        )
    picture = Image.new("RGB", (64, 48), (120, 40, 200))
    inputs = processor(text=[prompt], images=[[picture]], add_special_tokens=False, return_tensors="pt")
    marks = _picture_tokens(processor)
    seen = sum(int((inputs["input_ids"] == mark).sum()) for mark in marks)
    if not marks or not seen or "pixel_values" not in inputs:
        raise UserError(f"no token stands for a picture in the chat template of model {folder}: {_OTHER}")
    reply = {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}
    whole = processor.apply_chat_template([*asked, reply], tokenize=False)
    if not whole.startswith(prompt) or ANSWER not in whole[len(prompt) :]:
        raise UserError(f"the chat template of model {folder} writes a reply otherwise than it asks for one: {_OTHER}")
    if not ends & set(_ids(tokenizer, whole[len(prompt) :])):
        raise UserError(f"the chat template of model {folder} writes no end after a reply: {_OTHER}")


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def _begun(tokenizer: Any, text: str) -> bool:
    return bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)


def _picture_tokens(processor: Any) -> list[int]:
    """The ids of the tokens that stand for a picture, by the processor's own word."""
    named = getattr(processor, "image_token_ids", None) or [getattr(processor, "image_token_id", None)]
    return [number for number in named if isinstance(number, int)]


__all__ = ["READERS", "refuse_unfit"]
