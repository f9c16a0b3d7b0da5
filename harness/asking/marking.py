"""The one place where a reply becomes a score: used by reward, by selection and by evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.core import Breakdown, Example, Mark, Part, Style, Task, UserError, name_of, replace, slug
from harness.values import cut, is_number


def mark(task: Task, style: Style, example: Example, reply: str) -> Mark:
    """Read a reply in a style and score it by its task; what cannot be read scores 0.

    Raises:
        UserError: where the task's scorer gives anything but a number from 0 to 1.
    """
    answer = style.read(reply)
    return Mark(example=example.id, read=answer, score=0.0 if answer is None else _score(task, answer, example))


def _score(task: Task, answer: str, example: Example) -> float:
    score = task.score(answer, example)
    if not is_number(score, 0, 1) and not isinstance(score, bool):
        raise UserError(
            f"task {task.name}: {name_of(task.score)} gives {cut(repr(score), 40)} for {cut(example.id)}:"
            " a score is a number from 0 to 1"
        )
    return float(score)


def single_gold(example: Example) -> Example:
    """The example with its one gold answer: SFT's target and what RFT's accuracy is measured against."""
    return replace(example, answers=example.answers[:1])


def reward(task: Task, style: Style, example: Example, reply: str) -> float:
    r"""(1 - w) accuracy + w format, with w the style's ``format_weight`` (0.1 with thinking; arXiv:2507.05386).

    Accuracy is against the same single gold answer that SFT is trained on.
    """
    weight = style.format_weight
    accuracy = mark(task, style, single_gold(example), reply).score
    return (1 - weight) * accuracy + weight * float(style.follows(reply))


def parts_of(name: str, breakdown: Breakdown, examples: Sequence[Example], marks: Sequence[Mark]) -> Mapping[str, Part]:
    """The further numbers that the breakdown of the task or suite ``name`` gives of a cell.

    Raises:
        UserError: where it gives anything but a Part for each name, a slug.
    """
    try:
        parts = breakdown(examples, marks)
        if not isinstance(parts, Mapping) or not all(isinstance(part, Part) for part in parts.values()):
            raise UserError(f"{cut(repr(parts), 60)} is no breakdown: give a Part for each name")
        return {slug(part): parts[part] for part in parts}
    except UserError as fault:
        raise UserError(f"the breakdown of {name}: {fault}") from fault


def scorer_name(task: Task) -> str:
    """The scorer's part of a cell's identity: the scoring function and the task's version.

    A plugin's function has its file's digest in its module's name, and the name here ends in it.
    """
    module = name_of(task.score).rpartition(".")[0].partition(".")[0]
    mark_of_plugin = module.rpartition("_")[2][:8] if module.startswith("plugin_") else ""
    return "-".join([f"{task.score.__name__}-v{task.version}", *([mark_of_plugin] if mark_of_plugin else [])])
