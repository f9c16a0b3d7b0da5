"""A stage of ``sft`` and of ``rft`` on a GPU beside the bare TRL trainer: ``python -m benchmarks.gpu``.

Three sizes: the twin in fp32; a Qwen2.5-VL of about 80 million parameters, from scratch, in bf16 with fp32 master
weights, on the twin's small pictures; and the same model on pictures of 576 tokens, as long as the paper's are. Both
sides load the model, train and write the weights, by turns; what a number means says benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # where it is started as a file, its own folder stands there

from benchmarks.bare import Bare, is_grpo  # noqa: E402
from benchmarks.speed import distance, job_of, learn_held  # noqa: E402
from harness.core import Decoding, Job, Scale, Trained, UserError, replace  # noqa: E402
from harness.scales import TWIN, model_folder  # noqa: E402

WIDTH, LAYERS, HEADS = 640, 10, 10
VISION_WIDTH, VISION_LAYERS, VISION_HEADS = 512, 8, 8
LONG_SIDE = 384  # pixels: with patches of 8 merged by 2, 24 x 24 picture tokens
LONG_REPLY = 128
SIZES = ("twin", "short", "long")
PARADIGMS = ("sft", "rft")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One side of one paradigm at one size: seconds a step, tokens a second, and the peak of the GPU's memory in GB.

    Sampled tokens are those of rollouts, trained tokens those that the loss is on; ``seconds`` is the whole stage's.
    """

    size: str
    paradigm: str
    side: str
    steps: int
    seconds: float
    seconds_a_step: float
    trained_tokens_a_second: float
    sampled_tokens_a_second: float
    peak_gb: float


def large(folder: Path) -> Path:
    """Write a random Qwen2.5-VL of about 80 million parameters, with the twin's tokenizer and processor."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    base = model_folder(TWIN)
    config = AutoConfig.from_pretrained(base, local_files_only=True)
    text, vision = config.text_config, config.vision_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = WIDTH, 3 * WIDTH, LAYERS
    text.num_attention_heads = text.num_key_value_heads = HEADS
    text.rope_parameters = {**text.rope_parameters, "mrope_section": [8, 12, 12]}
    text.initializer_range = vision.initializer_range = 0.02
    text.layer_types = ["full_attention"] * LAYERS
    vision.hidden_size, vision.intermediate_size, vision.depth = VISION_WIDTH, 2 * VISION_WIDTH, VISION_LAYERS
    vision.num_heads, vision.out_hidden_size = VISION_HEADS, WIDTH
    vision.window_size = 4 * vision.patch_size * vision.spatial_merge_size  # as in the 7B model: 4 x 4 picture tokens
    vision.fullatt_block_indexes = [VISION_LAYERS // 2 - 1, VISION_LAYERS - 1]
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config).float().save_pretrained(folder)
    AutoProcessor.from_pretrained(base, local_files_only=True).save_pretrained(folder)
    return folder


def sizes(work: Path) -> dict[str, Scale]:
    """The measured scales by name."""
    short = replace(
        TWIN,
        model=str(large(work / "large")),
        precision="bfloat16",
        decodings={**TWIN.decodings, "cot": Decoding(name=f"greedy-{LONG_REPLY}", max_new_tokens=LONG_REPLY)},
    )
    pixels = LONG_SIDE * LONG_SIDE
    return {"twin": TWIN, "short": short, "long": replace(short, min_pixels=pixels, max_pixels=pixels)}


def timed(work: Callable[[], Trained]) -> tuple[float, float, Trained]:
    """Wall seconds, peak GB of the GPU's memory, and what the work gave."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    made = work()
    torch.cuda.synchronize()
    return time.perf_counter() - begun, torch.cuda.max_memory_allocated() / 1e9, made


def sides(job: Job, folder: Callable[[], Path]) -> dict[str, Callable[[], Trained]]:
    """The sides of a job, same steps and settings; for GRPO also ours with each reply in a row of its own."""
    bare = Bare(job)
    made: dict[str, Trained] = {}

    def ours() -> Trained:
        made["ours"] = learn_held(replace(job, folder=folder()))
        return made["ours"]

    def theirs() -> Trained:
        place = folder()
        trainer = bare.learn(place)
        # The bare trainer counts no tokens of ours: on the same settings they are those of the harness.
        return replace(made["ours"], weights=place, optimiser_steps=trainer.state.global_step)

    def apart() -> Trained:
        plain = replace(job, folder=folder(), scale=replace(job.scale, attention="plain"))
        return learn_held(plain)

    shared = {"harness, no shared prefix": apart} if is_grpo(job.paradigm) else {}
    return {"harness": ours, **shared, "bare TRL": theirs}


