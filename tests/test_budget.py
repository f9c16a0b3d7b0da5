"""The model of memory, disk and time: against the table of what 7B and 3B take, and against the published runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import median

import pytest

from harness import registry
from harness.budget import compute, hardware, memory, shape, storage
from harness.budget.compute import Lengths, Passes
from harness.budget.known_models import KNOWN
from harness.budget.memory import Way
from harness.core import Stream, Task, UserError, replace
from harness.scales import QWEN25_VL_7B, TWIN, model_folder

GB = 1e9
RUNS = Path(__file__).parents[1] / "results" / "runs"
SEVEN, THREE = KNOWN["Qwen/Qwen2.5-VL-7B-Instruct"], KNOWN["Qwen/Qwen2.5-VL-3B-Instruct"]
LENGTHS = Lengths(text=128, patches=4 * 872, reply=0.38 * 1024)
VISION_25 = dict(depth=32, hidden_size=1280, intermediate_size=3420, num_heads=16, patch_size=14, spatial_merge_size=2)
CONFIGS = {  # what the models' own config.json say
    "Qwen/Qwen2.5-VL-7B-Instruct": (
        "Qwen2_5_VLConfig",
        dict(hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
             num_key_value_heads=4, vocab_size=152064),
        VISION_25 | dict(out_hidden_size=3584, fullatt_block_indexes=[7, 15, 23, 31]),
        False,
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": (
        "Qwen2_5_VLConfig",
        dict(hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16,
             num_key_value_heads=2, vocab_size=151936),
        VISION_25 | dict(out_hidden_size=2048, fullatt_block_indexes=[7, 15, 23, 31]),
        True,
    ),
    "Qwen/Qwen3-VL-8B-Instruct": (
        "Qwen3VLConfig",
        dict(hidden_size=4096, intermediate_size=12288, num_hidden_layers=36, num_attention_heads=32,
             num_key_value_heads=8, head_dim=128, vocab_size=151936),
        dict(depth=27, hidden_size=1152, intermediate_size=4304, num_heads=16, patch_size=16, spatial_merge_size=2,
             out_hidden_size=4096, num_position_embeddings=2304, deepstack_visual_indexes=[8, 16, 24]),
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known_models_are_what_torch_counts(name):
    import torch
    import transformers

    kind, text, vision, tied = CONFIGS[name]
    config = getattr(transformers, kind)(text_config=text, vision_config=vision, tie_word_embeddings=tied)
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(config)
    found = shape.counted(
        json.loads(config.to_json_string()), {name: tuple(each.shape) for name, each in model.state_dict().items()}
    )
    assert found == KNOWN[name]
    assert found.parameters == sum(each.numel() for each in model.parameters())


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
def test_a_folder_is_counted_from_its_headers(tmp_path):
    found = shape.of_folder(model_folder(TWIN))
    assert (found.parameters, found.layers, found.kv_values) == (1_583_680, 4, 2 * 4 * 128)
    assert found.picture_tokens(48 * 48) == 9
    assert found.adapter(8) == 8 * sum(found.linears.values()) > found.adapter(8, ("q_proj",)) == 8 * 4 * 256
    assert found.adapter(16) == adapted(16)
    with pytest.raises(UserError, match="no layer w_proj"):
        found.adapter(8, ("w_proj",))
    shutil.copytree(model_folder(TWIN), tmp_path / "model")
    for text in ("{}", "[]", '{"text_config": {}, "vision_config": {"depth": "x"}}'):
        (tmp_path / "model" / "config.json").write_text(text)
        other = shape.of_folder(tmp_path / "model")
        assert (other.known, other.parameters) == (False, found.parameters), "of another kind the parameters are known"
    (tmp_path / "model" / "config.json").write_text("[")
    with pytest.raises(UserError, match="cannot be read"):
        shape.of_folder(tmp_path / "model")


def adapted(rank: int) -> int:
    """The parameters that peft trains of the twin with an adapter on every linear layer."""
    import peft
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(model_folder(TWIN), local_files_only=True)
    given = peft.get_peft_model(model, peft.LoraConfig(r=rank, target_modules="all-linear"))
    return sum(each.numel() for each in given.parameters() if each.requires_grad)


def way(devices: int, *, rft: bool = True, adapter: int = 0, base: int = 4, reference: int = 4, **changes) -> Way:
    """A stage at the paper's lengths: a group of eight replies in one row, or one target."""
    row = 4096 + (8 if rft else 1) * 1024
    known = dict(
        devices=devices, adapter=adapter, base=base, tokens=row, row=row, pixels=1_003_520, length=5120,
        reference=reference if rft and not adapter else 0, replies="vllm" if rft else "",
    )  # fmt: skip
    return Way(**known | changes)


