r"""The mark of an option question: which of the lettered options a reply names.

A reply is read line by line, and each line may name options: by a letter, by an option's text, by both, or by declaring
one ("the correct answer is option B"). The reply's option is the one that all its lines together name; where they name
two, the reply is wrong. So a letter may be followed by an explanation that declares no other.

Beside a letter, the text must not contradict it. It counts where it is the option's text, but for case, punctuation and
articles, or the text's beginning, as a reply leaves it that was cut off by its length. A beginning has two characters
or more, since one is a letter of its own, and does not end inside a number, since 3 is not 31; it may fit several
options, for then it contradicts none, but it may not be another option's whole text.
"""

from __future__ import annotations

import re
from functools import lru_cache

from harness.core import Example
from tasks.open_answers import open_answer
from tasks.surface import bare

# A reply this much longer than the longest option names none.
LONGEST = 4000
_PAIRS = ("()", "[]", "{}", "<>", '""', "''")
_LABEL = re.compile(r"(?:[(\[{<]\s?([A-Za-z])\s?[)\]}>]|([A-Za-z])(?![\w']))\s*[.:;,)=]?\s*")
_SEVERAL = re.compile(r"[A-Za-z](?:(?: ?[,/&] ?(?:and |or )?| and | or | )[A-Za-z]){1,25}")
_NOUN = r"(?:answer|option|choice|letter)"
_ANNOUNCED = re.compile(rf"(?:the )?(?:correct |right |final |best )?{_NOUN} ", re.I)
_DECLARED = re.compile(
    rf"\b(?:{_NOUN} ?(?::|=|(?:is|would be|should be|must be)\b ?:?)|i(?:'d| would)? (?:choose|pick|select|say)) ?"
    rf"(?:(?:the )?(?:correct )?{_NOUN}\b ?:? ?)?",
    re.I,
)
_CONFIRMED = re.compile(
    rf"(?:{_NOUN} )?[(\[]?([A-Z])[)\]]? is (?:the )?(?:correct|right|best|true)\b(?: {_NOUN}\b)?", re.I
)
_CAPITAL = re.compile(r"(?<![\w'])[A-Z](?![\w'])")
_REASON = re.compile(r"(?:because|since|as|due to)\b", re.I)
_NO_NOUN = re.compile(r" (?![a-z])|[^ ]|$| (?:because|since|as|due|is|was|or|and|but)\b")
_MARKS = re.compile(r"""[,;:!?"'`()]""")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def option_letter(answer: str, example: Example) -> float:
    """1 where the answer names the gold option and no other: by letter, by text, or by both where they agree.

    "B", "b", "(B)", "B.", "B. two", "The answer is B" and the option's whole text count; a text that two options share
    and two letters do not. Options that differ by case alone are told apart. A single letter is read as a letter
    wherever there is such an option. A question without options is marked by its open answers.

    >>> item = Example(id="x", question="?", answers=("A",), choices=("a cup", "two"))
    >>> [option_letter(text, item) for text in ("A", "(a)", "A. a c", "A cup.", "The answer is option A.")]
    [1.0, 1.0, 1.0, 1.0, 1.0]
    >>> [option_letter(text, item) for text in ("B", "A. two", "two", "A or B", "cup", "C", "")]
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    choices = example.choices
    if not choices:
        return open_answer(answer, example)
    if len(answer) > LONGEST + max(map(len, choices), default=0):
        return 0.0
    return float(_named(answer, choices) == {example.answers[0]})


def _named(answer: str, choices: tuple[str, ...]) -> set[str]:
    """The letters of the options that a reply names."""
    if "\n" in answer.strip() and len(same := _same(answer, choices, articles=False)) == 1:
        return same  # an option of several lines
    found = set().union(*(_line(line, choices) for line in answer.splitlines()))
    return found or set().union(*(_line(line, choices) for line in bare(answer).splitlines()))


def _line(text: str, choices: tuple[str, ...]) -> set[str]:
    """The letters that one line names."""
    line = " ".join(bare(text).split())
    if plain := _plain(text.strip(), choices) or _plain(line, choices):
        return plain
    found: set[str] = set()
    if (label := _LABEL.match(line)) and _REASON.match(line[label.end() :]):
        found |= _declared(line, choices)
    if (lead := _ANNOUNCED.match(line)) and (announced := _plain(line[lead.end() :], choices)):
        found |= announced
    for lead in _DECLARED.finditer(line):
        found |= _declared(line[lead.end() :], choices)
    if confirmed := _CONFIRMED.match(line):
        found |= _letter(confirmed[1], choices) | _capitals(line[confirmed.end() :], choices)
    return found


def _plain(text: str, choices: tuple[str, ...]) -> set[str]:
    """The letters that a text is made of: a letter, an option's text, both, or several letters."""
    if lone := _lone(text, choices):
        return lone
    same = _same(text, choices, articles=False)
    if same:
        return same if len(same) == 1 else set()
    if _SEVERAL.fullmatch(text):
        return set().union(*(_letter(one, choices) for one in re.findall(r"\b[A-Za-z]\b", text)))
    label = _LABEL.match(text)
    letter = _letter(label[1] or label[2], choices) if label else set()
    if not label or not letter:
        return set()
    rest, whole = text[label.end() :], text[label.end(label.lastindex or 0) :].lstrip(")]}> ")
    if letter <= _same(rest, choices, articles=True):
        return letter
    if second := _lone(rest, choices):
        return letter | second
    # A dash may be a minus sign, or stand between letter and text; so may a point.
    for given in (rest, rest.lstrip("- "), whole):
        if hits := _same(given, choices, articles=True):
            return letter if letter <= hits else letter | hits
        if _begins(given, choices[ord(min(letter)) - 65]):
            return letter
    return set()


