"""No picture task can be answered without its picture: neither by one answer to all nor by the base asked blind.

What a trained model reaches is read off the published runs of ``sft`` (each stream task just after its own stage), for
the suites off the base row of the same runs; both must be about the base that ships.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from harness.core import Task
from harness.engines.transformers import TransformersEngine
from harness.lineage import weights_digest
from harness.marking import mark
from harness.published import published
from harness.scales import TWIN, model_folder
from harness.styles import DIRECT
from tasks.twin_base.pretrain import worlds

RESULTS = Path(__file__).resolve().parents[1] / "results"
FOLDER = model_folder(TWIN)
PICTURED = [task for task in worlds() if task.twin("test", 0).images]
ITEMS = 200


@pytest.fixture(scope="module")
def reached() -> dict[str, float]:
    """What training reaches on each task, a mean over the published seeds of sft."""
    runs = [run for run in published(RESULTS) if run.paradigm == "sft" and run.stream == "default"]
    assert runs, "no run of sft on default is published"
    cells = [cell for run in runs for cell in run.cells if cell.style == DIRECT.name]
    assert {cell.weights for cell in cells if cell.stage == 0} == {weights_digest(FOLDER)}, "published for another base"
    found: dict[str, list[float]] = {}
    for cell in cells:
        suite = not any(other.stage_name == cell.task for other in cells)
        if cell.stage_name == cell.task or (suite and cell.stage == 0):
            found.setdefault(cell.task, []).append(cell.score)
    return {task: sum(scores) / len(scores) for task, scores in found.items()}


def margin(high: float, low: float) -> float:
    """Ten points, or three standard errors of the difference of two shares of ITEMS items, whichever is more."""
    return max(0.10, 3 * math.sqrt((high * (1 - high) + low * (1 - low)) / ITEMS))


@pytest.mark.slow
@pytest.mark.parametrize("task", PICTURED, ids=lambda task: task.name)
def test_neither_the_majority_answer_nor_a_blind_base_comes_near(task: Task, reached: dict[str, float]) -> None:
    examples = task.load("test", ITEMS)
    majority = Counter(example.answers[0] for example in examples).most_common(1)[0][0]
    always = sum(task.score(majority, example) for example in examples) / ITEMS
    engine = TransformersEngine(FOLDER, TWIN)
    asked: list[tuple[str, tuple[object, ...]]] = [(DIRECT.ask(task, example), ()) for example in examples]
    replies = engine.generate(asked, TWIN.decodings[DIRECT.name])
    blind = sum(mark(task, DIRECT, e, reply.text).score for e, reply in zip(examples, replies, strict=True)) / ITEMS
    high = reached[task.name]
    for name, low in (("majority answer", always), ("base without the picture", blind)):
        assert high - low >= margin(high, low), f"{task.name}: {name} {low:.3f}, trained {high:.3f}"
