r"""The marks of the ten data sets: each ``(answer, example) -> [0, 1]``, each used by reward, filter and evaluation.

A bad answer is data: whatever the text, a scorer returns a number and does not raise.
"""

from __future__ import annotations

import logging
import re
from decimal import Decimal
from functools import lru_cache

from harness.core import Example

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_OUTER = re.compile(r"^[\s.'-]+(?=[^\d\s.'-])|[\s.'-]+$")  # a number keeps its sign and its leading point
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\s*\{([^{}]*)\}")
_NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}


def bare(answer: str) -> str:
    r"""The answer without the LaTeX that a model wraps around words.

    >>> bare(r" \text{two cups} "), bare("$B$")
    ('two cups', 'B')
    """
    text = _WRAPPER.sub(r"\1", answer).strip()
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] == "$" else text


def words(text: str) -> str:
    """Lower case without articles, outer punctuation and double spaces; never used on option letters.

    A text that is nothing but an article stays as it is, so that a gold answer can always be reached.

    >>> words("The Red cup."), words("left-hand  side"), words("-0.5."), words("A")
    ('red cup', 'left-hand side', '-0.5', 'a')
    """
    cleaned = _OUTER.sub("", re.sub(r"[^\w\s'%$/.-]", " ", bare(text).lower()).strip(" '"))
    return " ".join(_ARTICLES.sub(" ", cleaned).split()) or cleaned


def exact_match(answer: str, example: Example) -> float:
    """1 where the answer is the gold answer but for case, articles and punctuation (GQA, PathVQA).

    >>> item = Example(id="x", question="?", answers=("red cup",))
    >>> exact_match("The red cup.", item), exact_match("cup", item), exact_match("", item)
    (1.0, 0.0, 0.0)
    """
    return float(words(answer) == words(example.answers[0]) != "")


# ---------------------------------------------------------------------------------------------- option letters

_LEAD = re.compile(r"(?:the\s+)?(?:correct\s+|final\s+|best\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s+", re.I)
_LETTER = re.compile(r"\(\s*([A-Za-z])\s*\)[.:]?|([A-Za-z])\s*[.:)]?")
_LETTER_AND_TEXT = re.compile(r"(?:\(\s*([A-Za-z])\s*\)[.:]?|([A-Za-z])\s*[.:)])\s+(\S.*)", re.DOTALL)


def option_letter(answer: str, example: Example) -> float:
    """1 where the answer names the gold option and no other: by letter, by text, or by both where they agree.

    "B", "b", "(B)", "B.", "B. two", "The answer is B" and the option's whole text count; a text that two options share
    and two letters do not. A single letter is always read as a letter, and letters are never normalised as words.

    >>> item = Example(id="x", question="?", answers=("A",), choices=("a cup", "two"))
    >>> [option_letter(text, item) for text in ("A", "(a)", "A. a cup", "A cup.", "The answer is A.")]
    [1.0, 1.0, 1.0, 1.0, 1.0]
    >>> [option_letter(text, item) for text in ("B", "A. two", "two", "A or B", "cup", "C", "")]
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    text = bare(answer)
    chosen = _option(text, example.choices)
    if chosen is None and (lead := _LEAD.match(text)):
        chosen = _option(text[lead.end() :], example.choices)
    return float(chosen == example.answers[0])


def _option(text: str, choices: tuple[str, ...]) -> str | None:
    """The letter that the text names, None where it names none or contradicts itself."""
    if single := _LETTER.fullmatch(text):
        return _in_range(single[1] or single[2], choices)
    texts = [_option_text(choice) for choice in choices]
    given = _option_text(text)
    if given and texts.count(given) == 1:
        return chr(65 + texts.index(given))
    if both := _LETTER_AND_TEXT.fullmatch(text):
        letter = _in_range(both[1] or both[2], choices)
        agrees = letter is not None and texts[ord(letter) - 65] == _option_text(both[3])
        return letter if agrees else None
    return None


def _in_range(letter: str, choices: tuple[str, ...]) -> str | None:
    """The letter in upper case where there is such an option."""
    return letter.upper() if ord(letter.upper()) - 65 < len(choices) else None


def _option_text(text: str) -> str:
    """An option's text to compare by: no case, no punctuation but what carries a sign or a decimal point."""
    cleaned = re.sub(r"""[,;:!?"'`()]""", " ", bare(text).casefold())
    return " ".join(cleaned.split()).rstrip(". ")


# ------------------------------------------------------------------------------------------ ten annotators (VQA)

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
_LOOSE_PERIOD = re.compile(r"\.(?!\d)")


@lru_cache(maxsize=65536)
def vqa_words(text: str) -> str:
    """An answer as the VQA evaluation compares it (Antol et al., arXiv:1505.00468; the official ``vqaEval.py``).

    Lower case, punctuation, number words to digits, articles. Where the official code restores the apostrophes of a
    list of contractions, here all apostrophes go, so that "dont" and "don't" agree in the same way.

    >>> vqa_words("The two Cats!"), vqa_words("1,000"), vqa_words("don't"), vqa_words("a"), vqa_words("3.5 oz.")
    ('2 cats', '1000', 'dont', 'a', '3.5 oz')
    """
    raw = " ".join(bare(text).lower().split())
    out = raw
    for point in _MARKS:
        outer = f"{point} " in raw or f" {point}" in raw or _DIGIT_COMMA.search(raw) is not None
        out = out.replace(point, "" if outer else " ")
    out = _LOOSE_PERIOD.sub("", out).replace("'", "").replace("’", "")
    kept = [_vqa_number(word) for word in out.split() if word not in ("a", "an", "the")]
    return " ".join(kept) or raw


