"""MMLU-Pro by lm-eval, MMMU and POPE by VLMEvalKit: their own prompts and marks, beside the scoring of our own.

Each reads the very files that the task it stands for reads. On the twins those files are written first, from the same
items that the task has, so that there is one way from a file to a prompt.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from harness.asking.suites.library import Library
from harness.asking.suites.questions import Form, Item, marks, questions
from harness.core import Decoding, Example, Mark, Reply, Suite, Task
from tasks.breakdowns import presence
from tasks.mmlu_pro import MMLU_PRO
from tasks.mmmu import MMMU
from tasks.pictures import opened
from tasks.pope import POPE
from tasks.suite_files import SHOTS, SUBJECTS, mmlu_pro_rows, mmmu_rows, pope_rows, write_twin

LM_EVAL = Library(package="lm-eval", version="0.4.13")
VLMEVAL = Library(package="ms-vlmeval", version="0.0.20")
# Several worked examples stand before a question of MMLU-Pro: its prompts have thousands of tokens.
LONGEST = 8192
STOP = ("Question:",)
MMLU_PRO_FORM = Form(library=LM_EVAL, key="question_id", stop=STOP)
MMMU_FORM = Form(library=VLMEVAL, key="index", more={"dataset": "MMMU"})
POPE_FORM = Form(library=VLMEVAL, key="index", more={"dataset": "POPE"})


@contextmanager
def files(task: Task, data: Path | None, count: int) -> Iterator[tuple[Path, Path]]:
    """The folder with a task's test files, and an empty one for its pictures, both there while the block runs."""
    with tempfile.TemporaryDirectory(prefix="suite-") as name:
        pictures = Path(name) / "pictures"
        pictures.mkdir()
        yield (write_twin(task, Path(name) / "hub", count) if data is None else data / task.name), pictures


@lru_cache(maxsize=4)
def ask_mmlu_pro(data: Path | None, count: int) -> tuple[Example, ...]:
    """MMLU-Pro's questions as lm-eval asks them: five worked examples of the subject as earlier turns of the chat."""
    with files(MMLU_PRO, data, count) as (folder, _):
        found = mmlu_pro_rows(MMLU_PRO, folder, "test", count)
        shots = mmlu_pro_rows(MMLU_PRO, folder, "validation", SHOTS * len(SUBJECTS))
    items = [Item(id=f"mmlu-pro/{row['question_id']}", answer=row["answer"], row=row) for row in found]
    return tuple(questions(MMLU_PRO_FORM, items, opened, shots=shots))


@lru_cache(maxsize=4)
def ask_mmmu(data: Path | None, count: int) -> tuple[Example, ...]:
    """MMMU's validation questions as VLMEvalKit asks them."""
    with files(MMMU, data, count) as (folder, pictures):
        found = mmmu_rows(MMMU, folder, pictures, count)
        items = [Item(id=f"mmmu/{name}", answer=row["answer"], row=row) for name, row in found]
        return tuple(questions(MMMU_FORM, items, opened, pictures=str(pictures)))


@lru_cache(maxsize=4)
def ask_pope(data: Path | None, count: int) -> tuple[Example, ...]:
    """POPE's questions as VLMEvalKit asks them."""
    with files(POPE, data, count) as (folder, pictures):
        found = pope_rows(POPE, folder, pictures, count)
        items = [Item(id=f"pope/{name}", answer=row["answer"], row=row) for name, row in found]
        return tuple(questions(POPE_FORM, items, opened, pictures=str(pictures)))


def mark_mmlu_pro(examples: Sequence[Example], replies: Sequence[Reply]) -> list[Mark]:
    """lm-eval's ``custom-extract``: the first "answer is (X)" of a reply, else malformed."""
    return marks(MMLU_PRO_FORM, examples, replies)


def mark_mmmu(examples: Sequence[Example], replies: Sequence[Reply]) -> list[Mark]:
    """VLMEvalKit's exact matching: the one option that a reply names by letter or by text, else malformed."""
    return marks(MMMU_FORM, examples, replies)


def mark_pope(examples: Sequence[Example], replies: Sequence[Reply]) -> list[Mark]:
    """VLMEvalKit's: "yes" or "no" among a reply's words and not both, else malformed."""
    return marks(POPE_FORM, examples, replies)


def _decoding(tokens: int, stop: tuple[str, ...] = ()) -> Decoding:
    """Greedy decoding of so many tokens; what it stops at is in its name."""
    name = f"greedy-{tokens}" + ("-to-question" if stop else "")
    return Decoding(name=name, max_new_tokens=tokens, stop=stop)


MMLU_PRO_LM_EVAL = Suite(
    name="mmlu-pro-lm-eval",
    version=1,
    cite="lm-eval 0.4.13, task mmlu_pro 3.1, five-shot CoT; arXiv:2406.01574",
    decoding=_decoding(2048, STOP),
    decodings={scale: _decoding(64, STOP) for scale in ("twin", "twin-long")},
    max_prompt_tokens=LONGEST,
    ask=ask_mmlu_pro,
    mark=mark_mmlu_pro,
    stands_for=MMLU_PRO.name,
)
MMMU_VLMEVAL = Suite(
    name="mmmu-vlmeval",
    version=1,
    cite="ms-vlmeval 0.0.20, MMMU validation, exact matching; arXiv:2311.16502",
    decoding=_decoding(1024),
    decodings={scale: _decoding(8) for scale in ("twin", "twin-long")},
    ask=ask_mmmu,
    mark=mark_mmmu,
    stands_for=MMMU.name,
)
POPE_VLMEVAL = Suite(
    name="pope-vlmeval",
    version=1,
    cite="ms-vlmeval 0.0.20, POPE; arXiv:2305.10355",
    decoding=_decoding(128),
    decodings={scale: _decoding(8) for scale in ("twin", "twin-long")},
    ask=ask_pope,
    mark=mark_pope,
    stands_for=POPE.name,
    breakdown=presence,
)