STOCK = dict(whole_reference=True, kept_twice=True)  # TRL as it is: a picture for each reply, on the device
LORA_64, LORA_16, LORA_3B = SEVEN.adapter(64), SEVEN.adapter(16), THREE.adapter(16)
STATES = ("weights, gradients, moments", "frozen base", "reference")
# What, model, way, GB of a card, GB of its states and the verdict as the table gives them.
TABLE = [
    ("7B full, 8 x 80", SEVEN, way(8), 80, 20.7, "fits"),
    ("7B full, 8 x 80, bf16 reference", SEVEN, way(8, reference=2), 80, 18.7, "fits"),
    ("7B full, 4 x 80", SEVEN, way(4), 80, 41.5, "tight"),
    ("7B full, 4 x 80, bf16 reference", SEVEN, way(4, reference=2), 80, 37.3, "fits"),
    ("7B full, 4 x 80, as TRL is", SEVEN, way(4, kept=1024, **STOCK), 80, 41.5, "no"),
    ("7B full, 1 x 80", SEVEN, way(1, reference=0), 80, 133, "no"),
    ("7B LoRA r=64, 1 x 80", SEVEN, way(1, adapter=LORA_64), 80, 33.2 + 3.3, "fits"),
    ("3B full, 8 x 80", THREE, way(8), 80, 9.4, "fits"),
    ("3B full, 4 x 80", THREE, way(4), 80, 18.8, "fits"),
    ("3B full, 2 x 80", THREE, way(2), 80, 37.5, "fits"),
    ("3B full, 1 x 80", THREE, way(1), 80, 75, "no"),
    ("3B LoRA r=16, 1 x 24, bf16 base, GRPO", THREE, way(1, adapter=LORA_3B, base=2), 24, 7.5 + 0.7, "tight"),
    ("3B LoRA r=16, 1 x 24, fp32 base, GRPO", THREE, way(1, adapter=LORA_3B), 24, 15.0 + 0.7, "no"),
    ("3B LoRA r=16, 1 x 24, fp32 base, SFT", THREE, way(1, adapter=LORA_3B, rft=False), 24, 15.0 + 0.7, "fits"),
    ("7B LoRA, 1 x 24, bf16 base, SFT", SEVEN, way(1, adapter=LORA_16, base=2, rft=False), 24, 16.6 + 0.8, "tight"),
    ("7B LoRA, 1 x 24, bf16 base, GRPO", SEVEN, way(1, adapter=LORA_16, base=2), 24, 16.6 + 0.8, "no"),
]


@pytest.mark.parametrize(
    ("name", "model", "how", "gigabytes", "states", "verdict"), TABLE, ids=[row[0] for row in TABLE]
)
def test_memory_is_that_of_the_table(name, model, how, gigabytes, states, verdict):
    found = memory.of(model, how)
    assert sum(found.training.get(part, 0) for part in STATES) / GB == pytest.approx(states, rel=0.01)
    assert found.verdict(gigabytes * GB) == verdict


