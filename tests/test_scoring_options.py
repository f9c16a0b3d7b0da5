"""Which option a reply names: kinds of dress, texts beside letters, declarations, and what contradicts itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core import Example
from tasks.scoring import option_letter


def item(gold: str, *choices: str) -> Example:
    """An option question."""
    return Example(id="x", question="?", answers=(gold,), choices=choices)


def named(reply: str, *choices: str) -> str:
    """The letters for which the reply would be right."""
    letters = [chr(65 + n) for n in range(len(choices))]
    return "".join(letter for letter in letters if option_letter(reply, item(letter, *choices)))


ANIMALS = ("a cup", "a newt", r"\$31,000", "31 km")
WIDE = {letter: chr(ord(letter) + 0xFEE0) for letter in "ABCDabcd"}
# Each takes a text that is a letter already dressed, so that dresses are worn over each other.
DRESSES = (
    "{}", "**{}**", "*{}*", "__{}__", "`{}`", "({})", "[{}]", '"{}"', "'{}'", "\u201c{}\u201d",
    "\u3010{}\u3011", "\uff08{}\uff09", r"\text{{{}}}", r"\textbf{{{}}}", r"\textrm{{{}}}", r"\mathrm{{{}}}",
    r"\mbox{{{}}}", r"\boxed{{{}}}", r"\({}\)", r"\[{}\]", "${}$", "$${}$$",
)  # fmt: skip
ENDS = ("", ".", ":", ")", ",", " .", "\u3002", "\uff0e")
LEADS = (
    "", "Answer:", "Answer: ", "answer ", "The answer is ", "The answer is: ", "The correct answer is option ",
    "So the correct option is ", "**Answer:** ", "Final answer: ", "My answer is ", "I choose ", "Option ",
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    letter=st.sampled_from("ABCD"),
    case=st.sampled_from((str, str.lower, WIDE.__getitem__)),
    dresses=st.lists(st.sampled_from(DRESSES), max_size=2, unique=True),
    end=st.sampled_from(ENDS),
    lead=st.sampled_from(LEADS),
)
def test_a_letter_in_any_dress_names_its_option_alone(letter, case, dresses, end, lead) -> None:
    dressed = case(letter)
    # A bracket is one dress; two of the kind are no one's way to write.
    brackets = [dress for dress in dresses if dress[0] in "([\"'\u201c\u3010\uff08"]
    for dress in dresses if len(brackets) < 2 else dresses[:1]:
        dressed = dress.format(dressed)
    end = end if end != ")" or not dresses else ""
    assert named(f"{lead}{dressed}{end}", *ANIMALS) == letter


@pytest.mark.parametrize(
    "reply",
    ["B.a newt", "B - a newt", "B \u2014 a newt", "B) a newt", "(B)a newt", "B. newt", "B newt", "B. a ne", "B. ne",
     "**B. a newt**", "**B**: A NEWT.", "B\na newt", "The answer is B. a ne", "B. The newt", r"\text{B. a newt}"],
)  # fmt: skip
def test_a_letter_with_its_text_whole_or_cut_off(reply: str) -> None:
    assert named(reply, *ANIMALS) == "B"


def test_an_options_whole_text_but_for_its_article_outweighs_the_beginning_of_another() -> None:
    assert named("A. newt", "newton", "a newt") == ""
    assert named("A. newt", "newton", "a cup") == "A"


def test_money_minus_signs_and_numbers() -> None:
    assert named("C. $31,000", *ANIMALS) == named("$31,000", *ANIMALS) == "C"
    signed = ("5", "\u22125", "-6", "12")
    assert named("B. -5", *signed) == named("-5", *signed) == named("B. \u22125", *signed) == "B"
    assert named("C. \u22126", *signed) == "C"
    assert named("A - 5", *signed) == "A"
    assert named("A. -5", *signed) == ""
    assert named("D. 1", *signed) == "", "1 is another number than 12, not its beginning"
    assert named("D. 31", *ANIMALS) == "D", "31 is the beginning of 31 km"
    assert named("C. $31", *ANIMALS) == "", "but not of $31,000"


def test_options_that_differ_by_case_alone_are_told_apart() -> None:
    genes = ("Ff", "FF", "ff")
    for letter, text in zip("ABC", genes, strict=True):
        assert (
            named(text, *genes) == named(f"{letter}. {text}", *genes) == named(f"({letter}) {text}.", *genes) == letter
        )
    assert named("fF", *genes) == named("A. FF", *genes) == named("B. ff", *genes) == ""


@pytest.mark.parametrize(
    "reply",
    ["The correct answer is option B", "The correct answer is B because newts live.", "B\nIt has smooth skin.",
     "B.\n\nA cup is not alive.\nSo it cannot be.", "B\nA is wrong since cups do not swim.", "Option B is correct.",
     "(B) is the correct answer", "Newts swim, so the answer is B.", "It swims.\nAnswer: B", "B, because it swims.",
     "B\nThe answer is B: a newt", "It is not the cup.\nB. a newt"],
)  # fmt: skip
def test_a_declared_letter_and_an_explanation(reply: str) -> None:
    assert named(reply, *ANIMALS) == "B"


@pytest.mark.parametrize(
    "reply",
    ["A or B", "B, C", "A and B", "A/B", "A B", "A & B", "The answer is A or B", "The answer is B, not A", "B\nA",
     "B\nThe answer is A", "B\nA. a cup", "B\na cup", "B. a cup", "B. a c", "B. C", "A. newt", "The answer is B. a cup",
     "B is correct because A is dead", "The answer is B. The answer is A.", "newt", "b is wrong", "Option B is wrong",
     "the answer is not B", "B" * 5000, ""],
)  # fmt: skip
def test_two_letters_or_a_contradiction_name_none(reply: str) -> None:
    assert named(reply, *ANIMALS) == ""


# A text that is one letter and signs reads as that letter.
TEXT = st.text(alphabet="abcdefgh $-.,'é\\%", min_size=2, max_size=14).map(str.strip)
TEXT = TEXT.filter(lambda text: sum(sign.isalpha() for sign in text) > 1)


@settings(max_examples=300, deadline=None)
@given(choices=st.lists(TEXT, min_size=2, max_size=8, unique=True), data=st.data())
def test_whatever_the_options_are_each_is_named_by_its_letter_and_no_reply_names_two(choices, data) -> None:
    n = data.draw(st.integers(0, len(choices) - 1))
    letter = chr(65 + n)
    for reply in (
        letter,
        f"({letter})",
        f"{letter}. {choices[n]}",
        f"The answer is {letter}",
        f"{letter}\n{choices[n]}",
    ):
        assert named(reply, *choices) == letter, reply
    assert named(choices[n], *choices) in (letter, ""), "a text that two options share when read loosely names none"
    other = data.draw(st.sampled_from([text for m, text in enumerate(choices) if m != n]))
    assert named(f"{letter}. {other}", *choices) in ("", letter)
    assert named(other, *choices) != letter
    assert len(named(data.draw(st.text(max_size=30)), *choices)) <= 1


LETTERS = st.text(alphabet="pqrstuvw", min_size=4, max_size=10)


@settings(max_examples=200, deadline=None)
@given(words=st.lists(LETTERS, min_size=4, max_size=4, unique=True), data=st.data())
def test_every_cut_of_an_options_text_beside_its_letter_is_that_option_and_no_other(words, data) -> None:
    choices = (f"a {words[0]}", f"the {words[1]}", words[2], f"{words[2]} {words[3]}")
    n = data.draw(st.integers(0, 3))
    for cut in range(2, len(choices[n]) + 1):
        start = choices[n][:cut].strip()
        right = named(f"{chr(65 + n)}. {start}", *choices)
        assert right == ("" if n == 3 and start == words[2] else chr(65 + n)), start
