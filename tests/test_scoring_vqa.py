"""The VQA accuracy against the published evaluation, written here from its description, and the choice of the gold."""

from __future__ import annotations

import json
import re
from collections import Counter
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from realdata_layout import REALDATA

from harness.asking.marking import mark, single_gold
from harness.asking.styles import STYLES
from harness.core import Example, UserError
from tasks.official import gold_first
from tasks.scoring import exact_match, vqa_accuracy, vqa_words
from tasks.vizwiz import VIZWIZ

# Written without its apostrophe -> as the evaluation restores it.
CONTRACTIONS = dict(
    pair.split("=")
    for pair in re.findall(
        r"\S+",
        """aint=ain't arent=aren't cant=can't couldve=could've couldnt=couldn't couldn'tve=couldn't've
        couldnt've=couldn't've didnt=didn't doesnt=doesn't dont=don't hadnt=hadn't hadnt've=hadn't've
        hadn'tve=hadn't've hasnt=hasn't havent=haven't hed=he'd hed've=he'd've he'dve=he'd've hes=he's howd=how'd
        howll=how'll hows=how's isnt=isn't
        itd=it'd itll=it'll maam=ma'am mightve=might've mustve=must've oclock=o'clock 'ows'at='ow's'at shant=shan't
        somebody'd=somebodyd somebodyll=somebody'll someones=someone's somethingd've=something'd've thats=that's
        thered=there'd theyre=they're theyve=they've twas='twas wasnt=wasn't weve=we've werent=weren't whats=what's
        wheres=where's whod=who'd wont=won't wouldnt=wouldn't wouldn'tve=wouldn't've yall=y'all yall'll=y'all'll
        y'allll=y'all'll yall'd've=y'all'd've y'all'dve=y'all'd've youd=you'd youre=you're youve=you've""",
    )
)
DIGITS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
DIGITS |= {"seven": "7", "eight": "8", "nine": "9", "ten": "10"}


def published_words(answer: str) -> str:
    """Punctuation goes where it stands by a space or a digit,digit is about, else becomes a space; then the words."""
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    out = text
    for sign in [
        ";",
        "/",
        "[",
        "]",
        '"',
        "{",
        "}",
        "(",
        ")",
        "=",
        "+",
        "\\",
        "_",
        "-",
        ">",
        "<",
        "@",
        "`",
        ",",
        "?",
        "!",
    ]:
        beside_space = sign + " " in text or " " + sign in text
        out = out.replace(sign, "" if beside_space or re.search(r"(\d)(,)(\d)", text) else " ")
    out = re.sub(r"(?!<=\d)(\.)(?!\d)", "", out)
    kept = [DIGITS.get(word, word) for word in out.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in kept if word not in ("a", "an", "the"))


def published_accuracy(reply: str, answers: list[str]) -> float:
    """For each annotator the matches among the other nine, of which three are enough; their mean."""
    given, golds = published_words(reply), [published_words(answer) for answer in answers]
    worth = []
    for n in range(len(golds)):
        others = golds[:n] + golds[n + 1 :]
        worth.append(min(1, sum(other == given for other in others) / 3))
    return sum(worth) / len(worth)


WORDS = (
    "coca", "cola", "Coca-Cola", "red", "THE", "a", "two", "None", "ten", "eleven", "1,000", "3.5", "$5", "10:30",
    "50%", "Dr.", "p.m.", "o'clock", "don't", "hershey's", "hersheys", "yes!", "(left)", "and/or", "-", "x_y", "[7]",
    *sorted(set(CONTRACTIONS) | set(CONTRACTIONS.values())),
)  # fmt: skip
SIGNS = "ab 12.,'-?!/;:()[]\n\t"


def drawn(rng: Random) -> str:
    """An answer of some words, or of some signs."""
    if rng.random() < 0.7:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 3)))
    return "".join(rng.choice(SIGNS) for _ in range(rng.randint(1, 8)))


