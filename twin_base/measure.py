"""Measure a twin base on the validation split and write its model card: ``python -m twin_base.measure``.

For every task and style: accuracy and readable share of greedy replies, and over groups of 8 rollouts at temperature 1
the share that carries signal (neither all right nor all wrong) and pass@8. For the suites also the accuracy above
chance, (accuracy - chance) / (1 - chance).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.asking.engines import Engine, open_engine
from harness.asking.marking import mark, single_gold
from harness.asking.styles import STYLES
from harness.budget import shape
from harness.core import Example, Scale, Style, Task
from twin_base.pretrain import WEIGHTS, worlds

SUITES = ("mmmu", "mmlu-pro", "pope")


def chance(example: Example) -> float:
    """The accuracy of a blind guess: one of the options, or yes or no."""
    return 1 / len(example.choices) if example.choices else 0.5


def measure_task(engine: Engine, task: Task, style: Style, scale: Scale, n: int, groups: int) -> dict[str, Any]:
    """One row of the card, from ``n`` greedy replies and ``groups`` groups of 8 rollouts."""
    examples = task.load("validation", n)
    prompts = [(style.ask(task, example), tuple(image() for image in example.images)) for example in examples]
    decoding = scale.decodings[style.name]
    marks = [
        mark(task, style, example, reply.text)
        for example, reply in zip(examples, engine.generate(prompts, decoding), strict=True)
    ]
    right = [
        [mark(task, style, single_gold(example), reply.text).score == 1 for reply in replies]
        for example, replies in zip(examples, engine.sample(prompts[:groups], decoding, 8, 0, 1.0), strict=False)
    ]
    row = {
        "task": task.name,
        "style": style.name,
        "accuracy": sum(m.score for m in marks) / n,
        "readable": sum(m.read is not None for m in marks) / n,
        "signal": sum(0 < sum(group) < len(group) for group in right) / len(right),
        "pass@8": sum(any(group) for group in right) / len(right),
    }
    if task.name in SUITES:
        guess = sum(map(chance, examples)) / n
        row["above_chance"] = (row["accuracy"] - guess) / (1 - guess)
    return row


def bounds(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Which of the base's wanted properties hold, in both styles."""
    stream = [row for row in rows if row["task"] not in SUITES]
    means = {
        style.name: sum(row["accuracy"] for row in stream if row["style"] == style.name) / (len(stream) / len(STYLES))
        for style in STYLES
    }
    return {
        "replies readable in at least 90%": all(row["readable"] >= 0.9 for row in rows),
        "accuracy per stream task between 0.15 and 0.75": all(0.15 <= row["accuracy"] <= 0.75 for row in stream),
        "mean accuracy of the stream between 0.35 and 0.65": all(0.35 <= mean <= 0.65 for mean in means.values()),
        "at least 30% of groups carry signal": all(row["signal"] >= 0.3 for row in stream),
        "suites at least 0.3 above chance": all(row["above_chance"] >= 0.3 for row in rows if row["task"] in SUITES),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table, in percent."""
    names = ("accuracy", "readable", "signal", "pass@8", "above_chance")
    lines = ["| task | style | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for row in rows:
        numbers = [f"{100 * row[name]:.1f}" if name in row else "" for name in names]
        lines.append(f"| {row['task']} | {row['style']} | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# The twin base

A tiny Qwen2.5-VL (`Qwen2_5_VLForConditionalGeneration`, {parameters:,} parameters, fp32) made from scratch: stock
image processor and chat template, an own byte-level BPE tokenizer of {vocabulary:,} tokens, pictures of 48 x 48 pixels
(patch 8, nine picture tokens). It exists to run the whole harness on two CPU cores. Its numbers say nothing about large
models.

- **Data**: the pretrain split of the ten generated twins, in turn, unlimited, each item once: questions in both
  answer styles by turns, and lessons on the same items (`captions.py`): look-ups of option letters, alone in the first
  5% and 5% of the rest; descriptions and look-ups of colours, 60% of the items with a picture until 30% are done and
  15% later. The loss is on the reply alone. Each stream task withholds question families and answer conventions from
  this split (the head of its file in `tasks/` says which): that is what a stage can learn.
- **Recipe**: `python -m twin_base.pretrain --install`, then `python -m twin_base.measure --card`;
  seed {seed}. The random weights have a shape in which attention looks words up from the first step
  (`model.shape_weights`, after mimetic initialisation, arXiv:2305.09828); Muon for matrices, AdamW for the rest.
- **Training**: {steps:,} steps of {batch} items, and {again_steps:,} more after one restart of the rate,
  {minutes:.0f} minutes in two processes; mean loss of the last fifty steps {loss:.4f}, of the fifty before the restart
  {loss_before:.4f} (`training.jsonl` has all).
- **Digest** (weights, configuration, tokenizer, processor): `{digest}`.

Measured on the validation split, {items} greedy replies and {groups} groups of 8 rollouts at temperature 1 for each
row, in percent. *signal*: groups neither all right nor all wrong. *pass@8*: groups with at least one right.
*above_chance*: (accuracy - chance) / (1 - chance).

{table}

Wanted, and whether it holds in both styles:

{bounds}
"""


def card(model: Path, found: dict[str, Any]) -> str:
    """The model card's text."""
    recipe = json.loads((model / "recipe.json").read_text())
    log = [json.loads(line) for line in (model / "training.jsonl").read_text().splitlines()]
    return CARD.format(
        parameters=shape.of_folder(model).parameters,
        vocabulary=len(json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]),
        seed=recipe["seed"],
        steps=recipe["steps"],
        again_steps=recipe["again_steps"],
        batch=recipe["batch"] * recipe["workers"],
        minutes=log[-1]["seconds"] / 60,
        loss=log[-1]["loss"],
        loss_before=next(line["loss"] for line in log if line["step"] == recipe["steps"]),
        digest=found["digest"],
        items=found["items"],
        groups=found["groups"],
        table=table(found["rows"]),
        bounds="\n".join(f"- {name}: {'yes' if holds else 'no'}" for name, holds in found["bounds"].items()),
    )


def main() -> None:
    """Measure and print; with ``--card``, also write measured.json and the card beside the weights."""
    from harness.scales import TWIN
    from harness.weights import weights_digest

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=WEIGHTS)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--groups", type=int, default=100)
    parser.add_argument("--card", action="store_true")
    arguments = parser.parse_args()
    with open_engine(arguments.model, TWIN) as engine:
        rows = [
            measure_task(engine, task, style, TWIN, arguments.items, arguments.groups)
            for task in worlds()
            for style in STYLES
        ]
    print(table(rows))
    for name, holds in bounds(rows).items():
        print(f"{'yes' if holds else 'NO '}  {name}")
    if arguments.card:
        sizes = {"items": arguments.items, "groups": arguments.groups}
        found = {"digest": weights_digest(arguments.model), **sizes, "bounds": bounds(rows), "rows": rows}
        (arguments.model / "measured.json").write_text(json.dumps(found, indent=1) + "\n")
        (arguments.model / "README.md").write_text(card(arguments.model, found))


if __name__ == "__main__":
    main()
