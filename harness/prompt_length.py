"""Prompts that are longer than the scale allows, found before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.asking.chat import Text, words
from harness.core import BrokenItem, Example, Run, Scale, Task, UserError, collecting
from harness.run_inputs import (
    asked_examples,
    load_share,
    prompt_of,
    run_stages,
    run_styles,
    run_suites,
    run_tasks,
    suite_examples,
    training_items,
)
from harness.scales import model_folder

# No model makes more tokens of a picture than one for so many pixels, and no text has more than one for each of its
# bytes: a prompt that is short enough by this count needs no tokenizer. The chat template takes the rest of each turn.
PIXELS_A_TOKEN = 64
TEMPLATE = 64
UNKNOWN = 10**9
Item = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Read:
    """A split of a task as a run reads it, whether the items are all of the split, and the rows that are broken."""

    task: Task
    split: str
    examples: Sequence[Example]
    whole: bool
    faults: tuple[BrokenItem, ...]


def read_items(run: Run) -> list[Read]:
    """Every split that a run trains on or asks, each stage and task once; broken rows are collected."""
    tasks, scale, found = run_tasks(run), run.scale, []
    for stage in run_stages(run):
        for name, count in training_items(run, stage).items():
            with collecting() as faults:
                examples = load_share(run, tasks[name], stage, count)
            whole = run.limit is None and scale.train_items is None and not stage.shares
            found.append(Read(task=tasks[name], split="train", examples=examples, whole=whole, faults=tuple(faults)))
    for task in tasks.values():
        with collecting() as faults:
            examples = asked_examples(run, task)
        whole = run.limit is None and scale.test_items is None
        found.append(Read(task=task, split=run.split, examples=examples, whole=whole, faults=tuple(faults)))
    return found


def long_prompts(
    run: Run, items: Iterable[Read], every_style: bool = False, without: Container[Item] = ()
) -> dict[Item, str]:
    """(task, id) of each item whose prompt is longer than the scale allows, and its length in words.

    Cutting one would cut its picture. With ``every_style`` each style counts that any paradigm could train in; items
    ``without`` are not looked at.
    """
    from harness.asking.engines.prompts import prompt_lengths
    from harness.asking.engines.transformers import load_processor
    from harness.asking.evaluate import open_pictures

    most = _picture_tokens(run.scale)
    doubtful = [
        (name, example, text, allowed)
        for name, example, text, allowed in _asked(run, items, every_style)
        if (name, example.id) not in without and _most_tokens(text, example, most) > allowed
    ]
    found = {}
    processor = load_processor(model_folder(run.scale), run.scale) if doubtful else None
    for name, example, text, allowed in doubtful:
        length = prompt_lengths(processor, [(text, open_pictures(example))])[0]
        if length > allowed:
            found[name, example.id] = f"its prompt has {length} tokens, scale {run.scale.name} allows {allowed}"
    return found


def _asked(run: Run, items: Iterable[Read], every_style: bool) -> Iterator[tuple[str, Example, Text, int]]:
    """(task or suite, item, prompt, tokens that it may have): items in every style that they are asked in, suites."""
    styles = tuple(run_styles(run).values())
    trained = styles if every_style else (run.paradigm.style,)
    for read in items:
        for style in trained if read.split == "train" else styles:
            for example in read.examples:
                yield read.task.name, example, style.ask(read.task, example), run.scale.max_prompt_tokens
    for suite in run_suites(run).values():
        for example in suite_examples(run, suite):
            yield suite.name, example, prompt_of(example), suite.sized(run.scale).max_prompt_tokens


def _picture_tokens(scale: Scale) -> int:
    """How many tokens a picture has at most, by the settings of the scale's model.

    A patch of Qwen2.5-VL has 14 x 14 pixels, and 2 x 2 patches are a token (arXiv:2502.13923, section 2.1); where the
    settings are gone it is the most of any such model. Of others nothing is known before their processor is asked.
    """
    most = scale.max_pixels // PIXELS_A_TOKEN
    try:
        folder = model_folder(scale)
        files = [folder / name for name in ("processor_config.json", "preprocessor_config.json")]
        said = json.loads(next(file for file in files if file.is_file()).read_bytes())
        said = said.get("image_processor", said)
        if "merge_size" not in said:
            return UNKNOWN
        return min(most, scale.max_pixels // (int(said["patch_size"]) * int(said["merge_size"])) ** 2)
    except (UserError, StopIteration, OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError):
        return most


def _most_tokens(text: Text, example: Example, picture: int) -> int:
    """An upper bound of a prompt's length in tokens, of which a picture has at most so many."""
    turns = TEMPLATE * (1 + len(example.turns))
    return len(words(text).encode("utf-8", "replace")) + len(example.images) * (picture + TEMPLATE) + turns