@pytest.mark.slow
def test_ten_annotators_are_marked_as_published() -> None:
    rng, compared, right = Random(0), 0, 0
    while compared < 5000:
        pool = [drawn(rng) for _ in range(rng.randint(1, 4))]
        answers, reply = [rng.choice(pool) for _ in range(10)], rng.choice([*pool, drawn(rng)])
        if not all(published_words(text) for text in (reply, *answers)):
            continue  # an answer that is nothing but articles or signs is the one thing that is compared otherwise
        item = Example(id="x", question="?", answers=tuple(answers))
        assert vqa_words(reply) == published_words(reply)
        assert vqa_accuracy(reply, item) == pytest.approx(published_accuracy(reply, answers)), (reply, answers)
        compared, right = compared + 1, right + (vqa_accuracy(reply, item) > 0)
    assert right > 1000


SPELLINGS = (
    "coca cola", "Coca-Cola", "The coca cola", "coca cola.", "pepsi", "Pepsi", "2", "two", "Two", "", " ", "\n",
    "exit\nonly", "exit only", "a", "the",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(SPELLINGS), min_size=1, max_size=10))
def test_the_gold_reaches_the_ceiling_however_it_is_spelt(answers: list[str]) -> None:
    assume(any(answer.strip() for answer in answers))
    item = Example(id="x", question="?", answers=gold_first(answers, "x"))
    ceiling = max(vqa_accuracy(answer, item) for answer in item.answers)
    assert len(item.answers) == len(answers)
    assert "\n" not in item.answers[0]
    for style in STYLES:
        assert mark(VIZWIZ, style, item, style.write(item.answers[0], "why")).score == ceiling > 0
        assert mark(VIZWIZ, style, single_gold(item), style.write(item.answers[0], "why")).score == 1
    spelt = Counter(answer for answer in item.answers if vqa_words(answer) == vqa_words(item.answers[0]))
    assert spelt[item.answers[0]] == max(spelt.values())


def test_four_spellings_outvote_two_equal_answers_and_blanks_keep_ten_as_denominator() -> None:
    spellings = ["pepsi", "pepsi", "Coca Cola", "coca-cola", "the coca cola", "coca cola."]
    assert gold_first(spellings, "x")[0] == "Coca Cola"
    item = Example(id="x", question="?", answers=gold_first(["red"] + [""] * 9, "x"))
    assert vqa_accuracy("red", item) == pytest.approx(0.3), "one of ten, and nine said nothing"
    assert [vqa_accuracy(reply, item) for reply in ("", " ", "\n", "**", "$$")] == [0, 0, 0, 0, 0]
    assert gold_first(["", "stop\n sign"], "x") == ("stop sign", "")
    with pytest.raises(UserError, match="no answers"):
        gold_first(["", " "], "x")


@pytest.mark.parametrize(
    ("reply", "gold"),
    [(r"30\%", "30%"), (r"B\&Q", "B&Q"), (r"\mbox{exit}", "exit"), (r"\text{exit}", "exit"), (r"\$5", "$5"),
     (r"\textrm{the \textbf{exit}}", "exit"), (r"\(exit\)", "exit"), (r"\text{exit}\ \text{only}", "exit only"),
     (r"\text{snake\_case}", "snake_case"), (r"$30\%$", "30%"), ("**exit**", "exit"), (r"\#1", "#1")],
)  # fmt: skip
def test_words_in_latex_are_those_words(reply: str, gold: str) -> None:
    item = Example(id="x", question="?", answers=(gold,))
    assert vqa_accuracy(reply, item) == exact_match(reply, item) == 1
    assert vqa_accuracy(reply, Example(id="x", question="?", answers=("other",))) == 0


@pytest.mark.skipif(not REALDATA.is_dir(), reason="the real items may not be copied: set CPT_REALDATA to their folder")
@pytest.mark.parametrize(("name", "file"), [("vizwiz", "items.jsonl"), ("textvqa", "items_text_only.jsonl")])
def test_the_real_lists_of_ten_are_marked_as_published(name: str, file: str) -> None:
    compared = 0
    for row in map(json.loads, (REALDATA / name / file).read_text().splitlines()):
        answers = row["answers"]
        replies = {
            reply for answer in answers for reply in (answer, answer.upper(), f"The {answer}.", f"{answer}!", "2")
        }
        for reply in filter(published_words, replies):
            worth = published_accuracy(reply, answers)
            assert vqa_accuracy(reply, Example(id="x", question="?", answers=tuple(answers))) == pytest.approx(worth)
            compared += 1
    assert compared > 200
