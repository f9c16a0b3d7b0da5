"""Laws of the generated twins, held against every Task value that a module of ``tasks`` defines."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from math import sqrt
from pathlib import Path

import pytest

import tasks
from harness.asking.marking import mark, single_gold
from harness.asking.styles import STYLES
from harness.core import SPLITS, Example, Style, Task, UserError
from tasks.twins import Draft, split_of

STREAM = ("scienceqa", "textvqa", "vizwiz", "gqa", "geometry3k", "pathvqa", "super-clevr")
SUITES = ("mmmu", "mmlu-pro", "pope")
TEN_ANNOTATORS = ("textvqa", "textvqa-ocr", "vizwiz")
NONSENSE = ("zzqx blorp", "-", "Q")
# The questions that pre-training never sees, as each module says at its top.
WITHHELD = {
    "scienceqa": r"farthest east|^What will these magnets do|more mass",
    "textvqa": r"What does the (?!sign say)",
    "textvqa-ocr": r"What does the (?!sign say)",
    "vizwiz": r"^What color is the label|^Is this a .* or a ",
    "gqa": r"^What is below|same color",
    "geometry3k": r"rhombus|height of the right|long leg|small segment|big segment",
    "pathvqa": r"^Is the (lesion|finding) (on|in) the|nuclei|diagnosis|^Which finding",
    "super-clevr": r"^Are there (more|fewer)|big vehicles|are big",
}
# Answers that only pre-training writes: the question, and the other convention.
CONVENTIONS = {
    "scienceqa": (r"warmest|highest\?|farthest north", r"[1-4]"),
    "textvqa": (r"price|cost|door", r"\d+ dollars|number \d+"),
    "textvqa-ocr": (r"price|cost|door", r"\d+ dollars|number \d+"),
    "gqa": (r"On which side", r"(left|right) side"),
    "geometry3k": (r"whole segment|How long|hypotenuse", r"[a-z]+|\d root 2"),
    "pathvqa": (r"^Does |^Where", r"present|absent|(on|in) the \w+"),
    "super-clevr": (
        r"How many (red|green|blue|yellow|purple)|vehicles are (red|green|blue|yellow|purple)",
        r"\d vehicles?",
    ),
}


def registered() -> dict[str, Task]:
    """Every Task value of every module of ``tasks``, by name."""
    found: dict[str, Task] = {}
    for module in pkgutil.iter_modules(tasks.__path__):
        for value in vars(importlib.import_module(f"tasks.{module.name}")).values():
            if isinstance(value, Task):
                assert found.setdefault(value.name, value) is value, f"two tasks are named {value.name}"
    return found


TASKS = registered()
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@cache
def items(name: str, split: str, limit: int = 400) -> tuple[Example, ...]:
    """The first items of a twin's split, generated once for all tests."""
    return TASKS[name].load(split, limit)


def scenes(example: Example) -> tuple[object, ...]:
    """What the example's pictures are painted from."""
    return tuple(image.args[0] for image in example.images)  # type: ignore[attr-defined]


def fingerprint(task: Task) -> str:
    """A digest of the words and pixels of two items of each split."""
    total = hashlib.sha256()
    for split in SPLITS:
        for example in task.load(split, 2):
            total.update(repr((example.id, example.group, example.question, example.answers)).encode())
            total.update(repr((example.choices, example.rationale)).encode())
            for image in example.images:
                total.update(image().tobytes())
    return total.hexdigest()


def tolerance(share: float, n: int) -> float:
    """Four standard errors of a share."""
    return 4 * sqrt(share * (1 - share) / n)


def test_every_task_of_the_stream_and_every_suite_is_there() -> None:
    assert set(STREAM + SUITES) <= set(TASKS)


@each_task
def test_a_task_says_what_it_is(task: Task) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", task.name)
    assert task.version >= 1
    assert task.cite
    assert task.licence
    assert task.suffix.strip() == task.suffix != ""
    with pytest.raises(UserError, match="unknown split"):
        task.load("dev", 1)


