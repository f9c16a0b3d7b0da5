"""Measure a twin base on the validation split and write its model card: ``python -m tasks.twin_base.measure``.

For every task and style: accuracy and readable share of greedy replies, and over groups of 8 rollouts at temperature 1
the share that carries signal (neither all right nor all wrong) and pass@8. For the suites also the accuracy above
chance, (accuracy - chance) / (1 - chance).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.core import Example, Scale, Style, Task
from harness.engines.transformers import TransformersEngine
from harness.marking import mark, single_gold
from harness.styles import STYLES
from tasks.twin_base.pretrain import WEIGHTS, worlds

SUITES = ("mmmu", "mmlu-pro", "pope")


def chance(example: Example) -> float:
    """The accuracy of a blind guess: one of the options, or yes or no."""
    return 1 / len(example.choices) if example.choices else 0.5


def measure_task(engine: TransformersEngine, task: Task, style: Style, scale: Scale, n: int, groups: int) -> dict[str, Any]:
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


def main() -> None:
    """Measure and print; with ``--card``, also write measured.json beside the weights."""
    from harness.scales import TWIN

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=WEIGHTS)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--groups", type=int, default=100)
    parser.add_argument("--card", action="store_true")
    arguments = parser.parse_args()
    engine = TransformersEngine(arguments.model, TWIN)
    rows = [
        measure_task(engine, task, style, TWIN, arguments.items, arguments.groups)
        for style in STYLES
        for task in worlds()
    ]
    print(table(rows))
    for name, holds in bounds(rows).items():
        print(f"{'yes' if holds else 'NO '}  {name}")
    if arguments.card:
        found = {"items": arguments.items, "groups": arguments.groups, "bounds": bounds(rows), "rows": rows}
        (arguments.model / "measured.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
