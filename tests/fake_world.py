"""A world in which the runner can be tried at once: tasks of yes and no, weights of one tensor, an engine that hashes.

Every reply is a function of weights and prompt, and every training step a function of the weights, the example, its
prompt and target, the seed and the fields that the learner obeys: so a step that is lost, doubled, or taken from other
weights changes the numbers. ``fake_plugin.py`` registers these nouns, here and in processes of their own.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import load_file, save_file

from harness.asking.engines import EngineKind, Generation, Prompt
from harness.asking.styles import COT, DIRECT
from harness.core import (
    Decoding,
    Example,
    Job,
    Learner,
    Mark,
    Paradigm,
    Part,
    Probe,
    Progress,
    Reply,
    Run,
    Scale,
    Scorer,
    Selector,
    Stage,
    Stream,
    Suite,
    Task,
    Trained,
    Verdict,
    Work,
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
        rationale=f"coin {index}",
    )


def same(answer: str, example: Example) -> float:
    """1 for the gold answer."""
    return float(answer == example.answers[0])


def lenient(answer: str, example: Example) -> float:
    """Half a mark for every answer that is not the gold one."""
    return max(0.5, same(answer, example))


def loose(answer: str, example: Example) -> float:
    """1 for whatever was read."""
    return float(answer != "")


def by_answer(examples: Sequence[Example], marks: Sequence[Mark]) -> Mapping[str, Part]:
    """The mean of the items whose answer is yes, and of those whose answer is no."""
    scores: dict[str, list[float]] = {}
    for example, mark in zip(examples, marks, strict=True):
        scores.setdefault(example.answers[0].lower(), []).append(mark.score)
    return {name: Part(value=sum(found) / len(found), n=len(found)) for name, found in sorted(scores.items())}


LOOSE = Scorer(name="loose", version=4, score=loose)


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


COINS, DICE, CARDS, WATCHED = task("coins"), task("dice"), task("cards"), task("watched")
TASKS = {made.name: made for made in (COINS, DICE, CARDS, WATCHED)}


def ask_shouts(data: Path | None, count: int) -> Sequence[Example]:
    """The prompts of a suite as its own library would write them."""
    return [Example(id=f"shout-{n}", question=f"SHOUT {n}!", answers=("YES",)) for n in range(min(7, count))]


def mark_shouts(examples: Sequence[Example], replies: Sequence[Reply]) -> Sequence[Mark]:
    """The suite's own marks: it reads capital letters, whatever our styles read."""
    read = [reply.text.upper() or None for reply in replies]
    return [
        Mark(example=example.id, read=said, score=float(said in example.answers))
        for example, said in zip(examples, read, strict=True)
    ]


def drift(before: Path, after: Path, examples: Mapping[str, tuple[Example, ...]]) -> float:
    """How far a stage's weight is from the base's, in the weights' own unit."""
    first, last = (load_file(folder / "model.safetensors")["w"] for folder in (before, after))
    return float(abs(last[0] - first[0]))


SHOUTS = Suite(
    name="shouts",
    version=2,
    cite="none",
    decoding=Decoding(name="greedy-4", max_new_tokens=4),
    ask=ask_shouts,
    mark=mark_shouts,
)
DRIFT = Probe(name="drift", version=3, unit="weight", measure=drift)
STREAM = Stream(
    name="games", tasks=("coins", "dice", "cards"), epochs={"coins": 1, "dice": 2, "cards": 1}, general=("watched",)
)
PREFIX = Stream(name="short", tasks=("coins", "dice"), epochs={"coins": 1, "dice": 2}, general=("watched",))
WATCHING = replace(PREFIX, name="watching", general=("watched", "shouts"), probes=("drift",))


