"""Known replies through the libraries' API and through our suites: the same digits, and those of a count of our own."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.asking.suites.library import CACHE, close_children
from harness.core import Example, Mark, Reply, Suite
from harness.run_inputs import prompt_of
from tasks.breakdowns import presence
from tasks.mmlu_pro import MMLU_PRO
from tasks.mmmu import MMMU
from tasks.pope import POPE
from tasks.suite_files import write_twin
from tasks.suites import MMLU_PRO_LM_EVAL, MMMU_VLMEVAL, POPE_VLMEVAL

REFERENCE = Path(__file__).with_name("reference_suites.py")
ITEMS = 84
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (find_spec("lm_eval") and find_spec("vlmeval")), reason="lm-eval or ms-vlmeval is not installed"
    ),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    yield
    close_children()


def reference(kind: str, folder: Path, replies: dict[str, str]) -> Any:
    """What the library itself makes of the replies, in a process of its own."""
    (folder / "replies.json").write_text(json.dumps(replies))
    home = {**os.environ, "HOME": str(folder), "HF_HOME": str(folder / "hf"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-I", str(REFERENCE), kind, str(folder), str(folder / "replies.json")]
    done = subprocess.run(
        [*command, str(folder / "result.json")], env=home, cwd=folder, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "result.json").read_text())


def replies_to(examples: Sequence[Example], say: Callable[[Random, Example], str]) -> list[Reply]:
    """A reply to each example, of a form that the example's id draws."""
    return [
        Reply(example=one.id, group="", prompt_digest="", text=say(Random(one.id), one), tokens=1, truncated=False)
        for one in examples
    ]


def mean(marks: Sequence[Mark]) -> float:
    return sum(mark.score for mark in marks) / len(marks)


def unread(marks: Sequence[Mark], names: Sequence[str]) -> list[str]:
    return sorted(name for name, mark in zip(names, marks, strict=True) if mark.malformed)


# MMLU-Pro

LETTERS = (
    "It is so. The answer is ({}).", "the answer is {}", "The answer is ({}). No, the answer is (B).", "answer is {}.",
    "So: answer is  ({})", "The Answer is ({})", "{}", "I do not know.", "", "the answer is [{}]", "answer is (K)",
)  # fmt: skip


def say_letter(rng: Random, example: Example) -> str:
    letter = rng.choice((example.answers[0], "A", "B", "J"))
    return rng.choice(LETTERS).format(letter)


def test_mmlu_pro_is_marked_as_lm_eval_marks_it(tmp_path: Path) -> None:
    folder = write_twin(MMLU_PRO, tmp_path / "data" / "mmlu-pro", ITEMS)
    examples = MMLU_PRO_LM_EVAL.ask(tmp_path / "data", 10**9)
    replies = replies_to(examples, say_letter)
    marks = MMLU_PRO_LM_EVAL.mark(examples, replies)
    names = [example.id.rpartition("/")[2] for example in examples]
    said = dict(zip(names, (reply.text for reply in replies), strict=True))
    theirs = reference("lm-eval", folder, said)
    found = [re.findall(r"answer is \(?([A-J])\)?", reply.text) for reply in replies]
    right = [bool(letters) and letters[0] == one.answers[0] for letters, one in zip(found, examples, strict=True)]
    assert mean(marks) == pytest.approx(theirs["score"], abs=1e-12)
    assert mean(marks) == sum(right) / ITEMS
    assert [mark.read for mark in marks] == [letters[0] if letters else None for letters in found]
    assert unread(marks, names) == theirs["unread"]
    assert 10 < len(theirs["unread"]) < ITEMS - 10
    for name, example in zip(names, examples, strict=True):
        turns = [(turn["role"], turn["content"]) for turn in theirs["asked"][name]]
        assert prompt_of(example) == tuple(turns)
        assert [role for role, _ in turns] == ["system", *["user", "assistant"] * 5, "user"]


# POPE and MMMU, from a TSV as VLMEvalKit keeps it


