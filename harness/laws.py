"""The laws of tasks, styles, learners and paradigms, for everybody's: `harness check --plugin FILE` runs them.

Each law is a function that yields a line for whatever breaks it; a law that yields nothing holds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

from harness.asking.evaluate import open_pictures
from harness.asking.marking import mark, parts_of
from harness.asking.styles import STYLES
from harness.core import (
    SPLITS,
    Example,
    Job,
    Paradigm,
    Run,
    Scale,
    Stage,
    Stream,
    Style,
    Task,
    UserError,
    digest,
    replace,
    stage_seed,
)
from harness.registry import all_of, typed
from harness.run_inputs import run_id, run_stages
from harness.scales import TWIN, model_folder
from harness.training.launch import train
from harness.values import cut
from harness.weights import weights_digest

ITEMS = 24
NONSENSE = ("zzqx blorp", "-", "")
ANSWERS = ("B", "two dogs", r"\frac{1}{2}", "a {nested {brace}}", "1,000", "30%", "$5", "-0.5")


def broken(nouns: dict[str, list[object]]) -> Iterator[str]:
    """A line for each law that one of the nouns breaks, naming the noun."""
    for kind, values in nouns.items():
        for value in values:
            name = f"{kind} {getattr(value, 'name', '?')}"
            yield from (f"{name}: {cut(line)}" for line in _of(value))


def _of(value: object) -> Iterable[str]:
    """The broken laws of one noun; a refusal is one too."""
    try:
        if isinstance(value, Task):
            return list(of_task(value))
        if isinstance(value, Stream):
            return list(of_stream(value))
        if isinstance(value, Paradigm):
            return list(of_paradigm(value))
    except UserError as fault:
        return [str(fault)]
    return []


def of_task(task: Task) -> Iterator[str]:
    """Ids differ, loading is repeatable, splits are disjoint, marks are right in every style and by every scorer."""
    items = {split: task.load(split, _count(task)) for split in SPLITS}
    for split, examples in items.items():
        if len({example.id for example in examples}) != len(examples):
            yield f"two {split} items have one id"
        again = task.load(split, _count(task))
        if again != examples or [_pixels(one) for one in again] != [_pixels(one) for one in examples]:
            yield f"loading the {split} split twice gives different items"
        if task.load(split, len(examples) // 2) != examples[: len(examples) // 2]:
            yield f"a shorter load of {split} is not the beginning of a longer one"
    for one, other in combinations(SPLITS, 2):
        if both := {_content(item) for item in items[one]} & {_content(item) for item in items[other]}:
            yield f"{len(both)} items of {one} are items of {other} too"
    for style in STYLES:
        for scorer in ("", *(one.name for one in task.scorers)):
            said = f" by scorer {scorer}" if scorer else ""
            yield from (line + said for line in of_marks(task.by(scorer), style, items["test"]))
        yield from of_breakdown(task, style, items["test"])


def _count(task: Task) -> int:
    return ITEMS if task.twin_items is None else min(ITEMS, task.twin_items)


def _pixels(example: Example) -> list[str]:
    return [digest([picture.mode, picture.size, picture.tobytes().hex()]) for picture in open_pictures(example)]


def _content(example: Example) -> str:
    """What an item asks: its question, its options and its pictures."""
    return digest([example.question, example.choices, _pixels(example)])


def of_marks(task: Task, style: Style, examples: Sequence[Example]) -> Iterator[str]:
    """The gold answer reaches the ceiling, nonsense is worth 0, every wrong option 0 by letter and by text."""
    for example in examples:

        def worth(answer: str, example: Example = example) -> float:
            return mark(task, style, example, style.write(answer, "so")).score

        gold = example.answers[0]
        ceiling = max(worth(answer) for answer in example.answers if answer)
        if worth(gold) < ceiling or not ceiling:
            said = f"scores {worth(gold):g} of {ceiling:g}"
            yield f"the gold answer {gold!r} of {example.id} {said} in style {style.name}"
        for said in NONSENSE:
            if worth(said):
                yield f"the nonsense {said!r} scores {worth(said):g} for {example.id} in style {style.name}"
        for number, text in enumerate(example.choices):
            letter = chr(65 + number)
            if letter != gold and (worth(letter) or (example.choices.count(text) == 1 and worth(text))):
                yield f"the wrong option {letter} ({text!r}) of {example.id} scores in style {style.name}"


def of_breakdown(task: Task, style: Style, examples: Sequence[Example]) -> Iterator[str]:
    """A breakdown takes any marks, is the same the second time, and gives a Part for each name, a slug."""
    if task.breakdown is None:
        return
    for said in (None, *NONSENSE):
        answers = [example.answers[0] if said is None else said for example in examples]
        pairs = zip(examples, answers, strict=True)
        marks = [mark(task, style, example, style.write(answer, "so")) for example, answer in pairs]
        parts = parts_of(task.name, task.breakdown, examples, marks)
        if parts_of(task.name, task.breakdown, examples, marks) != parts:
            yield f"its breakdown gives other numbers the second time in style {style.name}"
        if over := [name for name, part in parts.items() if part.n > len(examples)]:
            yield f"its breakdown gives {over[0]} over more items than there are in style {style.name}"


def of_stream(stream: Stream) -> Iterator[str]:
    """Its tasks and suites are registered."""
    suites = all_of("suite")
    for name in (*stream.tasks, *(name for name in stream.general if name not in suites)):
        typed(Task, name)
    yield from ()


def of_style(style: Style) -> Iterator[str]:
    """``read(write(a)) == a``, and what it writes follows its own format."""
    for answer in ANSWERS:
        written = style.write(answer, "so it is")
        if style.read(written) != answer:
            yield f"style {style.name} reads {style.read(written)!r} where it wrote {answer!r}"
        if not style.follows(written):
            yield f"style {style.name} does not follow its own format with {answer!r}"


def of_paradigm(paradigm: Paradigm) -> Iterator[str]:
    """Its style's laws; its stages and its run id are sound; its learner works for what it is shown, and trains."""
    yield from of_style(paradigm.style)
    scale = replace(TWIN, name="law", train_items=16, test_items=4)
    run = Run(paradigm=paradigm, stream=typed(Stream, "o1"), scale=scale)
    run_stages(run)
    run_id(run)
    counts = [paradigm.learner.work(shown, paradigm, scale).steps for shown in (1, 16, 64)]
    if counts != sorted(counts) or counts[0] < 0:
        yield f"learner {paradigm.learner.name} says {counts} steps for 1, 16 and 64 presentations"
    with tempfile.TemporaryDirectory(prefix="laws-") as folder:
        yield from of_training(paradigm, scale, Path(folder))


