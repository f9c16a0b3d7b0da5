r"""The mark of a number or a formula, by math-verify (github.com/huggingface/Math-Verify).

Only short formulas of numbers reach it: free text is none, and towers, factorials or half-written LaTeX, on which a
computer algebra system can compute for ever or guess, are no answers to the data set's questions. Before that, the name
that an answer is given ("AB =", "m\angle B =", "x \approx") and its unit go.
"""

from __future__ import annotations

import logging
import re
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any

from harness.core import Example
from tasks.surface import bare

LONGEST = 100
_RELATION = re.compile(r"=|\\approx(?![a-z])|≈")
_NAME = re.compile(r"[A-Za-z\\{}()'∠△\s]*")
_NUMBERED = re.compile(r"(?:\\angle|∠|_) ?\{? ?\d+ ?\}?")
_LENGTHS = "units?|[cmkd]?m|in(?:ch(?:es)?)?|ft|foot|feet|yd|yards?|mi|miles?|(?:centi|milli|kilo|deci)?met(?:er|re)s?"
_UNIT = re.compile(
    rf"\s*(?:\\?%|deg(?:rees?)?|rad(?:ians?)?"
    rf"|(?:(?:square|cubic|sq\.?|cu\.?)\s?)?(?:{_LENGTHS})\.?(?:\s?\^\s?\{{?[23]\}}?|²|³)?)$"
)
_DEGREE = re.compile(r"\s?(?:\^\s?\{?\s?\\circ\s?\}?|\\degree|°)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DECIMAL = re.compile(r"-?(?:\d+\.?\d*|\.\d+)", re.ASCII)
_WRITTEN = (("π", r"\pi "), ("√", r"\sqrt"), ("·", r"\cdot "), ("×", r"\times "), ("÷", r"\div "), ("~", " "))
# Two numbers side by side; a power of a power; a power whose base is a root or a bracket and that is more than a cube.
_REFUSED = re.compile(r"[\d.]\s+[\d.]|\^\s*(?:\d|\{[^}]*\})\s*\^|[)}i]\s*\^\s*(?!\{?[123]\}?(?!\d))")
# A text is a formula where these rules, applied over and over, reduce it to one N.
_RULES = tuple(
    (re.compile(pattern, re.ASCII), made)
    for pattern, made in (
        (r"\s+|\\left(?=[(|\[])|\\right(?=[)|\]])", ""),
        (r"(\\[dt]?frac(?:\{N\})?)(\d)(?=\d)", r"\1{\2}"),
        (r"\^(?:\{-?\d{1,2}\}|\d(?!\d))", "^"),
        (r"\\pi(?![a-z])|\d+(?:\.\d*)?|\.\d+", "N"),
        (r"\\[dt]?frac(?:\{N\}|N){2}|\\sqrt(?:\[N\])?(?:\{N\}|N)|\(N\)|\|N\||N\^", "N"),
        (r"N(?:[*/:]|\\cdot|\\times|\\div)?N", "N"),
        (r"N[+-]N|(?<![N)}])[+-]N", "N"),
    )
)


def math_equal(answer: str, example: Example) -> float:
    r"""1 where the answer equals the gold number or formula, by math-verify (Geometry3K).

    A percentage is read as its number: 50% is 50, and not the half that math-verify takes it for too.

    >>> item = Example(id="x", question="?", answers=(r"\frac{1}{2}",))
    >>> [math_equal(text, item) for text in (r"\frac{1}{2}", "1/2", "0.5 cm", "AB = 0.5", r"\approx 0.50")]
    [1.0, 1.0, 1.0, 1.0, 1.0]
    >>> [math_equal(text, item) for text in ("2", "x", "half", "0.5 or 2", "9^{9^{9}}", "((", "")]
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    gold = example.answers[0]
    if _too_long(answer, gold):
        return 0.0
    if not _formula(answer) or not _formula(gold):
        said = bare(answer).rstrip(". ")
        return float(said != "" and said == bare(gold).rstrip(". "))
    return float(same_formula(answer, gold))


def _too_long(answer: str, gold: str) -> bool:
    """Whether an answer is no short formula, so that nobody need look at it."""
    return len(answer) > 4 * (LONGEST + len(gold))


@lru_cache(maxsize=65536)
def same_formula(answer: str, gold: str) -> bool:
    r"""Whether two texts are equal numbers or formulas; rollouts repeat the same few, so the verdicts are kept.

    >>> same_formula("0.5 cm", r"\frac{1}{2}"), same_formula("2", "3"), same_formula("red", "red")
    (True, False, False)
    """
    if _too_long(answer, gold):
        return False
    given, wanted = _formula(answer), _formula(gold)
    if not given or not wanted:
        return False
    if given.replace(" ", "") == wanted.replace(" ", ""):
        return True
    if _DECIMAL.fullmatch(given) and _DECIMAL.fullmatch(wanted):
        return Decimal(given) == Decimal(wanted)
    return _verified(given, wanted)


def _verified(given: str, wanted: str) -> bool:
    """What math-verify says of two formulas of numbers; it is not asked where their values are clearly apart."""
    from math_verify import parse, verify

    # Timeouts use signals, which exist in the main thread only; without them math-verify logs a line per process.
    for name in ("math_verify.parser", "math_verify.grader", "math_verify.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    pair = [parse(f"${text}$", parsing_timeout=None) for text in (wanted, given)]
    if not all(pair) or _apart(pair[0][0], pair[1][0]):
        return False
    return verify(pair[0], pair[1], timeout_seconds=None)


def _apart(one: Any, other: Any) -> bool:
    """Whether two sympy expressions differ by more than any rounding; their difference is costly to simplify."""
    try:
        first, second = complex(one.evalf(15)), complex(other.evalf(15))
    except (AttributeError, TypeError, ValueError, ArithmeticError):
        return True
    gap = abs(first - second)
    return not (isfinite(gap) and gap <= 1e-3 * max(1.0, abs(first), abs(second)))  # 7/0 is no number


@lru_cache(maxsize=8192)
def _formula(answer: str) -> str:
    """The answer as LaTeX for math-verify, without name and unit; empty where it is no short formula."""
    text = bare(answer).rstrip(". ")
    if relation := _RELATION.search(text):
        name = _NUMBERED.sub(" ", text[: relation.start()])
        text = text[relation.end() :].strip() if _NAME.fullmatch(name) else ""
    for sign, latex in _WRITTEN:
        text = text.replace(sign, latex)
    text = _THOUSANDS.sub("", _UNIT.sub("", bare(_DEGREE.sub("", text)))).strip()
    text = re.sub(r"\\sqrt\s*(\d+|\([^()]*\))", lambda root: f"\\sqrt{{{root[1].strip('()')}}}", text)
    text = re.sub(r"(?<!\\)(?:sqrt\s*\(([^()]*)\)|\bpi\b)", lambda m: f"\\sqrt{{{m[1]}}}" if m[1] else r"\pi ", text)
    if len(text) > LONGEST or text.count("^") > 4 or text.count("(") > 8 or _REFUSED.search(text):
        return ""
    rest, before = text, ""
    while rest != before:
        before = rest
        for pattern, made in _RULES:
            rest = pattern.sub(made, rest)
    return text if rest == "N" else ""
