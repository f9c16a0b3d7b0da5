"""The sizes of an experiment: the twin scale for two CPU cores, the paper's 7B scale, a smaller and a newer model."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from harness.core import Decoding, Scale, UserError, replace

TWIN_BASE = "twin-base"
# How a scale lays out replies: "dense" scores those to a prompt in one sequence, which is known of architectures whose
# positions go on from a prompt's end; "plain" is a sequence a reply, TRL's own path, for all others.
PLAIN = "plain"
SHARES_PREFIX = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

TWIN = Scale(
    name="twin",
    model=TWIN_BASE,
    precision="float32",
    sft_batch=16,
    rollouts=8,
    prompts_per_update=8,
    updates_per_rollout_batch=4,
    decodings={
        "direct": Decoding(name="greedy-8", max_new_tokens=8),
        "cot": Decoding(name="greedy-32", max_new_tokens=32),
    },
    rates={"sft": 1e-4, "grpo": 1e-4, "rloo": 1e-4, "remax": 1e-4},
    train_items=384,
    test_items=200,
    eval_batch=128,
    min_pixels=48 * 48,
    max_pixels=48 * 48,
    max_prompt_tokens=1536,
    # Measured on one core: an update of 16 targets and of 64 replies, an item of up to 8 and of up to 32 tokens, and an
    # example that is selected by eight of the latter.
    observers=1,
    seconds={"sft": 0.17, "grpo": 1.7, "rloo": 1.7, "remax": 1.9, "direct": 0.004, "cot": 0.006, "solvable": 0.05},
)
# Stages eight times as long: at the default size no stage costs another task more than two points, so that nothing can
# be said about forgetting. The rates are the default scale's, untuned for this length.
TWIN_LONG = replace(TWIN, name="twin-long", train_items=3072)
# The same by vLLM, which makes every reply: in evaluation, in selection and in training.
TWIN_VLLM = replace(TWIN, name="twin-vllm", engine="vllm", rollout_engine="vllm", ranks=1, observers=0)

# Settings of the released scripts (github.com/laisong-22004009/RFTvsSFT @7d4f50e). Precision is that of the forward
# pass: every arm holds fp32 master weights, because at a rate of 1e-6 updates of bf16 weights are rounded away; this
# stands in for the scripts' bf16 with Kahan summation.
QWEN25_VL_7B = Scale(
    name="qwen2.5-vl-7b",
    model="Qwen/Qwen2.5-VL-7B-Instruct",
    precision="bfloat16",
    sft_batch=16,
    rollouts=8,
    prompts_per_update=128,
    updates_per_rollout_batch=4,
    decodings={
        "direct": Decoding(name="greedy-64", max_new_tokens=64),
        "cot": Decoding(name="greedy-1024", max_new_tokens=1024),
    },
    rates={"sft": 1e-5, "grpo": 1e-6, "rloo": 1e-6, "remax": 1e-6},
    train_items=None,
    test_items=None,
    eval_batch=64,
    min_pixels=200_704,
    max_pixels=1_003_520,
    max_prompt_tokens=4096,
    top_p=0.99,
    # Eight cards of 80 GB: a group of replies in a forward pass; vLLM for evaluation and, in half of a card, rollouts.
    micro_batch=8,
    ranks=8,
    engine="vllm",
    rollout_engine="vllm",
    rollout_memory=0.5,
    cite="arXiv:2507.05386",
)

# The same for one card: for sft-lora and rft-lora, whose frozen base and adapter fit where all weights with AdamW's
# moments do not. Rates are those of all weights; the paradigms of adapters multiply them.
QWEN25_VL_3B = replace(
    QWEN25_VL_7B, name="qwen2.5-vl-3b", model="Qwen/Qwen2.5-VL-3B-Instruct", micro_batch=2, eval_batch=16, ranks=1
)
# A picture token of Qwen3-VL stands for 32 x 32 pixels, not 28 x 28: the bounds are the same numbers of tokens.
QWEN3_VL_8B = replace(
    QWEN25_VL_7B,
    name="qwen3-vl-8b",
    model="Qwen/Qwen3-VL-8B-Instruct",
    min_pixels=256 * 32 * 32,
    max_pixels=1280 * 32 * 32,
)


def with_model(scale: Scale, model: str | None) -> Scale:
    """The scale with another model, a folder or the hub's name of one that is here; itself where none is given.

    Replies are laid out as the model's architecture can have them: "plain" where it is not known to share a prompt.
    """
    if model is None:
        return scale
    named = replace(scale, model=str(Path(model).resolve()) if Path(model).is_dir() else model)
    try:
        kind = architecture(model_folder(named))
    except UserError:  # a plan may be made before the model is here
        return named
    return named if kind in SHARES_PREFIX else replace(named, attention=PLAIN)


SCALES = (TWIN, TWIN_LONG, TWIN_VLLM, QWEN25_VL_3B, QWEN25_VL_7B, QWEN3_VL_8B)


def model_folder(scale: Scale) -> Path:
    """The local folder of a scale's model: a folder as given, the project's own twin base, or the hub's local copy.

    Nothing is downloaded. Raises UserError where the folder is missing or holds no safetensors.
    """
    given = Path(scale.model)
    if scale.model == TWIN_BASE:
        folder = _twin_base()
    elif given.is_dir():
        folder = given
    elif given.is_absolute() or scale.model.startswith("."):
        raise UserError(f"model folder {scale.model} does not exist: give a folder, or the hub name of a model")
    else:
        folder = _hub_copy(scale.model)
    if not any(folder.glob("*.safetensors")) or not (folder / "config.json").is_file():
        raise UserError(f"model folder {folder} lacks config.json or *.safetensors: give a folder with both")
    return folder


def architecture(folder: Path) -> str:
    """What a model's folder says it is, such as qwen2_5_vl. Raises UserError where its configuration is damaged."""
    try:
        return str(json.loads((folder / "config.json").read_bytes()).get("model_type", ""))
    except (OSError, ValueError, AttributeError) as fault:
        raise UserError(f"{folder / 'config.json'} is damaged ({fault}): copy the model again") from fault


def _twin_base() -> Path:
    """The twin base's weights inside the installed ``twin_base`` package, found without importing it."""
    found = importlib.util.find_spec("twin_base")
    for place in (found.submodule_search_locations if found else None) or ():
        folder = Path(place) / "weights"
        if folder.is_dir():
            return folder
    raise UserError("the twin base is not installed: reinstall cpt-harness, or rebuild it by its recipe")


def _hub_copy(name: str) -> Path:
    """The folder of a hub model that was downloaded before."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as fault:
        raise UserError(f"model {name} is not on this machine: give a folder, or run `hf download {name}`") from fault