def of_training(paradigm: Paradigm, scale: Scale, folder: Path) -> Iterator[str]:
    """Trained twice from the same seed the weights are the same, and others than the base's; fields are obeyed."""
    base, digests = model_folder(scale), []
    for number in range(2):
        place = folder / str(number)
        place.mkdir()
        made = train(small_job(paradigm, scale, base, place))
        digests.append(weights_digest(made.weights))
    if digests[0] != digests[1]:
        yield f"learner {paradigm.learner.name} gives other weights when it trains again from the same seed"


def small_job(paradigm: Paradigm, scale: Scale, base: Path, folder: Path) -> Job:
    """A stage of sixteen presentations of a twin, small enough to be trained in some seconds."""
    task = typed(Task, "gqa")
    return Job(
        paradigm=paradigm,
        scale=scale,
        stage=Stage(name=task.name, tasks=(task.name,)),
        examples=tuple((task, example) for example in task.load("train", 16)),
        epochs={task.name: 1},
        model=base,
        reference=base if paradigm.kl else None,
        seed=stage_seed(0, task.name),
        folder=folder,
    )


__all__ = [
    "broken", "of_breakdown", "of_marks", "of_paradigm", "of_stream", "of_style", "of_task", "of_training", "small_job",
]  # fmt: skip