def _vqa_number(word: str) -> str:
    """A word of the official map (none and zero to ten) as its digits."""
    number = {"none": "0", **NUMBERS}.get(word, word)
    return number if len(number) == 1 or number == "10" else word


def vqa_accuracy(answer: str, example: Example) -> float:
    r"""The VQA accuracy: the mean of min(matches / 3, 1) over all subsets that leave one annotator out.

    With ten annotators 1, 2, 3 and 4 matches are worth 0.3, 0.6, 0.9 and 1 (TextVQA, VizWiz). With a single answer, the
    gold that training uses, it is a plain match.

    >>> item = Example(id="x", question="?", answers=("red", "red", "dark red", *["maroon"] * 7))
    >>> [round(vqa_accuracy(text, item), 9) for text in ("Dark red.", "red", "maroon", "blue")]
    [0.3, 0.6, 1.0, 0.0]
    """
    given = vqa_words(answer)
    if not given:
        return 0.0
    agree = [given == vqa_words(other) for other in example.answers]
    if len(agree) == 1:
        return float(agree[0])
    total = sum(agree)
    return sum(min((total - one) / 3, 1.0) for one in agree) / len(agree)


# ------------------------------------------------------------------------------------------------------- yes or no


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


# --------------------------------------------------------------------------------------------- numbers and formulas

# Only short formulas reach math-verify: free text is none, and towers, factorials or half-written LaTeX, on which a
# computer algebra system can compute for ever or guess, are no answers to the data sets' questions. A text is a formula
# where these rules, applied over and over, reduce it to one N.
_ASSIGNED = re.compile(r"[A-Za-z]\s*=\s*")
_UNIT = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree|°|\\?%|degrees?|(?:square )?units?|cm|mm|km|m|ft|in)$")
_REFUSED = re.compile(r"[\d.]\s+[\d.]|(?<!\d)\s*\^")  # two numbers side by side; a power of a sum or a root
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DECIMAL = re.compile(r"-?(?:\d+\.?\d*|\.\d+)", re.ASCII)
_RULES = tuple(
    (re.compile(pattern, re.ASCII), made)
    for pattern, made in (
        (r"\s+|\\[,;! ]|\\left(?=\()|\\right(?=\))", ""),
        (r"\\[dt]?frac(\d)(\d)", r"\\frac{\1}{\2}"),
        (r"\^(?:\{\d{1,2}\}|\d(?!\d))", "^"),
        (r"\\pi(?![a-z])|\d+(?:\.\d*)?|\.\d+", "N"),
        (r"\\[dt]?frac\{N\}\{N\}|\\sqrt(?:\{N\}|N)|\(N\)|N\^", "N"),
        (r"N(?:[*/]|\\cdot|\\times)?N", "N"),
        (r"N[+-]N|(?<![N)}])[+-]N", "N"),
    )
)


def math_equal(answer: str, example: Example) -> float:
    r"""1 where the answer equals the gold number or formula, by math-verify (Geometry3K).

    >>> item = Example(id="x", question="?", answers=(r"\frac{1}{2}",))
    >>> [math_equal(text, item) for text in (r"\frac{1}{2}", "1/2", "0.5", "x = 0.5", "$0.50$")]
    [1.0, 1.0, 1.0, 1.0, 1.0]
    >>> [math_equal(text, item) for text in ("2", "x", "half", "0.5 or 2", "9^{9^{9}}", "((", "")]
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    return _math_equal(answer, example.answers[0])


@lru_cache(maxsize=65536)
def _math_equal(answer: str, gold: str) -> float:
    """``math_equal`` for a pair of texts; rollouts repeat the same few answers, so the verdicts are kept."""
    given, wanted = _formula(answer), _formula(gold)
    if not given or not wanted:
        return float(bool(answer.strip()) and answer.strip() == gold.strip())
    if given.replace(" ", "") == wanted.replace(" ", ""):
        return 1.0
    if _DECIMAL.fullmatch(given) and _DECIMAL.fullmatch(wanted):
        return float(Decimal(given) == Decimal(wanted))
    from math_verify import parse, verify

    # Timeouts use signals, which exist in the main thread only; without them math-verify logs a line per process.
    for name in ("math_verify.parser", "math_verify.grader", "math_verify.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    pair = [parse(f"${text}$", parsing_timeout=None) for text in (wanted, given)]
    return float(all(pair) and verify(pair[0], pair[1], timeout_seconds=None))


def _formula(answer: str) -> str:
    """The answer as LaTeX for math-verify, without "x =" and unit; empty where it is no short formula."""
    text = bare(answer).rstrip(". ")
    given = _ASSIGNED.match(text)
    text = _UNIT.sub("", _THOUSANDS.sub("", text[given.end() :] if given else text))
    text = text.replace("π", r"\pi ").replace("√", r"\sqrt")
    text = re.sub(r"\\sqrt\s*(\d+|\([^()]*\))", lambda root: f"\\sqrt{{{root[1].strip('()')}}}", text)
    text = re.sub(r"(?<!\\)(?:sqrt\s*\(([^()]*)\)|\bpi\b)", lambda m: f"\\sqrt{{{m[1]}}}" if m[1] else r"\pi ", text)
    if len(text) > 80 or text.count("^") > 1 or _REFUSED.search(text):
        return ""
    rest, before = text, ""
    while rest != before:
        before = rest
        for pattern, made in _RULES:
            rest = pattern.sub(made, rest)
    return text if rest == "N" else ""


# ------------------------------------------------------------------------------------------------------ Super-CLEVR

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
