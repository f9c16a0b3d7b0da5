"""The laws for everybody: they hold for all that is registered, and each is named where a plugin breaks it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import pytest

from harness import laws, registry
from harness.asking.styles import COT, DIRECT
from harness.core import Example, Mark, Paradigm, Part, Scorer, Style, Task, replace
from tasks.gqa import GQA
from tasks.mmlu_pro import MMLU_PRO

TASKS = registry.all_of("task")
numbers = count()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_registered_task_keeps_them(task: Task) -> None:
    assert list(laws.of_task(task)) == []


@pytest.mark.parametrize("style", [DIRECT, COT], ids=lambda style: style.name)
def test_every_style_keeps_them(style: Style) -> None:
    assert list(laws.of_style(style)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("paradigm"))
def test_every_registered_paradigm_keeps_them(name: str) -> None:
    assert list(laws.of_paradigm(registry.typed(Paradigm, name))) == []


def restless(split: str, index: int) -> Example:
    """Another question each time."""
    return replace(GQA.twin(split, index), question=f"number {next(numbers)}?")


def leaking(split: str, index: int) -> Example:
    """The same items in every split."""
    return GQA.twin("train", index)


def twice(split: str, index: int) -> Example:
    """Two items with one id."""
    return replace(GQA.twin(split, index), id=f"{split}/{index // 2}")


def generous(answer: str, example: Example) -> float:
    """Whatever is said is right."""
    return 1.0


def stingy(answer: str, example: Example) -> float:
    """Nothing is right."""
    return 0.0


def by_first_letter(answer: str, example: Example) -> float:
    """The other annotator's answer is worth more than the gold one."""
    return 1.0 if answer == example.answers[-1] else 0.5 * (answer in example.answers)


def growing(examples: Sequence[Example], marks: Sequence[Mark]) -> Mapping[str, Part]:
    """More items each time."""
    return {"all": Part(value=0.5, n=next(numbers) + 1)}


def crowded(examples: Sequence[Example], marks: Sequence[Mark]) -> Mapping[str, Part]:
    """More items than there are."""
    return {"all": Part(value=0.5, n=len(examples) + 1)}


def two_annotators(split: str, index: int) -> Example:
    """An item with a second answer."""
    return replace(GQA.twin(split, index), answers=(*GQA.twin(split, index).answers, "someone else's"))


GENEROUS = Scorer(name="generous", version=1, score=generous)
BROKEN = {
    "by scorer generous": replace(GQA, scorers=(GENEROUS,)),
    "other numbers the second time": replace(GQA, breakdown=growing),
    "over more items than there are": replace(GQA, breakdown=crowded),
    "different items": replace(GQA, twin=restless),
    "items of train are items of test too": replace(GQA, twin=leaking),
    "have one id": replace(GQA, twin=twice),
    "the nonsense": replace(GQA, score=generous),
    "the wrong option": replace(MMLU_PRO, score=generous),
    "scores 0 of 0": replace(GQA, score=stingy),
    "scores 0.5 of 1": replace(GQA, twin=two_annotators, score=by_first_letter),
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_law_of_a_task_is_named(said: str) -> None:
    assert any(said in line for line in laws.of_task(BROKEN[said])), list(laws.of_task(BROKEN[said]))


def read_less(reply: str) -> str | None:
    """The answer without its last letter."""
    return reply[:-1] or None


def follow_nothing(reply: str) -> bool:
    """Its own format is never followed."""
    return False


def test_a_broken_law_of_a_style_is_named() -> None:
    assert any("reads" in line for line in laws.of_style(replace(DIRECT, read=read_less)))
    assert any("own format" in line for line in laws.of_style(replace(DIRECT, follows=follow_nothing)))


PLUGIN = '''"""A task that gives everybody full marks, and a learner that reads what it does not name."""

from baselines.sft import LIKELIHOOD, SFT
from harness.core import replace
from tasks.gqa import GQA


def generous(answer, example):
    """Whatever is said is right."""
    return 1.0


def greedy(job):
    """Reads the number of rollouts."""
    return job.scale.rollouts


KIND = replace(GQA, name="kind", score=generous)
NOSY = replace(SFT, name="nosy", learner=replace(LIKELIHOOD, name="sft", train=greedy))
'''


@pytest.mark.slow
def test_check_names_each_broken_law_of_a_plugin(tmp_path: Path) -> None:
    plugin = tmp_path / "kind.py"
    plugin.write_text(PLUGIN)
    words = [sys.executable, "-m", "harness.command.cli", "check", "--plugin", str(plugin), "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 2
    assert "laws: kind.py: task kind: the nonsense" in done.stderr
    assert "paradigm nosy: learner sft reads scale.rollouts, which it does not obey" in done.stderr
    assert "Traceback" not in done.stderr