@each_task
def test_ids_are_unique_and_a_group_shares_its_pictures(task: Task) -> None:
    examples = [example for split in SPLITS for example in items(task.name, split)]
    assert len({example.id for example in examples}) == len(examples)
    pictures: dict[str, tuple[object, ...]] = {}
    for example in examples:
        assert example.group
        if example.images:
            assert pictures.setdefault(example.group, scenes(example)) == scenes(example)


@each_task
def test_a_scene_belongs_to_one_split(task: Task) -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        for example in items(task.name, split)[:150]:
            draft = Draft(
                question=example.question, answers=example.answers, scenes=scenes(example), choices=example.choices
            )
            assert split_of(draft) == split
            content = repr(draft.scenes or (draft.question, draft.choices))
            assert seen.setdefault(content, split) == split


@each_task
def test_loading_is_deterministic_and_a_longer_load_starts_the_same(task: Task) -> None:
    again = task.load("train", 30)
    assert again == items(task.name, "train")[:30]
    for one, other in zip(again[:5], items(task.name, "train")[:5], strict=True):
        assert [image().tobytes() for image in one.images] == [image().tobytes() for image in other.images]


def test_a_fresh_process_draws_the_same_items_and_pixels() -> None:
    program = (
        "import json; from tests.test_twins import TASKS, fingerprint;"
        "print(json.dumps({name: fingerprint(task) for name, task in TASKS.items()}))"
    )
    root = Path(__file__).resolve().parents[1]
    surroundings = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(root)}
    reply = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=surroundings, capture_output=True, text=True, check=True
    )
    assert json.loads(reply.stdout) == {name: fingerprint(task) for name, task in TASKS.items()}


@each_task
@pytest.mark.parametrize("style", STYLES, ids=[style.name for style in STYLES])
def test_the_gold_answer_reaches_the_ceiling(task: Task, style: Style) -> None:
    for split in ("train", "validation", "test"):
        for example in items(task.name, split)[:40]:
            reply = style.write(example.answers[0], example.rationale)
            score = mark(task, style, example, reply).score
            ceiling = max(task.score(answer, example) for answer in set(example.answers))
            assert score == ceiling > 0, (example.question, reply)
            assert mark(task, style, single_gold(example), reply).score == 1
            assert task.name in TEN_ANNOTATORS or score == 1


@each_task
def test_nonsense_is_worth_nothing(task: Task) -> None:
    for example in items(task.name, "test")[:60]:
        for style in STYLES:
            for reply in ("", *NONSENSE):
                assert mark(task, style, example, style.write(reply, "")).score == 0, (example.question, reply)


@each_task
def test_every_wrong_option_is_wrong_by_letter_and_by_text(task: Task) -> None:
    for example in items(task.name, "test")[:150]:
        if not example.choices or example.answers[0] not in "ABCDEFGHIJ":
            continue
        assert len(set(example.choices)) == len(example.choices)
        gold = ord(example.answers[0]) - ord("A")
        assert 0 <= gold < len(example.choices)
        for n, choice in enumerate(example.choices):
            if n != gold:
                letter = chr(ord("A") + n)
                for reply in (letter, choice, f"{letter}. {choice}", f"({letter})"):
                    assert task.score(reply, example) == 0, (example.question, example.choices, reply)


@each_task
def test_no_answer_dominates(task: Task) -> None:
    answers = Counter(example.answers[0] for example in items(task.name, "test"))
    bound = 0.5 if task.name in ("vizwiz", "pope") else 0.4
    slack = tolerance(0.5, 400) if task.name == "pope" else 0
    assert answers.most_common(1)[0][1] / 400 <= bound + slack, answers.most_common(3)