def test_the_parts_beside_the_states_are_those_of_the_table():
    full, four = memory.of(SEVEN, way(8)), memory.of(SEVEN, way(4))
    assert full.training["activations"] / GB == pytest.approx(6, rel=0.15)
    assert full.training["gathered weights"] / GB == pytest.approx(2, rel=0.15)
    assert full.sampling["vLLM weights"] / GB == pytest.approx(16.6, rel=0.01)
    assert memory.of(THREE, way(8)).sampling["vLLM weights"] / GB == pytest.approx(7.5, rel=0.01)
    assert memory.of(THREE, way(1, adapter=LORA_3B)).sampling["cache"] / GB == pytest.approx(3, rel=0.05)
    assert 2 * SEVEN.kv_values == 57_344
    assert 2 * THREE.kv_values == 36_864
    assert pytest.approx(207e6, rel=0.01) == LORA_64
    assert pytest.approx(41e6, rel=0.01) == LORA_3B
    stock = memory.of(SEVEN, way(8, kept=512, whole_reference=True))
    assert stock.training["reference's pass"] / GB == pytest.approx(16.6, rel=0.01)
    assert stock.training["pictures kept"] / GB == pytest.approx(12, rel=0.05)
    assert memory.of(SEVEN, way(8, kept=512, kept_twice=False)).training["pictures kept"] / GB < 12.5
    assert full.vllm_share(80 * GB) == 0.5
    assert four.vllm_share(80 * GB) == pytest.approx(0.4, abs=0.051)
    assert memory.of(SEVEN, way(8, rft=False)).vllm_share(80 * GB) is None
    hf = memory.of(SEVEN, way(8, replies="transformers", at_once=512, length=2300)).sampling["cache"]
    assert hf / GB == pytest.approx(68, rel=0.01)
    assert full.loading["whole weights"] / GB + full.loading["whole reference"] / GB == pytest.approx(66, rel=0.01)
    cards = memory.of(SEVEN, way(1, adapter=LORA_64))
    assert "whole reference" not in cards.loading


def test_disk_comes_from_the_parameters_and_not_from_a_file():
    full, small = SEVEN.parameters, LORA_64
    assert storage.checkpoint(full) / GB == pytest.approx(33.2, rel=0.01)
    assert storage.states(full) / GB == pytest.approx(2 * 99.5, rel=0.01)
    assert storage.of(full, full, 7, 160) / GB == pytest.approx(465, rel=0.01)
    assert [storage.checkpoint(one) / GB for one in (LORA_16, small)] == pytest.approx([0.2, 0.8], rel=0.05)
    assert storage.of(small, small, 7, 160) < storage.of(full, small, 7, 160) < storage.of(full, full, 7, 160)


def test_the_papers_run_is_the_work_that_was_estimated_by_hand():
    stream = registry.typed(Stream, "default")
    tasks = {name: registry.typed(Task, name) for name in stream.tasks + stream.general}
    prompts = sum(tasks[name].counts["train"] * stream.epochs[name] for name in stream.tasks)
    cells = 2 * (len(stream.tasks) + 1) * sum(task.counts["test"] for task in tasks.values())
    assert (prompts, 8 * prompts) == (pytest.approx(206_000, rel=0.03), pytest.approx(1.65e6, rel=0.03))
    assert cells == pytest.approx(860_000, rel=0.01)
    each, shared = (compute.trained(SEVEN, LENGTHS, prompts, 8, Passes(plain=2), shared) for shared in (False, True))
    assert each == pytest.approx(2e20, rel=0.25), "every reply with its own prompt"
    assert shared < each / 2
    cards = hardware.named("8xh100-80gb")
    asked = [Lengths(text=128, patches=4 * 872, reply=reply) for reply in (8, 0.38 * 1024)]
    hours = sum(compute.sampling(SEVEN, cards, length, cells / 2, 1, 256) for length in asked) / 3600
    assert 1.5 < hours < 4, "2 to 3 h by vLLM on eight cards"


