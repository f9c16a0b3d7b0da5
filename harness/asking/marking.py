"""The one place where a reply becomes a score: used by reward, by filter and by evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core import Example, Style, Task


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a reply was worth: the answer read (None: malformed), and its accuracy in [0, 1] (0 when malformed)."""

    read: str | None
    score: float


def mark(task: Task, style: Style, example: Example, reply: str) -> Mark:
    """Read a reply in a style and score it by its task."""
    answer = style.read(reply)
    return Mark(read=answer, score=0.0 if answer is None else task.score(answer, example))


def single_gold(example: Example) -> Example:
    """The example with its one gold answer: SFT's target and what RFT's accuracy is measured against."""
    from dataclasses import replace

    return replace(example, answers=example.answers[:1])


def reward(task: Task, style: Style, example: Example, reply: str) -> float:
    r"""(1 - w) accuracy + w format, with w the style's ``format_weight`` (0.1 with thinking; arXiv:2507.05386).

    Accuracy is against the same single gold answer that SFT is trained on.
    """
    weight = style.format_weight
    accuracy = mark(task, style, single_gold(example), reply).score
    return (1 - weight) * accuracy + weight * float(style.follows(reply))
