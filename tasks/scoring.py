r"""The marks of the ten data sets: each ``(answer, example) -> [0, 1]``, each used by reward, filter and evaluation.

A bad answer is data: whatever the text, a scorer returns a number and does not raise.
"""

from __future__ import annotations

import re

from harness.core import Example
from tasks.formulas import math_equal
from tasks.options import option_letter
from tasks.surface import bare
from tasks.vqa import vqa_accuracy, vqa_words

__all__ = (
    "clevr_match", "exact_match", "math_equal", "option_letter", "vqa_accuracy", "vqa_words", "words", "yes_no",
)  # fmt: skip

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_START = re.compile(r"[ .'-]+(?=[^\d .'-])")  # a number keeps its sign and its leading point
_NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}


def words(text: str) -> str:
    """Lower case without articles, outer punctuation and double spaces; never used on option letters.

    A text that is nothing but an article stays as it is, so that a gold answer can always be reached.

    >>> words("The Red cup."), words("left-hand  side"), words("-0.5."), words("A")
    ('red cup', 'left-hand side', '-0.5', 'a')
    """
    kept = " ".join(re.sub(r"[^\w\s'%$/.-]", " ", bare(text).lower()).split()).strip(" '").rstrip(" .'-")
    start = _START.match(kept)
    cleaned = kept[start.end() :] if start else kept
    return " ".join(_ARTICLES.sub(" ", cleaned).split()) or cleaned


def exact_match(answer: str, example: Example) -> float:
    """1 where the answer is the gold answer but for case, articles and punctuation (GQA, PathVQA).

    >>> item = Example(id="x", question="?", answers=("red cup",))
    >>> exact_match("The red cup.", item), exact_match("cup", item), exact_match("", item)
    (1.0, 0.0, 0.0)
    """
    return float(words(answer) == words(example.answers[0]) != "")


def yes_no(answer: str, example: Example) -> float:
    """1 where the first word is the gold "yes" or "no" and the other one does not follow (POPE).

    >>> item = Example(id="x", question="?", answers=("yes",))
    >>> [yes_no(text, item) for text in ("Yes", "yes.", "Yes, there is", "no", "yes and no", "yesterday", "")]
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    found = re.findall(r"\w+", bare(answer).lower())
    if not found or found[0] not in ("yes", "no") or {"yes", "no"} <= set(found):
        return 0.0
    return float(found[0] == example.answers[0].strip().lower())


_CLEVR = {"true": "yes", "false": "no", **NUMBERS}


def clevr_match(answer: str, example: Example) -> float:
    """1 where the answer is the gold one, with "True" the same as "yes" and "Three" the same as "3" (Super-CLEVR).

    >>> item = Example(id="x", question="?", answers=("True",))
    >>> clevr_match("Yes.", item), clevr_match("true", item), clevr_match("no", item), clevr_match("", item)
    (1.0, 1.0, 0.0, 0.0)
    >>> clevr_match("three", Example(id="x", question="?", answers=("3",)))
    1.0
    """
    given, wanted = words(answer), words(example.answers[0])
    return float(_CLEVR.get(given, given) == _CLEVR.get(wanted, wanted) != "")
