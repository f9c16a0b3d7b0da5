r"""The paper's grading of a reply: right or wrong against the one gold answer, for every task alike (arXiv:2507.05386).

Its released reward compares texts but for case and spaces, and else asks a computer algebra system whether two formulas
are equal. So nine other annotators, articles, a closing point, an option's text and "True" for "yes" count for nothing.
Formulas are compared as in the rest of this project. Not taken over are accidents of that code: that "on" is "no",
since their letters multiply to the same, that a unit is cut out of a word ("Monday" is "Mon"), that 6/2 is not 3.
"""

from __future__ import annotations

from harness.core import Example, Scorer
from tasks.formulas import same_formula
from tasks.surface import bare


def single_answer(answer: str, example: Example) -> float:
    r"""1 where the answer is the gold answer but for case and spaces, or an equal number or formula.

    >>> item = Example(id="x", question="?", answers=("Coca Cola", "pepsi", "pepsi"))
    >>> [single_answer(text, item) for text in ("coca cola", r"\text{CocaCola}", "The Coca Cola", "pepsi", "")]
    [1.0, 1.0, 0.0, 0.0, 0.0]
    >>> item = Example(id="x", question="?", answers=("0.5",))
    >>> [single_answer(text, item) for text in (".50", r"\frac{1}{2}", "50")]
    [1.0, 1.0, 0.0]
    """
    gold = example.answers[0]
    return float(_squeezed(answer) == _squeezed(gold) != "" or same_formula(answer, gold))


def _squeezed(text: str) -> str:
    return "".join(bare(text).lower().split())


SINGLE = Scorer(name="single", version=1, score=single_answer)
