"""A world in which the runner can be tried at once: tasks of yes and no, weights of one tensor, an engine that hashes.

Every reply is a function of weights and prompt, and every training step a function of the weights, the example and the
seed, so a step that is lost, doubled or taken from other weights changes the numbers.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import load_file, save_file

from harness.asking.engines import Generation, Prompt
from harness.asking.styles import COT, DIRECT
from harness.core import (
    Decoding,
    Example,
    Job,
    Paradigm,
    Progress,
    Run,
    Scale,
    Stream,
    Task,
    Trained,
    UserError,
    Verdict,
    replace,
)


def coin(*parts: object) -> int:
    """A number below 2**32 that depends on all parts."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16)


def picture(shade: int) -> Any:
    """A small picture of one shade."""
    from PIL import Image

    return Image.new("RGB", (4, 4), (shade, 0, 0))


def twin(name: str, split: str, index: int) -> Example:
    """A question whose answer is a coin's."""
    return Example(
        id=f"{name}/{split}/{index}",
        question=f"{name} {split} {index}?",
        answers=("yes" if coin(name, split, index) % 2 else "no",),
        images=(partial(picture, index % 256),),
        group=f"{name}/{split}/{index // 2}",
    )


def same(answer: str, example: Example) -> float:
    """1 for the gold answer."""
    return float(answer == example.answers[0])


def task(name: str) -> Task:
    """A task of coins."""
    return Task(
        name=name,
        version=1,
        cite="none",
        licence="Apache-2.0",
        suffix="yes or no",
        score=same,
        twin=partial(twin, name),
    )


TASKS = {name: task(name) for name in ("coins", "dice", "cards", "watched")}
STREAM = Stream(
    name="games", tasks=("coins", "dice", "cards"), epochs={"coins": 1, "dice": 2, "cards": 1}, general=("watched",)
)
PREFIX = Stream(name="short", tasks=("coins", "dice"), epochs={"coins": 1, "dice": 2}, general=("watched",))


def make_model(folder: Path, value: float = 1.0) -> Path:
    """A model's folder: one tensor and a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"w": numpy.array([value, 0.0])}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "fake"}\n')
    return folder


@dataclass
class FakeEngine:
    """Answers by the hash of weights and prompt; counts how often a model was loaded and asked."""

    value: str
    journal: list[str]

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """One reply for each prompt: mostly readable in the style that was asked for."""
        self.journal.append("generate")
        return [self._reply(text) for text, _ in prompts]

    def _reply(self, text: str) -> Generation:
        said = ("yes", "no", "yes", "no", "")[coin(self.value, text) % 5]
        return Generation(text=COT.write(said, "so") if "<think>" in text else said, tokens=1, truncated=False)

    def sample(
        self, prompts: Sequence[Prompt], decoding: Decoding, rollouts: int, seed: int, top_p: float
    ) -> list[list[Generation]]:
        """No fake paradigm has a filter, so nothing may ask for samples."""
        raise AssertionError("the fake engine was asked to sample")


def engine_maker(journal: list[str]) -> Callable[[Path, Scale], FakeEngine]:
    """What makes engines for ``run``; ``journal`` hears of each load."""

    def make(folder: Path, scale: Scale) -> FakeEngine:
        journal.append("load")
        return FakeEngine(value=repr(load_file(folder / "model.safetensors")["w"].tolist()), journal=journal)

    return make


def learn(job: Job, pause: float = 0.0) -> Trained:
    """One step per example and epoch; its state is kept after each, so that a killed job goes on."""
    shown = [pair for pair in job.examples for _ in range(job.epochs[pair[0].name])]
    state = job.folder / "state.json"
    weights = load_file(job.model / "model.safetensors")["w"].tolist()
    begun = json.loads(state.read_text()) if state.is_file() else {"step": 0, "w": weights}
    value, first = begun["w"], begun["step"]
    for step, (_, example) in enumerate(shown[first:], start=first + 1):
        value = [coin(value, example.id, job.seed, str(job.paradigm.kl)) / 2**32, float(step)]
        draft = state.with_suffix(".draft")
        draft.write_text(json.dumps({"step": step, "w": value}))
        draft.replace(state)
        time.sleep(pause)
        job.report(Progress(step=step, steps=len(shown), loss=value[0]))
    folder = job.folder / "weights"
    folder.mkdir(exist_ok=True)
    save_file({"w": numpy.array(value)}, folder / "model.safetensors")
    (folder / "config.json").write_bytes((job.model / "config.json").read_bytes())
    (folder / "optimizer.bin").write_bytes(b"not a part of the model")
    return Trained(weights=folder, optimiser_steps=len(shown), sampled_tokens=0, trained_tokens=7 * len(shown))


def learn_slowly(job: Job) -> Trained:
    """The same, slow enough to be interrupted."""
    return learn(job, pause=0.02)


def diverge(job: Job) -> Trained:
    """A learner that fails in a way that the user can mend."""
    raise UserError("fake diverged: lower its learning rate")


def every_other(job: Job) -> Sequence[Verdict]:
    """Keeps every other example."""
    return [
        Verdict(id=example.id, kept=n % 2 == 0, correct=1 - n % 2, rollouts=8, sampled_tokens=16)
        for n, (_, example) in enumerate(job.examples)
    ]


def nothing(job: Job) -> Sequence[Verdict]:
    """Keeps no example."""
    return [replace(verdict, kept=False, correct=0) for verdict in every_other(job)]


FAKE = Paradigm(name="fake", learn=learn, style=DIRECT)
SLOW = replace(FAKE, name="slow", learn=learn_slowly, select=every_other, kl=0.5)


def fake_scale(model: Path) -> Scale:
    """A scale of the fake world."""
    return Scale(
        name="fake",
        model=str(model),
        precision="float32",
        sft_batch=4,
        rollouts=8,
        prompts_per_update=4,
        updates_per_rollout_batch=1,
        decodings={
            "direct": Decoding(name="greedy-8", max_new_tokens=8),
            "cot": Decoding(name="greedy-32", max_new_tokens=32),
        },
        rates={"sft": 1e-3},
        train_items=12,
        test_items=10,
        eval_batch=4,
        min_pixels=16,
        max_pixels=16,
        max_prompt_tokens=64,
    )


def fake_run(model: Path, paradigm: Paradigm = FAKE, stream: Stream = STREAM, **fields: Any) -> Run:
    """A run of the fake world."""
    return Run(paradigm=paradigm, stream=stream, scale=fake_scale(model), **fields)


def find(noun: type[Task], name: str) -> Task:
    """Stands where the registry stands."""
    return TASKS[name]
