"""Tiny random models of other architectures, each with its own processor and its own published chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE = 48
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer(special: list[str], template: str, end: str, begin: str | None = None, **named: str) -> Any:
    """A tokenizer of bytes and special tokens; ``named`` are those that a processor asks for by name."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        [],
        trainers.BpeTrainer(
            vocab_size=600, special_tokens=["<pad>", *special], initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=end,
        bos_token=begin,
        pad_token="<pad>",
        chat_template=template,
        padding_side="left",
        extra_special_tokens=named,
        additional_special_tokens=[one for one in special if one not in named.values()],
    )


def template(name: str) -> str:
    """A published chat template, as TRL carries it."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()


def save(folder: Path, model: Any, processor: Any, end: int) -> Path:
    """Write a model's folder."""
    import torch

    torch.manual_seed(0)
    model = model.float()
    for weight in model.parameters():  # wide enough that replies differ
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
    model.generation_config.eos_token_id = end
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL: interleaved three-axis positions, and features of the vision tower's depth in the first layers."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    words = tokenizer(["<|im_start|>", "<|im_end|>", *marks], template("qwen3_vl"), "<|im_end|>")
    pixels = {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=8, merge_size=2, size=pixels),
        tokenizer=words,
        video_processor=Qwen3VLVideoProcessor(patch_size=8, merge_size=2),
        chat_template=words.chat_template,
    )
    ids = dict(zip(("image", "video", "vision_start", "vision_end"), words.convert_tokens_to_ids(marks), strict=True))
    config = Qwen3VLConfig(
        text_config={
            **TEXT,
            "vocab_size": len(words),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 36,
            "deepstack_visual_indexes": [0, 1],
        },
        tie_word_embeddings=False,
        **{f"{name}_token_id": number for name, number in ids.items()},
    )
    return save(folder, Qwen3VLForConditionalGeneration(config), processor, words.eos_token_id)


def gemma3(folder: Path) -> Path:
    """Gemma 3: pictures of one size, seen both ways; the end of a turn is another token than the end of a text."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessor, Gemma3Processor

    named = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    special = ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", *named.values()]
    words = tokenizer(special, template("gemma3"), "<eos>", "<bos>", **named)
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=words,
        chat_template=words.chat_template,
        image_seq_length=4,
    )
    config = Gemma3Config(
        text_config={**TEXT, "vocab_size": len(words), "sliding_window": 64},
        vision_config={**VISION, "image_size": 32, "patch_size": 8},
        mm_tokens_per_image=4,
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
    )
    ends = words.convert_tokens_to_ids(["<eos>", "<end_of_turn>"])
    return save(folder, Gemma3ForConditionalGeneration(config), processor, ends)


def internvl(folder: Path) -> Path:
    """InternVL: a picture is cut into tiles of one size."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    chat = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{% if message['content'] is string %}"
        "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        "{{ '<IMG_CONTEXT>\n' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
        "{{'<|im_end|>\n'}}{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
    )
    words = tokenizer(["<|im_start|>", "<|im_end|>", *named.values()], chat, "<|im_end|>", **named)
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(
            size={"height": 32, "width": 32}, min_patches=1, max_patches=2, crop_to_patches=True
        ),
        tokenizer=words,
        video_processor=InternVLVideoProcessor(size={"height": 32, "width": 32}),
        image_seq_length=4,
        chat_template=words.chat_template,
    )
    config = InternVLConfig(
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(words)},
        vision_config={**VISION, "image_size": [32, 32], "patch_size": [8, 8]},
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    return save(folder, InternVLForConditionalGeneration(config), processor, words.eos_token_id)


def smolvlm(folder: Path) -> Path:
    """SmolVLM: small pieces of a picture beside the whole, each with words of its own around it."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessor, Idefics3Processor

    special = ["<|begin_of_text|>", "<|end_of_text|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>"]
    special += ["<global-img>", *(f"<row_{row}_col_{col}>" for row in (1, 2) for col in (1, 2))]
    words = tokenizer(special, template("idefics3"), "<end_of_utterance>", "<|begin_of_text|>")
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer=words,
        image_seq_len=4,
        chat_template=words.chat_template,
    )
    config = Idefics3Config(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(words), "pad_token_id": words.pad_token_id},
        vision_config={**VISION, "image_size": 32, "patch_size": 8},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=words.pad_token_id,
    )
    return save(folder, Idefics3ForConditionalGeneration(config), processor, words.eos_token_id)


def llava(folder: Path) -> Path:
    """LLaVA: a vision tower of CLIP's, whose patches stand one for one in the text."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    words = tokenizer(["<s>", "</s>", "<image>"], template("llava_next"), "</s>", image_token="<image>")
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=words.chat_template,
    )
    config = LlavaConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(words)},
        vision_config={**VISION, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    return save(folder, LlavaForConditionalGeneration(config), processor, words.eos_token_id)


MODELS = {made.__name__: made for made in (qwen3_vl, gemma3, internvl, smolvlm, llava)}
