r"""The marks of the ten data sets: each ``(answer, example) -> [0, 1]``, each used by reward, filter and evaluation.

A bad answer is data: whatever the text, a scorer returns a number and does not raise.
"""

from __future__ import annotations

import re
import string

from harness.core import Example, Scorer
from tasks.formulas import math_equal
from tasks.options import option_letter
from tasks.surface import bare, words
from tasks.vqa import vqa_accuracy, vqa_words

__all__ = (
    "EXACT", "clevr_match", "exact_match", "math_equal", "option_letter", "published_match", "said_yes_no",
    "vqa_accuracy", "vqa_words", "words", "yes_no",
)  # fmt: skip

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}


def exact_match(answer: str, example: Example) -> float:
    """1 where the answer is the gold answer but for case, articles and punctuation (GQA, PathVQA).

    >>> item = Example(id="x", question="?", answers=("red cup",))
    >>> exact_match("The red cup.", item), exact_match("cup", item), exact_match("", item)
    (1.0, 0.0, 0.0)
    """
    return float(words(answer) == words(example.answers[0]) != "")


def published_match(answer: str, example: Example) -> float:
    """1 where the answer is the gold answer but for case and the ASCII punctuation, as lm-eval and lmms-eval mark GQA.

    >>> item = Example(id="x", question="?", answers=("t-shirt",))
    >>> [published_match(text, item) for text in ("T-Shirt.", "tshirt", "the t-shirt", "**t-shirt**")]
    [1.0, 1.0, 0.0, 1.0]
    """
    given, wanted = (text.lower().translate(_NO_PUNCTUATION) for text in (answer, example.answers[0]))
    return float(given == wanted != "")


EXACT = Scorer(name="exact", version=1, score=published_match)


def yes_no(answer: str, example: Example) -> float:
    """1 where the first word is the gold "yes" or "no" and the other one does not follow (POPE).

    >>> item = Example(id="x", question="?", answers=("yes",))
    >>> [yes_no(text, item) for text in ("Yes", "yes.", "Yes, there is", "no", "yes and no", "yesterday", "")]
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    return float(said_yes_no(answer) == example.answers[0].strip().lower() != "")


def said_yes_no(answer: str) -> str:
    """The "yes" or "no" that an answer begins with, where the other one does not follow; else an empty text."""
    found = re.findall(r"\w+", bare(answer).lower())
    return "" if not found or found[0] not in ("yes", "no") or {"yes", "no"} <= set(found) else found[0]


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