@each_task
def test_the_words_alone_do_not_give_the_answer(task: Task) -> None:
    if not any(example.images for example in items(task.name, "test")):
        return
    train, test = items(task.name, "train", 1200), items(task.name, "test")
    habits: dict[str, Counter[str]] = {}
    for example in train:
        habits.setdefault(asked(example), Counter())[answered(example)] += 1
    usual = Counter(answered(example) for example in train)
    right = 0
    for example in test:
        habit = habits.get(asked(example), usual)
        options = example.choices or tuple(habit)
        right += max(sorted(options), key=lambda option: habit[option]) == answered(example)
    assert right / len(test) <= 0.66, right / len(test)


def asked(example: Example) -> str:
    """The question without hint and OCR tokens."""
    lines = [line for line in example.question.splitlines() if not line.startswith(("Hint:", "Reference OCR"))]
    return " ".join(lines)


def answered(example: Example) -> str:
    """The gold answer, an option's text instead of its letter."""
    gold = example.answers[0]
    return example.choices[ord(gold) - ord("A")] if example.choices and gold in "ABCDEFGHIJ" else gold


@each_task
def test_pictures_are_small_and_varied(task: Task) -> None:
    pixels = set()
    examples = [example for example in items(task.name, "test")[:60] if example.images]
    for example in examples:
        for image in example.images:
            picture = image()
            assert picture.size == (48, 48)
            assert picture.mode == "RGB"
            assert len(picture.getcolors(48 * 48)) > 2 or task.name == "vizwiz"
            pixels.add(picture.tobytes())
    assert len(pixels) >= 0.9 * len({example.group for example in examples})


@each_task
def test_questions_are_short_and_come_from_several_templates(task: Task) -> None:
    examples = items(task.name, "test")
    for example in examples:
        assert example.question.strip() == example.question != ""
        assert len(asked(example).split()) <= 40
        assert len(example.rationale.split()) <= 16
        assert all(answer.strip() == answer != "" for answer in example.answers)
    openings = Counter(" ".join(asked(example).split()[:3]) for example in examples)
    assert sum(count >= 8 for count in openings.values()) >= (2 if task.name == "pope" else 3), openings


@pytest.mark.parametrize("name", WITHHELD)
def test_pretraining_withholds_what_the_module_says(name: str) -> None:
    for split in SPLITS:
        hits = [bool(re.search(WITHHELD[name], asked(example))) for example in items(name, split)]
        if split == "pretrain":
            assert not any(hits)
        else:
            assert 0.12 <= sum(hits) / len(hits) <= 0.40, split


@pytest.mark.parametrize("name", CONVENTIONS)
def test_only_pretraining_answers_in_the_other_convention(name: str) -> None:
    question, other = CONVENTIONS[name]
    for split in SPLITS:
        meant = [example for example in items(name, split) if re.search(question, asked(example))]
        odd = [example for example in meant if re.fullmatch(other, example.answers[0])]
        if split == "pretrain":
            assert abs(len(odd) / len(meant) - 0.6) <= tolerance(0.6, len(meant))
            written = sorted({example.answers[0] for example in odd})[:20]
        else:
            assert len(meant) >= 60
            assert not odd
            golds = {example.answers[0]: example for example in meant}
    for answer in written:
        assert not any(TASKS[name].score(answer, single_gold(example)) for example in golds.values()), answer


@pytest.mark.parametrize("name", TEN_ANNOTATORS)
def test_ten_annotators_partly_disagree(name: str) -> None:
    examples = items(name, "test")
    assert all(len(example.answers) == 10 for example in examples)
    assert all(Counter(example.answers).most_common(1)[0][0] == example.answers[0] for example in examples)
    split_votes = sum(len(set(example.answers)) > 1 for example in examples) / len(examples)
    assert 0.3 <= split_votes <= 0.95


def test_vizwiz_is_unanswerable_in_43_percent() -> None:
    examples = items("vizwiz", "test") + items("vizwiz", "train") + items("vizwiz", "validation")
    share = sum(example.answers[0] == "unanswerable" for example in examples) / len(examples)
    assert abs(share - 0.43) <= tolerance(0.43, len(examples))