def _declared(text: str, choices: tuple[str, ...]) -> set[str]:
    """The letters named by what follows "the answer is": an option, or a capital letter and whatever comes after it."""
    if plain := _plain(text, choices):
        return plain
    label, letters = _LABEL.match(text), _capitals(text, choices)
    return letters if label and (label[1] or label[2]) in letters else set()


def _capitals(text: str, choices: tuple[str, ...]) -> set[str]:
    """The option letters that stand alone in a text as capitals; an "A" or "I" before a word is that word's."""
    found: set[str] = set()
    for one in _CAPITAL.finditer(text):
        if one[0] not in "AI" or _NO_NOUN.match(text, one.end()):
            found |= _letter(one[0], choices)
    return found


def _lone(text: str, choices: tuple[str, ...]) -> set[str]:
    """The letter that is all of the text, but for brackets, quotes and a closing sign."""
    inner = bare(text.rstrip(".:;,! "))
    if len(inner) > 2 and inner[0] + inner[-1] in _PAIRS:
        inner = bare(inner[1:-1]).rstrip(".: ")
    single = re.fullmatch(r"([A-Za-z]) ?\)?", inner)
    return _letter(single[1], choices) if single else set()


def _letter(letter: str, choices: tuple[str, ...]) -> set[str]:
    """The letter in upper case where there is such an option."""
    return {letter.upper()} if ord(letter.upper()) - 65 < len(choices) else set()


def _same(text: str, choices: tuple[str, ...], articles: bool) -> set[str]:
    """The options whose text this is, at the strictest way of comparing at which there are some."""
    given, texts = _forms(text), [_forms(choice) for choice in choices]
    for n in range(5 if articles else 4):
        hits = {chr(65 + place) for place, forms in enumerate(texts) if forms[n] == given[n] != ""}
        if hits:
            return hits
    return set()


def _begins(given: str, choice: str) -> bool:
    """Whether a text is the beginning of an option's text: two characters or more, and no part of a number."""
    for start, whole in zip(_forms(given)[3:], _forms(choice)[3:], strict=True):
        rest = whole[len(start) :]
        if len(start) > 1 and whole.startswith(start) and not (start[-1].isdigit() and re.match(r"[ .]?\d", rest)):
            return True
    return False


@lru_cache(maxsize=8192)
def _forms(text: str) -> tuple[str, str, str, str, str]:
    """A text ever more loosely: as it is, undressed, without punctuation, without case, without articles."""
    raw = " ".join(text.split())
    undressed = " ".join(bare(raw).split())
    cased = " ".join(_MARKS.sub(" ", undressed).split()).rstrip(". ")
    plain = cased.casefold()
    return raw, undressed, cased, plain, " ".join(_ARTICLES.sub(" ", plain).split())
