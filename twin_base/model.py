"""The tiny Qwen2.5-VL: stock model class, stock image processor and chat template, an own small byte-level BPE."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PATCH, MERGE, SIDE = 8, 2, 48
HEADS, THETA = 4, 10000.0
# About 1 / sqrt(width). With the 0.02 of large models, attention starts so flat at this width that a thousand steps
# pass before a letter is looked up or a picture is used.
SPREAD = 0.08
# Of `shape_weights`: spread of embeddings; gains of the last norm and of what an MLP or the vision tower adds.
EMBEDDED, LAST_GAIN, BRANCH_GAIN = 1.0, 0.03, 0.1
# Likeness of keys to queries; the distances that first-layer heads prefer, how strongly, and how much content counts.
LIKENESS, DISTANCES, PREFERENCE, CONTENT = 0.8, (1, 2, 3), 6.0, 0.2
# Quarters of the width: the first-layer heads keep the words one, two and three places back in the last three of them.
# A look-up by layer: where its query, its key and what it brings back stand.
WORD, TWO_BACK, THREE_BACK, ONE_BACK = range(4)
LOOK_UPS = {
    1: ((ONE_BACK, WORD, TWO_BACK), (ONE_BACK, WORD, THREE_BACK), (TWO_BACK, WORD, THREE_BACK)),
    3: ((WORD, WORD, TWO_BACK), (WORD, WORD, THREE_BACK)),
}
KEPT, SHARPNESS = 2.0, 1.3
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# One token each, so that a thoughtful reply costs four tokens more than a bare one.
MARKS = ("<think>", "</think>", "\\boxed{")
# What the chat template writes around every turn, one token each: a third of a prompt would be these words.
TURNS = ("system\nYou are a helpful assistant.", "user\n", "assistant\n")


def tokenizer_from(texts: Iterable[str], phrases: Iterable[str] = (), vocabulary: int = 2048) -> Any:
    """A byte-level BPE tokenizer trained on ``texts``; digits and punctuation stay tokens of their own.

    ``phrases`` (instructions that end thousands of prompts) become one token each, like ``MARKS`` and ``TURNS``.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    from trl.chat_template_utils import qwen2_5_vl_chat_template  # the stock template, word for word

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\s\p{L}\p{N}]"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    core.add_tokens([AddedToken(mark, normalized=False) for mark in (*MARKS, *TURNS, *sorted(set(phrases)))])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        chat_template=qwen2_5_vl_chat_template,
        padding_side="left",
        model_max_length=2048,
        additional_special_tokens=[mark for mark in SPECIAL if mark not in ("<|im_end|>", "<|endoftext|>")],
    )


def processor_with(tokenizer: Any) -> Any:
    """The stock Qwen2.5-VL processor around the small tokenizer: 48 x 48 pixels become nine picture tokens."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    pixels = {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=PATCH, merge_size=MERGE, size=pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=PATCH, merge_size=MERGE),
        chat_template=tokenizer.chat_template,
    )


def model_for(tokenizer: Any, seed: int) -> Any:
    """A randomly initialised ``Qwen2_5_VLForConditionalGeneration`` of about 1.7 million fp32 parameters."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    token = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": THETA, "mrope_section": [4, 6, 6]},
            "bos_token_id": None,
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
            "tie_word_embeddings": True,
            "initializer_range": SPREAD,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": SIDE,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [0, 1, 2],
            "initializer_range": SPREAD,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config).float()
    shape_weights(model)
    model.generation_config.eos_token_id = token("<|im_end|>")
    model.generation_config.pad_token_id = token("<|endoftext|>")
    return model


def shape_weights(model: Any) -> None:
    """Give random weights a shape in which attention looks words up from the first step; all of it stays trainable.

    After mimetic initialisation (Trockman and Kolter, arXiv:2305.09828): what a head reads it writes back unchanged
    (W_O = W_V^T) and, from the second layer on, a word attends to its like (W_K near W_Q). In the first layer three
    heads keep the words one, two and three places back (``_look_back``), and later heads start as look-ups among them
    (``_look_up``): the word before me, where did it stand, and what stood two places before it there? That is how the
    letter of an option is found. Embeddings are wide and every other branch is narrow, so that a token's own word
    outweighs what the untrained layers add to it. Without the look-ups option letters are still guessed after 3,000
    steps, with them they are found within a hundred.
    """
    import torch

    layers = model.model.language_model.layers
    with torch.no_grad():
        model.model.language_model.embed_tokens.weight.mul_(EMBEDDED / SPREAD)
        model.model.language_model.norm.weight.fill_(LAST_GAIN)
        for name, weight in model.named_parameters():
            if name.endswith(("down_proj.weight", "attn.proj.weight")):
                weight.mul_(BRANCH_GAIN)
        torch.nn.init.orthogonal_(layers[0].self_attn.v_proj.weight)
        quarters = layers[0].self_attn.v_proj.weight.detach().clone().chunk(HEADS)
        for number, layer in enumerate(layers):
            attention = layer.self_attn
            attention.o_proj.weight.copy_(attention.v_proj.weight.T)
            if number == 0:
                _look_back(attention, quarters)
                continue
            query, key = attention.q_proj, attention.k_proj
            key.weight.copy_(LIKENESS * query.weight + math.sqrt(1 - LIKENESS**2) * key.weight)
            for head, places in enumerate(LOOK_UPS.get(number, ())):
                _look_up(attention, head, *(quarters[place] for place in places))


def _look_back(attention: Any, quarters: Any) -> None:
    """Heads that prefer the token one, two and three places back, by the biases of queries and keys alone.

    For each rotary frequency f and distance d: q = (p, 0), k = (p cos(f d), p sin(f d)). A word and the word before it
    stand in different quarters, so that a query for the one does not find itself.
    """
    query, key = attention.q_proj, attention.k_proj
    width = len(quarters[0])
    attention.o_proj.weight.mul_(BRANCH_GAIN)
    for head, (distance, place) in enumerate(zip(DISTANCES, (ONE_BACK, TWO_BACK, THREE_BACK), strict=True)):
        start = head * width
        attention.o_proj.weight[:, start : start + width] = KEPT * quarters[place].T
        for projection in (query, key):
            projection.weight[start : start + width] *= CONTENT
        for pair in range(6):  # the faster frequencies; the slower ones hardly tell neighbours apart
            turn = THETA ** (-2 * pair / width) * distance
            query.bias[start + pair] = PREFERENCE
            key.bias[start + pair] = PREFERENCE * math.cos(turn)
            key.bias[start + pair + width // 2] = PREFERENCE * math.sin(turn)


def _look_up(attention: Any, head: int, asked: Any, known: Any, brought: Any) -> None:
    """A head whose query reads one quarter, its key another, and which brings back a third."""
    rows = slice(head * len(asked), (head + 1) * len(asked))
    attention.q_proj.weight[rows] = SHARPNESS * asked
    attention.k_proj.weight[rows] = SHARPNESS * known
    attention.v_proj.weight[rows] = brought
    attention.o_proj.weight[:, rows] = KEPT * brought.T


def build(folder: Path, seed: int, texts: Iterable[str]) -> None:
    """Write an untrained base to ``folder``: weights, configuration, tokenizer and processor."""
    tokenizer = tokenizer_from(texts)
    model_for(tokenizer, seed).save_pretrained(folder)
    processor_with(tokenizer).save_pretrained(folder)