def stage(size: str, scale: Scale, paradigm: Any, steps: int, pairs: int, work: Path) -> Iterator[Measured]:
    """Both sides of a stage, after a first pair that is not counted; medians over the pairs."""
    from tasks.gqa import GQA  # every item has exactly one picture, which the bare GRPO trainer wants

    numbers = iter(range(10**9))
    name = f"{paradigm.name}-{scale.precision}-{scale.max_pixels}"
    both = sides(job_of(paradigm, scale, GQA, steps, work / name), lambda: work / f"{name}-{next(numbers)}")
    seen: dict[str, list[tuple[float, float, Trained]]] = {side: [] for side in both}
    for _ in range(pairs + 1):
        for side, train in both.items():
            seen[side].append(timed(train))
    last = {side: rows[-1][2].weights for side, rows in seen.items()}
    moved = distance(last["harness"], model_folder(scale))
    apart = distance(last["harness"], last["bare TRL"])
    print(f"{size}, {paradigm.name}: weights moved by {moved:.3g}, apart by {apart:.3g}", flush=True)
    for side, rows in seen.items():
        seconds = median(row[0] for row in rows[1:])
        trained = rows[-1][2]
        yield Measured(
            size=size,
            paradigm=paradigm.name,
            side=side,
            steps=trained.optimiser_steps,
            seconds=seconds,
            seconds_a_step=seconds / trained.optimiser_steps,
            trained_tokens_a_second=trained.trained_tokens / seconds,
            sampled_tokens_a_second=trained.sampled_tokens / seconds,
            peak_gb=max(row[1] for row in rows[1:]),
        )


def line(one: Measured) -> str:
    """A row of the Markdown table."""
    return (
        f"| {one.size} | {one.paradigm} | {one.side} | {one.steps} | {one.seconds_a_step:.3f} |"
        f" {one.trained_tokens_a_second:,.0f} | {one.sampled_tokens_a_second:,.0f} | {one.peak_gb:.2f} |"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; exit code 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description="Time a stage of sft and rft on a GPU beside the bare TRL trainer.")
    parser.add_argument("--size", choices=SIZES, action="append", help="measure this size alone; repeatable")
    parser.add_argument("--paradigm", choices=PARADIGMS, action="append", help="this paradigm alone; repeatable")
    parser.add_argument("--steps", type=int, default=16, help="optimiser steps of a stage (16)")
    parser.add_argument("--pairs", type=int, default=2, help="counted repetitions of both sides (2)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    wanted = parser.parse_args(arguments)
    try:
        rows = measure(wanted.size or SIZES, wanted.paradigm or PARADIGMS, wanted.steps, wanted.pairs, wanted.json)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("| size | paradigm | side | steps | s a step | trained tokens/s | sampled tokens/s | peak GB |")
    print("|---|---|---|--:|--:|--:|--:|--:|")
    print("\n".join(line(row) for row in rows))
    return 0


def measure(
    wanted: Sequence[str], paradigms: Sequence[str], steps: int, pairs: int, out: Path | None
) -> list[Measured]:
    """The wanted sizes and paradigms; the rows are written to ``out`` as they come.

    Raises:
        UserError: where there is no GPU.
    """
    import torch
    import transformers
    import trl
    from transformers.utils import logging

    from baselines.rft import RFT
    from baselines.sft import SFT

    if not torch.cuda.is_available():
        raise UserError("no GPU is here: benchmarks.speed measures on a CPU")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="gpu-") as work:
        scales = sizes(Path(work))
        for size, name in product(wanted, paradigms):
            rows += stage(size, scales[size], {"sft": SFT, "rft": RFT}[name], steps, pairs, Path(work))
            if out is not None:
                out.write_text(json.dumps({"about": about, "rows": [asdict(row) for row in rows]}, indent=1))
    return rows


if __name__ == "__main__":
    sys.exit(main())
