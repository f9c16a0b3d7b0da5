"""The mark of a question without options that has a text or a number for an answer (MMMU's open questions).

The published evaluation looks for a gold text anywhere in the reply, and for a gold number among all of the reply's
numbers, to two decimals. Here the whole answer must be it: a text but for case, articles and punctuation, a number
where it is the only one that is said. So no reply is right that the published evaluation calls wrong, but for other
ways to write a formula and for articles (Yue et al., arXiv:2311.16502).
"""

from __future__ import annotations

import re

from harness.core import Example
from tasks.formulas import same_formula
from tasks.surface import bare, words

LONGEST = 1000
_NUMBER = re.compile(
    r"(?<![\w.,])-?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,2})?(?![\w.,]*\d)", re.ASCII
)
DECIMALS = 2


def open_answer(answer: str, example: Example) -> float:
    """1 where the answer is one of the gold answers: the same words, number or formula.

    >>> item = Example(id="x", question="?", answers=("24/7", "3.429"))
    >>> [open_answer(text, item) for text in ("3.43", "x = 3.43 V", "24/7", "3.4", "3.43 or 4", "about 24", "")]
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    >>> item = Example(id="x", question="?", answers=("1,000", "Red cup"))
    >>> [open_answer(text, item) for text in ("$1000", "about 1e3 m", "10", "a red cup", "cup")]
    [1.0, 1.0, 0.0, 1.0, 0.0]
    """
    return float(len(answer) <= LONGEST and any(_same(answer, gold) for gold in example.answers))


def _same(answer: str, gold: str) -> bool:
    if words(answer) == words(gold) != "" or same_formula(answer, gold):
        return True
    said, wanted = _numbers(answer), _NUMBER.fullmatch(gold.strip())
    return wanted is not None and len(said) == 1 and _numbers(gold) == said


def _numbers(text: str) -> set[float]:
    """The numbers of a text, to two decimals."""
    return {round(float(one[0].replace(",", "")), DECIMALS) for one in _NUMBER.finditer(bare(text))}
