"""The two ways to ask: DIRECT wants the bare answer, COT wants thinking and then a boxed answer."""

from __future__ import annotations

import re

from harness.core import Example, Style, Task

COT_INSTRUCTION = "Think in <think> </think> first, then give the final answer in \\boxed{}."
_COT_FORMAT = re.compile(r"\s*<think>.*</think>.*\\boxed\{.*\}.*", re.DOTALL)


def question_with_options(example: Example) -> str:
    """The question, and its options as lettered lines where it has some."""
    options = [f"{chr(65 + n)}. {choice}" for n, choice in enumerate(example.choices)]
    return "\n".join([example.question, *options])


def ask_direct(task: Task, example: Example) -> str:
    """The question with the task's own "answer directly" suffix."""
    return f"{question_with_options(example)}\n{task.suffix}"


def ask_cot(task: Task, example: Example) -> str:
    """The question with the thinking instruction; the task's direct suffix stays out."""
    return f"{question_with_options(example)}\n{COT_INSTRUCTION}"


def write_direct(answer: str, rationale: str = "") -> str:
    """The bare answer."""
    return answer


def write_cot(answer: str, rationale: str = "") -> str:
    r"""Thinking, then the boxed answer.

    >>> write_cot("B", "the cup is red")
    '<think>the cup is red</think>\\boxed{B}'
    """
    return f"<think>{rationale}</think>\\boxed{{{answer}}}"


def read_direct(reply: str) -> str | None:
    r"""The whole reply; None where it is empty or carries the other style's marks.

    >>> read_direct(" two dogs "), read_direct("B\nIt swims."), read_direct(""), read_direct("\\boxed{B}")
    ('two dogs', 'B\nIt swims.', None, None)
    """
    answer = reply.strip()
    marked = "\\boxed" in answer or "<think>" in answer or "</think>" in answer
    return None if not answer or marked else answer


def read_cot(reply: str) -> str | None:
    r"""What the last ``\boxed{...}`` holds, with balanced braces; None without one that closes or with an empty one.

    >>> read_cot(r"<think>half</think>\boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    >>> read_cot(r"\boxed{3") is None
    True
    """
    start = reply.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    body = reply[start + len("\\boxed") :]
    for position, character in enumerate(body):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return body[1:position].strip() or None
    return None


def follows_direct(reply: str) -> bool:
    """Whether the reply can be read; the direct style pays nothing for format."""
    return read_direct(reply) is not None


def follows_cot(reply: str) -> bool:
    r"""Whether the reply is ``<think>...</think> ... \boxed{...}`` with a readable box."""
    return _COT_FORMAT.fullmatch(reply) is not None and read_cot(reply) is not None


DIRECT = Style(name="direct", version=2, ask=ask_direct, write=write_direct, read=read_direct, follows=follows_direct)
COT = Style(name="cot", ask=ask_cot, write=write_cot, read=read_cot, follows=follows_cot, format_weight=0.1)
STYLES = (DIRECT, COT)
