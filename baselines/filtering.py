"""Which training examples a stage keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.asking.devices import Engines
from harness.asking.engines import Engine, engine_kind
from harness.asking.evaluate import open_pictures
from harness.asking.marking import mark, single_gold
from harness.core import (
    Decoding,
    Example,
    Job,
    Paradigm,
    Scale,
    Selector,
    Style,
    Task,
    Verdict,
    Work,
    digest,
)
from harness.store.parts import Parts

CORRECT = 0.5  # accuracy from which a rollout counts as correct; against a single gold answer it is 0 or 1
OPEN_AT_ONCE = 256  # examples whose pictures are in memory at the same time


def solvable(job: Job) -> Sequence[Verdict]:
    """Keep the examples that the policy starting the stage solves at least once (RIF-RFT, arXiv:2507.05386).

    ``scale.rollouts`` replies per example at T = 1 in the paradigm's style, read and marked by the reward's own parser
    against the single gold answer. An example solved every time is kept too. One verdict per example, in their order.
    """
    scale, style = job.scale, job.paradigm.style
    tries = [
        Tried(
            examples=job.examples[start : start + OPEN_AT_ONCE],
            style=style,
            decoding=scale.decodings[style.name],
            rollouts=scale.rollouts,
            seed=job.seed + start,
            top_p=scale.top_p,
        )
        for start in range(0, len(job.examples), OPEN_AT_ONCE)
    ]
    names = [[task.name, example.id] for task, example in job.examples]
    parts = Parts(Verdict, job.folder / "verdicts", {"stage": job.key, "seed": job.seed, "examples": digest(names)})
    with Engines(engine_kind(scale), job.model, scale, job.devices) as engines:
        found = parts.all(len(tries), lambda numbers: engines.each(verdicts_of, [tries[number] for number in numbers]))
    parts.remove()
    return found


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Examples that are tried together, and how; ``seed`` is that of their replies."""

    examples: tuple[tuple[Task, Example], ...]
    style: Style
    decoding: Decoding
    rollouts: int
    seed: int
    top_p: float


def verdicts_of(engine: Engine, tried: Tried) -> list[Verdict]:
    """A verdict for each of the examples, in their order."""
    style, verdicts = tried.style, []
    prompts = [(style.ask(task, example), open_pictures(example)) for task, example in tried.examples]
    groups = engine.sample(prompts, tried.decoding, tried.rollouts, tried.seed, tried.top_p)
    for (task, example), replies in zip(tried.examples, groups, strict=True):
        marks = [mark(task, style, single_gold(example), reply.text) for reply in replies]
        correct = sum(marked.score >= CORRECT for marked in marks)
        verdicts.append(
            Verdict(
                task=task.name,
                id=example.id,
                kept=correct > 0,
                correct=correct,
                rollouts=len(replies),
                sampled_tokens=sum(reply.tokens for reply in replies),
            )
        )
    return verdicts


def work_solvable(items: int, paradigm: Paradigm, scale: Scale) -> Work:
    """The replies that are sampled to select among so many examples."""
    rollouts = items * scale.rollouts
    return Work(rollouts=rollouts, sampled_tokens=rollouts * scale.decodings[paradigm.style.name].max_new_tokens)


SOLVABLE = Selector(
    name="solvable",
    version=1,
    choose=solvable,
    work=work_solvable,
    obeys=frozenset(
        {
            "style", "engine", "precision", "eval_batch", "rollouts", "decodings", "min_pixels", "max_pixels",
            "max_prompt_tokens", "top_p",
        }
    ),
)  # fmt: skip
