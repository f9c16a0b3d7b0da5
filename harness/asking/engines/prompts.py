"""Prompts as a model's inputs: chat text, tokens, and pictures that are encoded once however often they are asked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from harness.asking.chat import literal, messages, words
from harness.asking.engines import Prompt
from harness.core import Scale, UserError

KEPT_BYTES = 256 * 2**20  # of encoded pictures; a scale of large ones keeps none between batches
WRITTEN = 1024  # prompts whose chat text is kept: those of the batches that are asked together
GRID_MODELS = ("qwen2_vl", "qwen2_5_vl")  # whose encoded picture is one tensor, and whose grid gives its tokens


def chat_text(processor: Any, prompt: Prompt) -> str:
    """A prompt as the model's chat template writes it, up to where the reply begins."""
    text, images = prompt
    chat = own_words(processor, messages(text, len(images)))
    written: str = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return written


def own_words(processor: Any, chat: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A chat whose texts hold none of the model's special tokens: those that ``literal`` knows not get a space, too."""
    marks = _unknown_marks(processor.tokenizer)
    if marks is None:
        return chat

    def plain(part: Any) -> Any:
        return {**part, "text": marks.sub(_opened, part["text"])} if part["type"] == "text" else part

    return [{**turn, "content": [plain(part) for part in turn["content"]]} for turn in chat]


@lru_cache(maxsize=4)
def _unknown_marks(tokenizer: Any) -> re.Pattern[str] | None:
    """What finds a tokenizer's special tokens that ``literal`` leaves whole; None where there are none."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    left = sorted(token for token in special if len(token) > 1 and literal(token) == token)
    return re.compile("|".join(map(re.escape, left))) if left else None


def _opened(mark: re.Match[str]) -> str:
    return f"{mark[0][0]} {mark[0][1:]}"


def prompt_lengths(processor: Any, prompts: Sequence[Prompt], texts: Sequence[str] | None = None) -> list[int]:
    """Each prompt's length in tokens, its pictures counted at the size the processor gives them. No model needed.

    ``texts`` are the prompts as the chat template writes them, where that is done.
    """
    if not prompts:
        return []
    texts = list(texts or (chat_text(processor, prompt) for prompt in prompts))
    if not takes_any_size(processor):  # what stands around its pictures is known when they are read
        given = zip(texts, prompts, strict=True)
        return [len(read(processor, [text], [images])["input_ids"][0]) for text, (_, images) in given]
    tokens = processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
    sizes = {(image.height, image.width) for _, images in prompts for image in images}
    counts = {size: _picture_tokens(processor, size) for size in sizes}
    return [
        len(ids) + sum(counts[image.height, image.width] - 1 for image in images)
        for ids, (_, images) in zip(tokens, prompts, strict=True)
    ]


def read(processor: Any, texts: Sequence[str], pictures: Sequence[Sequence[Any]], **options: Any) -> Any:
    """The model's inputs for texts that a chat template wrote, each with its pictures; the template began them."""
    images = [list(mine) for mine in pictures] if any(pictures) else None
    return processor(text=list(texts), images=images, add_special_tokens=False, **options)


def picture_size(processor: Any, scale: Scale) -> dict[str, Any]:
    """The settings of an image processor that give pictures the scale's size; none where a model has its own."""
    pixels = {"shortest_edge": scale.min_pixels, "longest_edge": scale.max_pixels}
    return {"size": pixels} if takes_any_size(processor) else {}


def takes_any_size(processor: Any) -> bool:
    """Whether its pictures keep their shape between two numbers of pixels, as Qwen-VL's; others have their own."""
    size = dict(getattr(processor.image_processor, "size", None) or {})
    said = {name for name, value in size.items() if value is not None}
    return hasattr(processor.image_processor, "merge_size") and said == {"shortest_edge", "longest_edge"}


def too_long(lengths: Sequence[int], scale: Scale) -> list[int]:
    """The places of the prompts that are longer than the scale allows."""
    return [place for place, length in enumerate(lengths) if length > scale.max_prompt_tokens]


def refuse_long(prompts: Sequence[Prompt], lengths: Sequence[int], scale: Scale) -> None:
    """Raise UserError where a prompt, of its length in tokens, is longer than the scale allows."""
    for place in too_long(lengths, scale):
        raise UserError(
            f"a prompt has {lengths[place]} tokens, scale {scale.name} allows {scale.max_prompt_tokens}"
            f" ({words(prompts[place][0])[:60]!r}...): shorten the item or use a scale with a larger"
            " max_prompt_tokens"
        )


def _picture_tokens(processor: Any, size: tuple[int, int]) -> int:
    """How many tokens stand for a picture of this height and width in pixels."""
    found: list[int] = processor._get_num_multimodal_tokens(image_sizes=[size])["num_image_tokens"]
    return int(found[0])


class Prompts:
    """Makes inputs for one loaded model, and keeps the encoded pictures of its last batches.

    A batch's pictures are encoded together, each distinct one once, and kept under the whole list: so what a picture
    is encoded to depends on its batch alone, never on what was asked before. Where pixels stand in the inputs there is
    each picture's number instead, and the model is handed what the picture of that number is encoded to.
    """

    def __init__(self, processor: Any, model: Any, scale: Scale) -> None:
        self.processor, self.model, self.scale = processor, model, scale
        self.kept: dict[tuple[str, ...], tuple[Any, list[Any]]] = {}
        self.features: list[Any] = []
        # The template reads how many pictures there are, not what they show.
        self.written = lru_cache(maxsize=WRITTEN)(lambda text, count: chat_text(processor, (text, (None,) * count)))
        self.shares = model.config.model_type in GRID_MODELS
        if self.shares:
            self.encode = model.model.get_image_features
            model.model.get_image_features = self._numbered

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """Each prompt's length in tokens. Raises UserError where one is longer than the scale allows."""
        lengths = prompt_lengths(self.processor, prompts, self.texts(prompts))
        refuse_long(prompts, lengths, self.scale)
        return lengths

    def texts(self, prompts: Sequence[Prompt]) -> list[str]:
        """The prompts as the chat template writes them; each is written once, though lengths and inputs both ask."""
        return [self.written(text, len(images)) for text, images in prompts]

    def inputs(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """The arguments of ``generate`` for a batch, padded on the left."""
        texts = self.texts(prompts)
        pictures = [image for _, images in prompts for image in images]
        if pictures and self.shares:
            return self._with_numbers(texts, pictures)
        shown = [images for _, images in prompts]
        given = read(self.processor, texts, shown, padding=True, return_tensors="pt")
        return dict(given.to(self.model.device))

    def _with_numbers(self, texts: list[str], pictures: list[Any]) -> dict[str, Any]:
        """Tokens, each picture's marks as many as it has tokens, and its number in the place of its pixels."""
        import torch

        names = [_digest(picture) for picture in pictures]
        distinct = dict(zip(names, pictures, strict=True))
        grids, self.features = self._encoded(tuple(distinct), list(distinct.values()))
        rows = torch.tensor([list(distinct).index(name) for name in names])
        grid = grids[rows]
        marks = [self.processor.replace_image_token({"image_grid_thw": grid}, n) for n in range(len(rows))]
        texts, _ = self.processor.get_text_with_replacements(texts, marks)
        tokens = self.processor.tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        kinds = torch.tensor(self.processor.create_mm_token_type_ids(tokens["input_ids"].tolist()))
        numbers = rows.repeat_interleave(grid.prod(1))[:, None].float()
        inputs = {**tokens, "mm_token_type_ids": kinds, "image_grid_thw": grid, "pixel_values": numbers}
        return {name: value.to(self.model.device) for name, value in inputs.items()}

    def _numbered(self, pixel_values: Any, image_grid_thw: Any, **options: Any) -> Any:
        """What stands where the model encodes pictures: the kept features of each picture's number."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        first = image_grid_thw.prod(1).cumsum(0) - image_grid_thw.prod(1)
        numbers = pixel_values[first, 0].long().tolist()
        return BaseModelOutputWithPooling(pooler_output=tuple(self.features[number] for number in numbers))

    def _encoded(self, names: tuple[str, ...], pictures: list[Any]) -> tuple[Any, list[Any]]:
        """Grid and features of each picture: [pictures, 3], and a [tokens, hidden] tensor each."""
        if names not in self.kept:
            made = self.processor.image_processor(images=pictures, return_tensors="pt")
            pixels, grids = made["pixel_values"].to(self.model.device), made["image_grid_thw"]
            encoded = self.encode(pixels, grids.to(self.model.device))
            self.kept[names] = grids, [feature.to(self.model.dtype) for feature in encoded.pooler_output]
        while len(self.kept) > 1 and sum(map(_bytes, self.kept.values())) > KEPT_BYTES:
            del self.kept[next(iter(self.kept))]
        return self.kept[names]


def _digest(picture: Any) -> str:
    """A picture's name: its mode, size and pixels."""
    return hashlib.sha256(f"{picture.mode}{picture.size}".encode() + picture.tobytes()).hexdigest()


def _bytes(kept: tuple[Any, list[Any]]) -> int:
    return sum(part.numel() * part.element_size() for part in kept[1])
