"""Jobs on pictures of noise for an untrained twin base: what the tests of the baselines train on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from harness.asking.styles import COT, DIRECT
from harness.core import Decoding, Example, Job, Paradigm, Stage, Task, replace
from harness.scales import TWIN

WORDS = ("red", "green", "blue", "dog", "cat", "seven")
SMALL = replace(
    TWIN,
    name="small",
    sft_batch=4,
    rollouts=4,
    prompts_per_update=2,
    updates_per_rollout_batch=2,
    decodings={
        "direct": Decoding(name="greedy-5", max_new_tokens=5),
        "cot": Decoding(name="greedy-6", max_new_tokens=6),
    },
    rates={"sft": 3e-3, "grpo": 3e-3},
)


@cache
def picture(seed: int, size: tuple[int, int] = (48, 48)) -> Any:
    """A picture of noise."""
    from PIL import Image

    noise = b"".join(
        hashlib.sha256(bytes([seed % 256, n % 256, n // 256])).digest() for n in range(size[0] * size[1] // 8)
    )
    return Image.frombytes("RGB", size, noise[: 3 * size[0] * size[1]])


def item(split: str, index: int, pictures: int = 1) -> Example:
    """A question about noise."""
    marks = " ".join(f"<image {n + 1}>" for n in range(pictures)) if pictures > 1 else ""
    return Example(
        id=f"noise/{split}/{index}",
        question=f"{marks} What is number {index}?",
        answers=(WORDS[index % len(WORDS)],),
        images=tuple(partial(picture, 7 * index + n) for n in range(pictures)),
        rationale="it is so",
    )


def score_by_hash(answer: str, example: Example) -> float:
    """An arbitrary mark in thirds, so that the groups of an untrained policy differ."""
    return hashlib.sha256(answer.encode()).digest()[0] % 4 / 3


def task(name: str = "noise", score: Callable[[str, Example], float] = score_by_hash) -> Task:
    """A task of noise."""
    return Task(name=name, version=1, cite="", licence="", suffix="Answer briefly.", score=score, twin=item)


NOISE = task()


def build_bases(factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two untrained twin bases that differ in their seed."""
    from twin_base.model import build

    texts = [style.ask(NOISE, item("train", n)) for n in range(30) for style in (DIRECT, COT)]
    folders = (factory.mktemp("one"), factory.mktemp("two"))
    for seed, folder in enumerate(folders):
        build(folder, seed, [*texts, *WORDS, "system user assistant You are a helpful assistant."])
    return folders


def job(base: Path, folder: Path, paradigm: Paradigm, count: int = 8, **changes: Any) -> Job:
    """A job on the first ``count`` items."""
    made = Job(
        paradigm=paradigm,
        scale=SMALL,
        stage=Stage(name="noise", tasks=("noise",)),
        examples=tuple((NOISE, item("train", n)) for n in range(count)),
        epochs={"noise": 1},
        model=base,
        reference=base if paradigm.kl else None,
        seed=5,
        folder=folder,
    )
    return replace(made, **changes)


def tensors(folder: Path) -> dict[str, Any]:
    """The weights of a folder."""
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold bit-identical weights."""
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