def costs(name: str, field: str, per: str | None = None) -> list[float]:
    """A field of every stage of the published runs whose names begin so, over another one."""
    found = []
    for path in sorted(RUNS.glob(f"{name}-s[0-9]*/costs.json")):
        for stage in json.loads(path.read_text())["stages"].values():
            if stage.get(field) and (per is None or stage.get(per)):
                found.append(stage[field] / (stage[per] if per else 1))
    return found


CPU = hardware.named("cpu")
TWIN_SHAPE = shape.of_folder(model_folder(TWIN))
FACTOR = 2.0  # the published runs were measured with other runs beside them: their stages differ by more than this


def twin(reply: float) -> Lengths:
    """The twin's prompts: 23 tokens of text and a picture of 36 patches, on average."""
    return Lengths(text=23, patches=36, reply=reply)


def step(reply: float, groups: int = 16, replies: int = 1, plain: int = 0) -> float:
    """Seconds of an update on one thread, and of the replies that it learns from."""
    passes = Passes(plain=plain, half=False)
    work = compute.trained(TWIN_SHAPE, twin(reply), groups, replies, passes, shared=replies > 1)
    sampled = compute.sampling(TWIN_SHAPE, CPU, twin(reply), groups, replies, 256, half=False) if replies > 1 else 0.0
    return compute.seconds(CPU, work) + sampled


def asked(reply: float) -> float:
    """Seconds of a style's cells after a stage: ten columns of 200 items."""
    return compute.sampling(TWIN_SHAPE, CPU, twin(reply), 2000, 1, 128, half=False)


SHORT, LONG = 0.38 * 8, 0.38 * 32
MEASURED = {
    "sft": (step(2), costs("sft-default-twin", "seconds", "optimiser_steps")),
    "sft in long stages": (step(2), costs("sft-default-twin-long", "seconds", "optimiser_steps")),
    "sft-cot": (step(LONG), costs("sft-cot-default-twin-long", "seconds", "optimiser_steps")),
    "mtl": (step(2), costs("mtl-default-twin", "seconds", "optimiser_steps")),
    "rft": (step(LONG, 8, 8, plain=2), costs("rft-default-twin", "seconds", "optimiser_steps")),
    "rft in long stages": (step(LONG, 8, 8, plain=2), costs("rft-default-twin-long", "seconds", "optimiser_steps")),
    "rft-nokl": (step(LONG, 8, 8, plain=1), costs("rft-nokl-default-twin", "seconds", "optimiser_steps")),
    "rft-nocot": (step(SHORT, 8, 8, plain=2), costs("rft-nocot-default-twin", "seconds", "optimiser_steps")),
    "cells after a stage of sft": (asked(SHORT) + asked(LONG), costs("sft-default-twin", "evaluation_seconds")),
    "cells after a stage of rft": (asked(SHORT) + asked(LONG), costs("rft-default-twin", "evaluation_seconds")),
    "an item that rif-rft selects": (
        compute.sampling(TWIN_SHAPE, CPU, twin(LONG), 1, 8, 128, half=False),
        costs("rif-rft-default-twin", "filter_seconds", "items"),
    ),
}


@pytest.mark.parametrize("what", MEASURED)
def test_one_speed_of_the_processor_gives_what_the_published_runs_took(what):
    said, measured = MEASURED[what]
    assert measured
    assert median(measured) / FACTOR < said < FACTOR * median(measured)


# A stage on one H200 (benchmarks/gpu.py; torch 2.11, transformers 5.17): GB at its peak, and what it was: whether
# in bf16, groups and replies to each, tokens of a prompt's text, of its picture and of a reply, pixels of the picture.
ON_A_GPU = {
    "twin, sft": (0.137, False, 16, 1, 9, 2, 48 * 48),
    "twin, rft": (0.345, False, 8, 8, 9, 13, 48 * 48),
    "81 M, sft": (1.707, True, 16, 1, 9, 2, 48 * 48),
    "81 M, rft": (3.706, True, 8, 8, 9, 128, 48 * 48),
    "81 M, sft, long pictures": (2.834, True, 16, 1, 576, 2, 384 * 384),
}
MEDIUM = replace(
    TWIN_SHAPE, parameters=80_800_128, language=53_248_000, vision=21_168_128, merger=5_505_024, width=640, inner=1920,
    layers=10, attention_width=640, kv_width=640, vision_layers=8, vision_full=2, vision_width=512, vision_inner=1024,
)  # fmt: skip