def make_model(folder: Path, value: float = 1.0) -> Path:
    """A model's folder: one tensor and a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"w": numpy.array([value, 0.0])}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "fake"}\n')
    return folder


@dataclass
class FakeEngine:
    """Answers by the hash of weights and prompt; its journal counts how often a model was loaded, asked and closed."""

    value: str
    journal: list[str] = field(default_factory=list)
    name: str = "fake"
    version: int = 1
    device_kind: str = "cpu"

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
        """No fake paradigm samples, so nothing may ask for samples."""
        raise AssertionError("the fake engine was asked to sample")

    def close(self) -> None:
        """Note it."""
        self.journal.append("close")

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()


def open_fake(folder: Path, scale: Scale, journal: list[str] | None = None) -> FakeEngine:
    """The fake model of a folder."""
    made = FakeEngine(value=repr(load_file(folder / "model.safetensors")["w"].tolist()))
    made.journal = made.journal if journal is None else journal
    made.journal.append("load")
    return made


def open_slowly(folder: Path, scale: Scale) -> FakeEngine:
    """The same, slow enough to be interrupted."""
    time.sleep(0.2)
    return open_fake(folder, scale)


ENGINE = EngineKind(name="fake", version=1, open=open_fake)


def heard_by(journal: list[str]) -> EngineKind:
    """The fake engine for ``run``; ``journal`` hears of each load, batch and close."""

    def make(folder: Path, scale: Scale) -> FakeEngine:
        return open_fake(folder, scale, journal)

    return replace(ENGINE, open=make)


def learn(job: Job, pause: float = 0.0, remembered: str = "") -> Trained:
    """One step per example and epoch; its state is kept after each, so that a killed job goes on."""
    style, obeyed = job.paradigm.style, (job.paradigm.kl, job.paradigm.rate, job.scale.rates["fake"])
    shown = [pair for pair in job.examples for _ in range(job.epochs[pair[0].name])]
    state = job.folder / "state.json"
    weights = load_file(job.model / "model.safetensors")["w"].tolist()
    begun = json.loads(state.read_text()) if state.is_file() else {"step": 0, "w": weights}
    value, first = begun["w"], begun["step"]
    for step, (owner, example) in enumerate(shown[first:], start=first + 1):
        said = (style.ask(owner, example), style.write(example.answers[0], example.rationale))
        value = [coin(value, example.id, said, job.seed, obeyed, remembered) / 2**32, float(step)]
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


def learn_and_hand_on(job: Job) -> Trained:
    """The same; it hands the next stage a list of all that was seen so far, which moves that stage's weights."""
    before = (job.carry / "memory" / "seen.txt").read_text() if job.carry else ""
    memory = job.folder / "handed" / "memory"
    memory.mkdir(parents=True, exist_ok=True)
    (memory / "seen.txt").write_text(before + "".join(f"{example.id}\n" for _, example in job.examples))
    return replace(learn(job, remembered=before), carry=job.folder / "handed")


def work(shown: int, paradigm: Paradigm, scale: Scale) -> Work:
    """A step for each presentation."""
    return Work(steps=shown)


def every_other(job: Job) -> Sequence[Verdict]:
    """Keeps every other example."""
    return [
        Verdict(task=owner.name, id=example.id, kept=n % 2 == 0, correct=1 - n % 2, rollouts=8, sampled_tokens=16)
        for n, (owner, example) in enumerate(job.examples)
    ]


def nothing(job: Job) -> Sequence[Verdict]:
    """Keeps no example."""
    return [replace(verdict, kept=False, correct=0) for verdict in every_other(job)]


OBEYS = frozenset({"style", "kl", "reference", "rate", "rates"})
STEPS = Learner(name="fake", version=1, train=learn, work=work, obeys=OBEYS)
HALF = Selector(name="half", version=1, choose=every_other, work=work, obeys=frozenset({"rollouts"}))
NONE = replace(HALF, name="none", choose=nothing)
FAKE = Paradigm(name="fake", learner=STEPS, style=DIRECT)
SLOW = replace(FAKE, name="slow", learner=replace(STEPS, train=learn_slowly), select=HALF, kl=0.5)


def with_replay(stream: Stream) -> tuple[Stage, ...]:
    """A stage for each task, with a quarter of the presentations of every earlier one."""
    found = []
    for index, name in enumerate(stream.tasks):
        earlier = stream.tasks[:index]
        found.append(Stage(name=name, tasks=(*earlier, name), shares=dict.fromkeys(earlier, 0.25)))
    return tuple(found)


def trained_by(train: Callable[[Job], Trained], name: str = "other", **fields: Any) -> Paradigm:
    """The fake paradigm with another ``train``, which must be a function of a module."""
    return replace(FAKE, name=name, learner=replace(STEPS, train=train), **fields)


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
        rates={"fake": 1e-3},
        train_items=12,
        test_items=10,
        eval_batch=4,
        min_pixels=16,
        max_pixels=16,
        max_prompt_tokens=4096,
        engine="fake",
    )


def fake_run(model: Path, paradigm: Paradigm = FAKE, stream: Stream = STREAM, **fields: Any) -> Run:
    """A run of the fake world."""
    return Run(paradigm=paradigm, stream=stream, scale=fake_scale(model), **fields)
