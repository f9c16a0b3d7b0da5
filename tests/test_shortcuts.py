"""No picture task can be answered without its picture: neither by one answer to all nor by the base asked blind.

What a trained model reaches is measured here: the base after one stage of supervised fine-tuning on the task's
thoughtful replies, at full twin size; on the suites, which nothing trains, the base itself. All are asked to think,
for a bare option letter is more than so small a model learns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from baselines.sft import SFT_COT
from harness.asking.engines.transformers import TransformersEngine
from harness.asking.evaluate import marks_of, mean, replies_of
from harness.asking.marking import mark
from harness.asking.styles import COT
from harness.core import Example, Job, Run, Stage, Task
from harness.run_inputs import training_examples
from harness.scales import TWIN, model_folder
from harness.training.launch import train
from tasks.streams import DEFAULT
from twin_base.pretrain import worlds

BASE = model_folder(TWIN)
PICTURED = [task for task in worlds() if task.twin("test", 0).images]
ITEMS = 200


def trained(task: Task, folder: Path) -> Path:
    """The base after one supervised stage on the task; the base itself for a suite."""
    if task.name not in DEFAULT.tasks:
        return BASE
    stage = Stage(name=task.name, tasks=(task.name,))
    run = Run(paradigm=SFT_COT, stream=DEFAULT, scale=TWIN)
    examples = training_examples(run, stage, {task.name: task})[task.name]
    job = Job(
        paradigm=SFT_COT, scale=TWIN, stage=stage, examples=tuple((task, example) for example in examples),
        epochs={task.name: DEFAULT.epochs[task.name]}, model=BASE, reference=None, seed=0, folder=folder,
    )  # fmt: skip
    return train(job).weights


def margin(high: float, low: float) -> float:
    """Ten points, or three standard errors of the difference of two shares of ITEMS items, whichever is more."""
    return max(0.10, 3 * math.sqrt((high * (1 - high) + low * (1 - low)) / ITEMS))


def blind_accuracy(engine: TransformersEngine, task: Task, examples: Sequence[Example]) -> float:
    asked: list[tuple[str, tuple[object, ...]]] = [(COT.ask(task, example), ()) for example in examples]
    replies = engine.generate(asked, TWIN.decodings[COT.name])
    return mean([mark(task, COT, e, reply.text).score for e, reply in zip(examples, replies, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("task", PICTURED, ids=lambda task: task.name)
def test_neither_the_majority_answer_nor_a_blind_base_comes_near(task: Task, tmp_path: Path) -> None:
    examples = task.load("test", ITEMS)
    majority = Counter(example.answers[0] for example in examples).most_common(1)[0][0]
    always = mean([task.score(majority, example) for example in examples])
    blind = blind_accuracy(TransformersEngine(BASE, TWIN), task, examples)
    engine = TransformersEngine(trained(task, tmp_path), TWIN)
    texts = [COT.ask(task, example) for example in examples]
    replies = replies_of(engine, examples, texts, TWIN.decodings[COT.name], TWIN.eval_batch)
    high = mean([one.score for one in marks_of(task, COT, examples, replies)])
    for name, low in (("majority answer", always), ("base without the picture", blind)):
        assert high - low >= margin(high, low), f"{task.name}: {name} {low:.3f}, trained {high:.3f}"
