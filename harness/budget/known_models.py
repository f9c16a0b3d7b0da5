"""Shapes of the models that scales name, counted on torch's meta device, for plans that are made without them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.budget.shape import Shape

_VISION_25 = {"qkv": 163_840, "proj": 81_920}
KNOWN: Mapping[str, Shape] = {
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(
        parameters=8_292_166_656,
        language=6_525_288_448,
        vision=631_470_080,
        merger=44_564_480,
        vocabulary=152_064,
        width=3584,
        inner=18_944,
        layers=28,
        attention_width=3584,
        kv_width=512,
        vision_layers=32,
        vision_full=4,
        vision_width=1280,
        vision_inner=3420,
        patch=14,
        merge=2,
        linears={
            **_VISION_25, "gate_proj": 781_184, "up_proj": 781_184, "down_proj": 781_184, "0": 10_240, "2": 8704,
            "q_proj": 200_704, "k_proj": 114_688, "v_proj": 114_688, "o_proj": 200_704,
        },
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(
        parameters=3_754_622_976,
        language=2_774_532_096,
        vision=631_470_080,
        merger=36_700_160,
        vocabulary=151_936,
        width=2048,
        inner=11_008,
        layers=36,
        attention_width=2048,
        kv_width=256,
        vision_layers=32,
        vision_full=4,
        vision_width=1280,
        vision_inner=3420,
        patch=14,
        merge=2,
        linears={
            **_VISION_25, "gate_proj": 620_416, "up_proj": 620_416, "down_proj": 620_416, "0": 10_240, "2": 7168,
            "q_proj": 147_456, "k_proj": 82_944, "v_proj": 82_944, "o_proj": 147_456,
        },
    ),
    "Qwen/Qwen3-VL-8B-Instruct": Shape(
        parameters=8_767_123_696,
        language=6_945_767_424,
        vision=412_839_936,
        merger=160_432_128,
        vocabulary=151_936,
        width=4096,
        inner=12_288,
        layers=36,
        attention_width=4096,
        kv_width=1024,
        vision_layers=27,
        vision_full=27,
        vision_width=1152,
        vision_inner=4304,
        patch=16,
        merge=2,
        linears={
            "qkv": 124_416, "proj": 62_208, "linear_fc1": 184_176, "linear_fc2": 182_128, "q_proj": 294_912,
            "k_proj": 184_320, "v_proj": 184_320, "o_proj": 294_912, "gate_proj": 589_824, "up_proj": 589_824,
            "down_proj": 589_824,
        },
    ),
}  # fmt: skip

__all__ = ["KNOWN"]