def write_tsv(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The rows as a TSV; pictures are in base64, several of them as a list."""
    csv.field_size_limit(2**30)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="", encoding="utf-8") as sink:
        writer = csv.DictWriter(sink, columns, delimiter="\t", quoting=csv.QUOTE_ALL, restval="")
        writer.writeheader()
        writer.writerows(rows)


def in_base64(image: Any) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def same_prompts(examples: Sequence[Example], asked: dict[str, Any]) -> None:
    """Whether our prompts have the library's texts, and pictures of the same pixels at the same places."""
    from PIL import Image

    for number, example in enumerate(examples):
        parts, pictures = asked[str(number)], [image() for image in example.images]
        ours = re.split(r"<image \d+>", example.question)
        assert "".join(ours) == "".join(part["value"] for part in parts if part["type"] == "text")
        files = [part["value"] for part in parts if part["type"] == "image"]
        assert len(files) == len(pictures)
        for file, picture in zip(files, pictures, strict=True):
            with Image.open(file) as theirs:
                assert theirs.convert("RGB").tobytes() == picture.tobytes()


def played(suite: Suite, folder: Path, say: Callable[[Random, Example], str], kind: str) -> tuple[Any, Any, Any, Any]:
    """Our examples, replies and marks, and what the library itself makes of them."""
    examples = suite.ask(folder / "data", 10**9)
    assert len(examples) == ITEMS
    replies = replies_to(examples, say)
    theirs = reference(kind, folder, {str(number): reply.text for number, reply in enumerate(replies)})
    same_prompts(examples, theirs["asked"])
    marks = suite.mark(examples, replies)
    refused = [str(number) for number, reply in enumerate(replies) if reply.text == "Z"]  # read, but no option
    assert unread(marks, [str(number) for number in range(ITEMS)]) == sorted({*theirs["unread"], *refused})
    assert 10 < len(theirs["unread"]) < ITEMS - 10
    return examples, replies, marks, theirs


YES_NO = (
    "Yes", "no", "Yes, there is.", "No, there is not", "yes and no", "I see a dog.", "YES!", "not sure", "no.", "=no",
    "yes\tor\nwhat", "'no'", "unknown", "There is: yes",
)  # fmt: skip


def test_pope_is_marked_as_vlmevalkit_marks_it(tmp_path: Path) -> None:
    write_twin(POPE, tmp_path / "data" / "pope", ITEMS)
    twin = POPE.load("test", ITEMS)
    rows = [
        {
            "index": number,
            "image": in_base64(one.images[0]()),
            "question": one.question,
            "answer": one.answers[0].capitalize(),
            "category": one.id.rpartition("/")[2],
        }
        for number, one in enumerate(twin)
    ]
    write_tsv(tmp_path / "POPE_own.tsv", rows)
    examples, replies, marks, theirs = played(POPE_VLMEVAL, tmp_path, lambda rng, _: rng.choice(YES_NO), "POPE")
    said = [{"yes", "no"} & set(re.findall(r"[\w']+", reply.text.lower())) for reply in replies]
    right = [one == {example.answers[0].lower()} for one, example in zip(said, examples, strict=True)]
    assert [mark.score for mark in marks] == [float(one) for one in right]
    parts = presence(examples, marks)
    assert parts == (POPE_VLMEVAL.breakdown and POPE_VLMEVAL.breakdown(examples, marks))
    for row in theirs["table"]:
        place = "" if row["split"] == "Overall" else f"{row['split']}-"
        for name, theirs_called in (
            ("accuracy", "acc"),
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "Overall"),
        ):
            assert 100 * parts[place + name].value == pytest.approx(row[theirs_called], abs=1e-10)
    assert len(theirs["table"]) == 4
    assert parts["yes-ratio"].value == sum(one == {"yes"} for one in said) / ITEMS


OPTIONS = (
    "{}",
    "({})",
    "{}.",
    "Answer: {}",
    "{} because it is so",
    "{} or A",
    "I cannot say",
    "",
    "Z",
    "the {} one is it",
)


def say_option(rng: Random, example: Example) -> str:
    row = example.row  # type: ignore[attr-defined]
    letter = rng.choice((example.answers[0], "A", "B"))
    return rng.choice((rng.choice(OPTIONS).format(letter), f"It is {row[letter]}", f"{row['A']} or {row['B']}"))


def test_mmmu_is_marked_as_vlmevalkit_marks_it(tmp_path: Path) -> None:
    write_twin(MMMU, tmp_path / "data" / "mmmu", ITEMS)
    rows = []
    for number, one in enumerate(MMMU.load("test", ITEMS)):
        pictures = [in_base64(image()) for image in one.images]
        options = {chr(65 + place): text for place, text in enumerate(one.choices)}
        image = pictures[0] if len(pictures) == 1 else str(pictures)
        about = {"index": number, "image": image, "question": one.question, "answer": one.answers[0]}
        rows.append({**about, **options, "category": "Twin", "split": "validation"})
    write_tsv(tmp_path / "MMMU_own.tsv", rows)
    examples, replies, marks, theirs = played(MMMU_VLMEVAL, tmp_path, say_option, "MMMU")
    (row,) = theirs["table"]
    assert row["split"] == "validation"
    assert mean(marks) == pytest.approx(row["Overall"], abs=1e-12)
    assert [mark.read for mark in marks] == [read_option(r.text, e) for r, e in zip(replies, examples, strict=True)]
    assert [mark.score for mark in marks] == [
        float(mark.read == example.answers[0]) for mark, example in zip(marks, examples, strict=True)
    ]


def read_option(text: str, example: Example) -> str | None:
    """Exact matching in our own words: the one letter among the last words of a reply, else the one option it names."""
    row = example.row  # type: ignore[attr-defined]
    options = {name: str(row[name]) for name in "ABCD" if row.get(name)}
    split = re.sub(r"[.()\[\],:;!*#{}]", " ", text).split()
    letters = [name for name in options if name in split]
    if len(letters) == 1 and split.index(letters[0]) > len(split) - 5:
        return letters[0]
    if not letters and "Z" in split:
        return None
    if len(text) > 2 * sum(map(len, options.values())):
        return None
    named = [name for name, option in options.items() if option.lower() in text.lower()]
    return named[0] if len(named) == 1 else None