def test_vizwiz_pretraining_mostly_says_what_went_wrong() -> None:
    reasons = ("too blurry", "too dark", "not visible")
    answers = Counter(example.answers[0] for example in items("vizwiz", "pretrain"))
    spoilt = answers["unanswerable"] + sum(answers[reason] for reason in reasons)
    assert abs(1 - answers["unanswerable"] / spoilt - 0.6) <= tolerance(0.6, spoilt)
    assert not any(example.answers[0] in reasons for example in items("vizwiz", "test"))


def test_pathvqa_is_half_yes_or_no_with_two_questions_a_slide() -> None:
    for split in ("train", "validation", "test"):
        examples = items("pathvqa", split)
        answers = Counter(example.answers[0] for example in examples)
        assert answers["yes"] + answers["no"] == len(examples) / 2
        assert abs(answers["yes"] / (len(examples) / 2) - 0.5) <= tolerance(0.5, len(examples) // 2)
        assert set(Counter(example.group for example in examples).values()) == {2}


def test_answer_types_are_the_real_tasks() -> None:
    geometry = {example.answers[0] for example in items("geometry3k", "test")}
    assert any("\\frac" in answer for answer in geometry)
    assert any("\\sqrt" in answer for answer in geometry)
    assert any(answer.isdigit() for answer in geometry)
    counted = {example.answers[0] for example in items("super-clevr", "test")}
    assert {"yes", "no", "0", "1", "2", "3"} <= counted
    letters = {example.answers[0] for example in items("scienceqa", "test")}
    assert letters <= set("ABCDE")
    assert len(letters) >= 3
    assert any("Hint:" in example.question for example in items("scienceqa", "test"))
    assert {example.answers[0] for example in items("pope", "test")} == {"yes", "no"}


def test_ocr_tokens_are_a_variant_of_the_same_items() -> None:
    for bare, told in zip(items("textvqa", "test")[:50], items("textvqa-ocr", "test")[:50], strict=True):
        assert told.question.startswith(bare.question)
        assert "OCR token" in told.question
        assert told.answers == bare.answers
        assert scenes(told) == scenes(bare)


def test_super_clevr_counts_agree_with_the_scene() -> None:
    for example in items("super-clevr", "test"):
        things = scenes(example)[0][2]  # type: ignore[index]
        if counted := re.match(r"How many (\w+) vehicles|How many vehicles are (\w+)", example.question):
            word = counted.group(1) or counted.group(2)
            number = sum(thing[2] for thing in things) if word == "big" else sum(thing[1] == word for thing in things)
            assert example.answers[0] == str(number)
        elif example.question.startswith("Are there more"):
            more, less = re.findall(r"cars|buses|bikes|planes", example.question)
            kinds = Counter({"bus": "buses"}.get(thing[0], f"{thing[0]}s") for thing in things)
            assert example.answers[0] == ("yes" if kinds[more] > kinds[less] else "no")


def test_pope_asks_in_its_three_categories() -> None:
    for split in ("validation", "test"):
        kinds = ("random", "popular", "adversarial")
        found = Counter(next((kind for kind in kinds if kind in example.id), "?") for example in items("pope", split))
        assert set(found) == set(kinds)
        assert min(found.values()) / 400 >= 0.25


def test_mmmu_has_items_with_several_pictures_at_their_marks() -> None:
    examples = items("mmmu", "test")
    several = [example for example in examples if len(example.images) > 1]
    assert 0.1 <= len(several) / len(examples) <= 0.9
    assert any(example.choices for example in examples)
    for example in several:
        text = " ".join((example.question, *example.choices))
        assert all(f"<image {n + 1}>" in text for n in range(len(example.images)))


def test_mmlu_pro_is_text_with_three_to_ten_options() -> None:
    sizes = {len(example.choices) for example in items("mmlu-pro", "test")}
    assert min(sizes) >= 3
    assert max(sizes) == 10
    assert not any(example.images for split in SPLITS for example in items("mmlu-pro", split))
