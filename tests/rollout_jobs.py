"""A stage of reinforcement on the twin base, which looks at its pictures: none, one or several, of different sizes.

`python tests/rollout_jobs.py FOLDER mended|stock` trains it with vLLM and prints how far the two engines are apart.
"""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from typing import Any

from baselines.rft import RFT, grpo_trainer
from harness import registry
from harness.core import Example, Job, Paradigm, Scale, Stage, Task, UserError, replace
from harness.scales import TWIN, model_folder
from harness.training import rollouts
from harness.training.rollouts import mended

DIFFERENCE = "sampling/sampling_logp_difference/mean"
SIZES = ((48, 48), (64, 48), (48, 96), (112, 64))
SAMPLED = replace(
    TWIN,
    name="sampled",
    rollout_engine="vllm",
    ranks=1,
    rollouts=4,
    prompts_per_update=8,
    updates_per_rollout_batch=1,
    rates={"grpo": 3e-3, "remax": 3e-3},
    min_pixels=32 * 32,
    max_pixels=96 * 96,
)


def resized(open_picture: Any, size: tuple[int, int]) -> Any:
    """A picture at another size."""
    return open_picture().resize(size)


def shown(each: int) -> tuple[tuple[Task, Example], ...]:
    """Items without, with one and with several pictures, in turns; their pictures have the sizes in turns."""
    tasks = [registry.typed(Task, name) for name in ("gqa", "mmlu-pro", "mmmu", "gqa")]
    items = [iter(task.load("train", each * 2)) for task in tasks]
    found: list[tuple[Task, Example]] = []
    for number in range(each * len(tasks)):
        task, example = tasks[number % len(tasks)], next(items[number % len(tasks)])
        sizes = (SIZES[(number + place) % len(SIZES)] for place in range(len(example.images)))
        images = tuple(partial(resized, image, size) for image, size in zip(example.images, sizes, strict=True))
        found.append((task, changed(example, id=f"{example.id}/{number}", images=images)))
    return tuple(found)


def job_of(folder: Path, paradigm: Paradigm = RFT, scale: Scale = SAMPLED, each: int = 4, **changes: Any) -> Job:
    """The stage."""
    examples, base = shown(each), model_folder(TWIN)
    tasks = tuple(dict.fromkeys(task.name for task, _ in examples))
    made = Job(
        paradigm=paradigm,
        scale=scale,
        stage=Stage(name="seen", tasks=tasks),
        examples=examples,
        epochs=dict.fromkeys(tasks, 1),
        model=base,
        reference=base,
        seed=3,
        folder=folder,
        base=base,
    )
    return replace(made, **changes)


def trained(job: Job, **options: Any) -> Any:
    """The trainer, after its stage."""
    trainer = grpo_trainer(job, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        trainer.train()
    return trainer


def differences(trainer: Any) -> list[float]:
    """The mean |log p difference| of each rollout batch, in nats."""
    return [entry[DIFFERENCE] for entry in trainer.state.log_history if DIFFERENCE in entry]


def as_stock(kind: Any, job: Job) -> Any:
    """TRL's own rollouts, but for what vLLM needs on a CPU at all: prompts as TRL expands them, no cache dropped."""

    class Stock(mended(kind, job)):  # type: ignore[misc]
        def sync_weights(self) -> None:
            runner = self.llm.llm_engine.model_executor.driver_worker.model_runner
            runner.reload_weights(weights_iterator=self._iter_named_params())
            self.llm.reset_prefix_cache()

        def generate(self, prompts: Any, images: Any, *rest: Any, **more: Any) -> Any:
            return kind.generate(self, prompts, [some or None for some in images], *rest, **more)

    return Stock


def main(folder: Path, which: str) -> None:
    """Train with a real vLLM, and print the differences, or the line that ends the stage."""
    if which == "stock":
        rollouts.mended = as_stock
    try:
        trainer = trained(job_of(folder))
        print("RESULT", json.dumps({"differences": differences(trainer), "sampled": trainer.sampled_tokens}))
    except UserError as refused:
        print("RESULT", json.dumps({"refused": str(refused)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