@pytest.mark.parametrize("what", ON_A_GPU)
def test_memory_is_what_a_gpu_was_seen_to_take(what):
    measured, half, groups, replies, picture, new, pixels = ON_A_GPU[what]
    row = 23 + picture + replies * new
    how = Way(
        half=half, tokens=groups * row, row=row, pictures=groups, pixels=pixels, reference=4 * (replies > 1),
        replies="transformers" if replies > 1 else "", at_once=256, length=23 + picture + new,
    )  # fmt: skip
    said = memory.of(MEDIUM if "81 M" in what else TWIN_SHAPE, how).peak / GB
    assert said == pytest.approx(measured, rel=0.1 if half else 0.45)


def test_windows_one_by_one_cost_what_a_gpu_was_seen_to_wait():
    """Sixteen long pictures made an update of the model of 81 M parameters 1.9 s longer than sixteen short ones."""
    card = hardware.CARDS["h200-141gb"]
    long, short = (16 * compute.windows(MEDIUM, MEDIUM.patches(pixels)) for pixels in (384 * 384, 48 * 48))
    assert (long - short) * Passes().total * card.window_seconds == pytest.approx(2.294 - 0.389, rel=0.05)
    assert compute.windows(KNOWN["Qwen/Qwen3-VL-8B-Instruct"], 4000) == 0, "every layer sees the whole picture"


def test_replies_are_as_long_as_the_published_runs_sampled_them():
    share = median(costs("rft-default-twin", "sampled_tokens", "optimiser_steps")) / (64 * 32)
    assert share == pytest.approx(compute.REPLY_SHARE, abs=0.03)
    assert QWEN25_VL_7B.decodings["cot"].max_new_tokens == 1024


def test_hardware_has_names():
    eight = hardware.named("8xh100-80gb")
    assert (eight.name, eight.count, eight.on_cpu, eight.here) == ("8xh100-80gb", 8, False, False)
    assert hardware.named("rtx4090-24gb").name == "1xrtx4090-24gb"
    assert hardware.named("cpu").name == "cpu"
    for name in ("", "8x", "0xh100-80gb", "8xh100", "8 x h100-80gb", "1000xh100-80gb", "../h100-80gb"):
        with pytest.raises(UserError, match="use cpu, or a number of cards such as 8xh100-80gb"):
            hardware.named(name)
    assert all(card.source and card.flops and card.bandwidth for card in hardware.CARDS.values())


@pytest.mark.parametrize(
    ("said", "memory_of_it", "card"),
    [
        ("NVIDIA H100 80GB HBM3", 85_029_158_912, "h100-80gb"),
        ("NVIDIA H200", 150_754_820_096, "h200-141gb"),
        ("NVIDIA A100-SXM4-80GB", 85_097_971_712, "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", 84_974_239_744, "a100-80gb"),
        ("NVIDIA A100-SXM4-40GB", 42_298_834_944, "a100-40gb"),
        ("NVIDIA L40S", 47_667_544_064, "l40s-48gb"),
        ("NVIDIA L4", 23_617_994_752, "l4-24gb"),
        ("NVIDIA GeForce RTX 4090", 25_386_352_640, "rtx4090-24gb"),
    ],
)
def test_a_card_is_known_by_what_it_calls_itself(said, memory_of_it, card):
    found = hardware.reported(said, memory_of_it)
    assert found.name == card
    assert found.memory == pytest.approx(hardware.CARDS[card].memory, rel=0.08)
    assert found.flops == hardware.CARDS[card].flops
