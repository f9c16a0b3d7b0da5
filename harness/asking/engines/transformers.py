"""Generation by transformers: batched, greedy or sampled, never a picture token in a reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.asking.engines import Generation, Prompt
from harness.core import Decoding, Scale, UserError, messages

PICTURE_TOKENS = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")


def load_processor(folder: Path, scale: Scale) -> Any:
    """The processor of a local model folder, at the scale's picture size, padding on the left."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    processor.image_processor.size = {"shortest_edge": scale.min_pixels, "longest_edge": scale.max_pixels}
    processor.tokenizer.padding_side = "left"
    return processor


def load_model(folder: Path, precision: str) -> Any:
    """The model of a local folder, from safetensors only, on the GPU where there is one."""
    import torch
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    logging.disable_progress_bar()  # its bar of a second would cut through the run's display
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"{folder} holds no *.safetensors weights: give the folder of a saved model")
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=getattr(torch, precision), local_files_only=True, use_safetensors=True
    )
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def forbidden_tokens(tokenizer: Any) -> list[int]:
    """The ids that no reply may hold: a sampled picture token has no picture behind it and crashes training."""
    ids = [tokenizer.convert_tokens_to_ids(token) for token in PICTURE_TOKENS]
    return [number for number in ids if number is not None and number != tokenizer.unk_token_id]


class TransformersEngine:
    """A model from a folder, loaded once."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        """Load model and processor from ``folder``."""
        self.processor = load_processor(folder, scale)
        self.model = load_model(folder, scale.precision).eval()
        self.batch = scale.eval_batch
        self.suppressed = forbidden_tokens(self.processor.tokenizer)

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """A greedy reply for each prompt, in batches whose composition depends on the prompts alone."""
        return [
            reply
            for batch in _batches(prompts, self.batch)
            for reply in self._reply(batch, decoding, {"do_sample": False})
        ]

    def sample(
        self, prompts: Sequence[Prompt], decoding: Decoding, rollouts: int, seed: int, top_p: float
    ) -> list[list[Generation]]:
        """``rollouts`` replies for each prompt at temperature 1; the same seed gives the same replies."""
        import torch

        torch.manual_seed(seed)
        options = {"do_sample": True, "temperature": 1.0, "top_p": top_p, "top_k": 0, "num_return_sequences": rollouts}
        replies = [
            reply
            for batch in _batches(prompts, max(1, self.batch // rollouts))
            for reply in self._reply(batch, decoding, options)
        ]
        return [replies[n : n + rollouts] for n in range(0, len(replies), rollouts)]

    def _reply(self, prompts: Sequence[Prompt], decoding: Decoding, options: dict[str, Any]) -> list[Generation]:
        import torch

        texts = [
            self.processor.apply_chat_template(messages(text, len(images)), add_generation_prompt=True, tokenize=False)
            for text, images in prompts
        ]
        pictures = [image for _, images in prompts for image in images] or None
        inputs = self.processor(text=texts, images=pictures, padding=True, return_tensors="pt").to(self.model.device)
        end = self.processor.tokenizer.eos_token_id
        with torch.inference_mode():
            output = self.model.generate(
                **inputs,
                **options,
                max_new_tokens=decoding.max_new_tokens,
                suppress_tokens=self.suppressed,
                eos_token_id=end,
                pad_token_id=self.processor.tokenizer.pad_token_id,
            )
        return [self._generation(ids, end) for ids in output[:, inputs["input_ids"].shape[1] :].tolist()]

    def _generation(self, ids: list[int], end: int) -> Generation:
        finished = end in ids
        kept = ids[: ids.index(end)] if finished else ids
        text = self.processor.tokenizer.decode(kept, skip_special_tokens=True)
        return Generation(text=text, tokens=len(kept) + finished, truncated=not finished)


def _batches(prompts: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    """The prompts in their order, ``size`` at a time."""
    return (prompts[n : n + size] for n in range(0, len(prompts), size))
