"""The chat turn of a prompt: where its text stands and where its pictures. Standard library only."""

from __future__ import annotations

import re
from typing import Any

from harness.values import UserError

# What chat models' vocabularies write special tokens as: <|name|>, DeepSeek's full-width bars, <s> and its kin,
# <start_of_turn> and its kin, [INST]. Thinking marks such as <think> are none: they are an answer's own text.
_SPECIAL = re.compile(
    r"<(?=\|[^\s|<>]+\|>|｜[^\s｜<>]+｜>|/?(?:s|pad|unk|bos|eos|mask|img|image|video|audio|\w+_\w+)>|<SYS>>|</SYS>>)"
    r"|\[(?=/?(?:INST|IMG\w*)\])"
)


def literal(text: str) -> str:
    """The text with a space inside whatever a tokenizer would read as one special token, so that it stays text.

    Everything that data put into a chat passes here, in training and in evaluation: a question that holds an end of
    turn must not end one, and a picture's mark without a picture must not ask for one. Applying it twice changes
    nothing more.

    >>> literal("4 <|image_pad|> and <|im_end|>"), literal("a < b, <image 1>, <think>")
    ('4 < |image_pad|> and < |im_end|>', 'a < b, <image 1>, <think>')
    """
    return _SPECIAL.sub(r"\g<0> ", text)


# A prompt's words: the text of one turn, or (role, text) of several, of which the last is asked and has the pictures.
Text = str | tuple[tuple[str, str], ...]


def messages(text: Text, images: int) -> list[dict[str, Any]]:
    """The chat for a prompt: pictures at their ``<image N>`` marks, those without a mark before the text.

    A picture stands at its first mark; a further one stays as words. Special tokens inside the text are text
    (``literal``). Raises UserError where the marks would need the pictures in another order than the example's: a
    loader numbers pictures as the text first mentions them.

    >>> [part["type"] for part in messages("Compare <image 1> with <image 2> .", 2)[0]["content"]]
    ['text', 'image', 'text', 'image', 'text']
    >>> [part["type"] for part in messages("What is it?", 1)[0]["content"]]
    ['image', 'text']
    >>> [turn["role"] for turn in messages((("system", "Be brief."), ("user", "What is it?")), 0)]
    ['system', 'user']
    """
    if not isinstance(text, str):
        *earlier, (_, asked) = text
        turns = [{"role": role, "content": _text_part(said)} for role, said in earlier]
        return [*turns, *messages(asked, images)]
    marks: dict[int, re.Match[str]] = {}
    for match in re.finditer(r"<image (\d+)>", text):
        if 1 <= int(match[1]) <= images:
            marks.setdefault(int(match[1]), match)
    order = [number for number in range(1, images + 1) if number not in marks] + list(marks)
    if order != sorted(order):
        raise UserError(f"a question marks its pictures as {list(marks)} of {images}: number them as first mentioned")
    parts: list[dict[str, Any]] = [{"type": "image"}] * (images - len(marks))
    start = 0
    for match in marks.values():
        parts += [*_text_part(text[start : match.start()]), {"type": "image"}]
        start = match.end()
    parts += _text_part(text[start:])
    return [{"role": "user", "content": parts}]


def _text_part(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": literal(text)}] if text.strip() else []


def words(text: Text) -> str:
    """The words of all turns of a prompt, each on a line of its own."""
    return text if isinstance(text, str) else "\n".join(said for _, said in text)
