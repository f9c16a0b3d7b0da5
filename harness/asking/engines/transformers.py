"""Generation by transformers: batched, greedy or sampled, every setting ours, never a picture token in a reply."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.asking.engines import Generation, Prompt
from harness.asking.engines.kinds import TRANSFORMERS
from harness.asking.engines.memory import keep_freed_memory
from harness.asking.engines.prompts import Prompts, picture_size
from harness.core import Decoding, Scale, UserError
from harness.lora import base_of, is_adapter, merged

PICTURE_TOKENS = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
# What other processors call the tokens that stand for a picture or around it.
PICTURE_NAMES = (
    "image_token", "video_token", "audio_token", "boi_token", "eoi_token", "start_image_token", "end_image_token",
    "image_break_token", "image_end_token", "fake_image_token", "vision_start_token", "vision_end_token",
)  # fmt: skip


def load_processor(folder: Path, scale: Scale) -> Any:
    """The processor of a local model folder, at the scale's picture size where it takes any, padding on the left."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for name, value in picture_size(processor, scale).items():
        setattr(processor.image_processor, name, value)
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    processor.tokenizer.padding_side = "left"
    return processor


def load_model(folder: Path, precision: str) -> Any:
    """The model of a local folder, from safetensors only, on the GPU where there is one.

    An adapter is added to its base in fp32, and the sum is what gets the precision. Of the folder's generation settings
    only the end tokens are kept.
    """
    import torch
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    logging.disable_progress_bar()  # its bar of a second would cut through the run's display
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"{folder} holds no *.safetensors weights: give the folder of a saved model")
    wanted = getattr(torch, precision)
    base, dtype = (base_of(folder), torch.float32) if is_adapter(folder) else (folder, wanted)
    model = AutoModelForImageTextToText.from_pretrained(
        base, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    if is_adapter(folder):
        model = merged(model, folder).to(wanted)
    without_settings(model)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def without_settings(model: Any) -> None:
    """Drop what the model's folder says about generation, but for its end and padding tokens.

    ``generate`` fills every setting that its caller leaves open from ``model.generation_config``; Qwen2.5 ships a
    repetition penalty of 1.05 there, which changes greedy replies.
    """
    from transformers import GenerationConfig

    given = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=given.eos_token_id, pad_token_id=given.pad_token_id)


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The ids that end a reply: all that the model declares, and the tokenizer's own."""
    return _ends(model.generation_config.eos_token_id, tokenizer)


def declared_ends(folder: Path, tokenizer: Any) -> list[int]:
    """``end_tokens`` of the model in a folder that is not loaded."""
    from transformers import AutoConfig, GenerationConfig

    folder = base_of(folder) if is_adapter(folder) else folder
    if (folder / "generation_config.json").is_file():
        return _ends(GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id, tokenizer)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return _ends(config.get_text_config().eos_token_id, tokenizer)


def _ends(declared: Any, tokenizer: Any) -> list[int]:
    declared = declared if isinstance(declared, list) else [declared]
    return sorted({number for number in (*declared, tokenizer.eos_token_id) if number is not None})


def forbidden_tokens(processor: Any) -> list[int]:
    """The ids that no reply may hold: a sampled picture token has no picture behind it and crashes training."""
    tokenizer = processor.tokenizer
    named = [getattr(part, name, None) for part in (processor, tokenizer) for name in PICTURE_NAMES]
    tokens = dict.fromkeys((*PICTURE_TOKENS, *(name for name in named if isinstance(name, str))))
    ids = [*map(tokenizer.convert_tokens_to_ids, tokens), *(getattr(processor, "image_token_ids", None) or ())]
    return list(dict.fromkeys(number for number in ids if number is not None and number != tokenizer.unk_token_id))


class TransformersEngine:
    """A model from a folder, loaded once. It is an ``Engine``."""

    name = TRANSFORMERS.name
    version = TRANSFORMERS.version

    def __init__(self, folder: Path, scale: Scale) -> None:
        """Load model and processor from ``folder``."""
        import torch

        self.processor = load_processor(folder, scale)
        self.model = load_model(folder, scale.precision).eval()
        if self.model.device.type == "cpu":
            keep_freed_memory()
        self.device_kind = torch.cuda.get_device_name() if self.model.device.type == "cuda" else "cpu"
        self.batch = scale.eval_batch
        self.suppressed = forbidden_tokens(self.processor)
        self.ends = end_tokens(self.model, self.processor.tokenizer)
        self.prompts: Prompts | None = Prompts(self.processor, self.model, scale)

    def __enter__(self) -> TransformersEngine:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model, the pictures kept beside it, and the GPU's cache; closing again changes nothing."""
        import torch

        self.model = self.prompts = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """A greedy reply for each prompt, in their order.

        Prompts of like length are asked together, in batches whose composition depends on the prompts alone.
        """
        return [reply for (reply,) in self._replies(prompts, decoding, {"do_sample": False}, 1)]

    def sample(
        self, prompts: Sequence[Prompt], decoding: Decoding, rollouts: int, seed: int, top_p: float
    ) -> list[list[Generation]]:
        """``rollouts`` replies for each prompt at temperature 1; the same seed gives the same replies."""
        import torch

        torch.manual_seed(seed)
        options = {"do_sample": True, "temperature": 1.0, "top_p": top_p, "top_k": 0, "num_return_sequences": rollouts}
        return self._replies(prompts, decoding, options, rollouts)

    def opened(self) -> Prompts:
        """What makes the model's inputs. Raises RuntimeError once the engine is closed."""
        if self.prompts is None:
            raise RuntimeError("the engine is closed")
        return self.prompts

    def _replies(
        self, prompts: Sequence[Prompt], decoding: Decoding, options: dict[str, Any], rollouts: int
    ) -> list[list[Generation]]:
        """The replies of each prompt; batches of like length, the longest first."""
        lengths = self.opened().lengths(prompts)
        order = sorted(range(len(prompts)), key=lambda number: -lengths[number])
        size = max(1, self.batch // rollouts)
        found: list[list[Generation]] = [[] for _ in prompts]
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            replies = self._generated([prompts[number] for number in batch], decoding, options)
            for place, number in enumerate(batch):
                found[number] = replies[place * rollouts : (place + 1) * rollouts]
        return found

    def _generated(self, prompts: Sequence[Prompt], decoding: Decoding, options: dict[str, Any]) -> list[Generation]:
        """The replies to one batch; every setting is given here."""
        import torch
        from transformers import GenerationConfig

        tokenizer = self.processor.tokenizer
        stopping = {"tokenizer": tokenizer} if decoding.stop else {}
        settings = GenerationConfig(
            **options,
            stop_strings=list(decoding.stop) or None,
            max_new_tokens=decoding.max_new_tokens,
            suppress_tokens=self.suppressed,
            eos_token_id=self.ends,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            inputs = self.opened().inputs(prompts)
            output = self.model.generate(**inputs, **stopping, generation_config=settings)
        replies = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._generation(ids, decoding.stop) for ids in replies]

    def _generation(self, ids: list[int], stop: Sequence[str]) -> Generation:
        length = next((place for place, token in enumerate(ids) if token in self.ends), None)
        kept = ids if length is None else ids[:length]
        text = self.processor.tokenizer.decode(kept, skip_special_tokens=True)
        if not any(said in text for said in stop):
            return Generation(text=text, tokens=len(kept) + (length is not None), truncated=length is None)
        while kept[-1] == self.processor.tokenizer.pad_token_id:  # others of the batch went on
            kept = kept[:-1]
        whole = min(text.find(said) for said in stop if said in text)
        return Generation(text=text[:whole], tokens=len(kept), truncated=False)
