"""Hand-checked replies for every scorer, and laws that hold for any reply."""

from __future__ import annotations

import threading

import pytest
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.asking.marking import mark, reward, single_gold
from harness.asking.styles import COT, DIRECT
from harness.core import SPLITS, Example
from tasks import streams
from tasks.mmlu_pro import MMLU_PRO
from tasks.mmmu import MMMU
from tasks.pope import COMPANIONS, PER_PICTURE, POPE
from tasks.scoring import clevr_match, exact_match, math_equal, option_letter, vqa_accuracy, vqa_words, yes_no

SCORERS = (exact_match, option_letter, vqa_accuracy, yes_no, math_equal, clevr_match)
SUITES = (MMMU, MMLU_PRO, POPE)


def item(*answers: str, choices: tuple[str, ...] = ()) -> Example:
    """A question with these answers."""
    return Example(id="x", question="?", answers=answers, choices=choices)


ANIMALS = item("B", choices=("a whale", "the shark", "Golden frog", "neither; both are birds"))
NUMBERS = item("C", choices=("0.5", "-2", "2", "$0.42$", "12"))
TEN = item("red", "red", "red", "Red!", "dark red", "dark red", "2 cups", "maroon", "maroon", "maroon")


@pytest.mark.parametrize(
    "reply",
    ["B", "b", "(B)", "B.", "B)", "(B).", "B:", " B ", "(b) the shark", "B. The shark.", "B: the shark", "the shark",
     "The Shark.", "Answer: B", "The answer is B.", "the correct answer is (B)", "The answer is the shark",
     r"\text{B}", "$B$", "Option B"],
)  # fmt: skip
def test_every_way_to_name_the_gold_option(reply: str) -> None:
    assert option_letter(reply, ANIMALS) == 1


@pytest.mark.parametrize(
    "reply",
    ["A", "C", "D", "E", "Z", "1", "2", "", " ", ".", "()", "B or C", "A, B", "B and D", "A B", "B C", "AB", "BB",
     "not B", "shark", "shark the", "whale", "a whale", "golden frog", "B. a whale", "A. the shark", "B. whale",
     "E. the shark", "Neither both are birds", "the shark or a whale", "The answer is B or C", "The answer",
     "b is wrong", "Because of the shark", "answerB", "Be", "B-", "-B", "ß", "İ", "(B", "B A. the shark"],
)  # fmt: skip
def test_what_does_not_name_the_gold_option(reply: str) -> None:
    assert option_letter(reply, ANIMALS) == 0


def test_the_letter_a_is_not_an_article() -> None:
    assert option_letter("A", item("A", choices=("x1", "x2"))) == 1
    assert option_letter("a", item("A", choices=("x1", "x2"))) == 1
    assert option_letter("A cup", item("B", choices=("cup", "a cup"))) == 1
    assert option_letter("A cup", item("A", choices=("cup", "a cup"))) == 0


def test_options_that_differ_by_a_sign_a_point_or_a_dollar() -> None:
    replies = {"2": 1, "2.": 1, "C. 2": 1, "-2": 0, "B. -2": 0, "0.5": 0, "12": 0, "1 2": 0, "$0.42$": 0, "$2$": 1}
    assert {reply: option_letter(reply, NUMBERS) for reply in replies} == replies
    assert option_letter("$0.42$", item("D", choices=NUMBERS.choices)) == 1


def test_a_text_of_two_options_names_none_and_a_letter_wins_over_a_text() -> None:
    assert option_letter("red", item("A", choices=("red", "red", "blue"))) == 0
    assert option_letter("RED", item("A", choices=("red", "Red.", "blue"))) == 0
    assert option_letter("A", item("B", choices=("B", "A"))) == 0
    assert option_letter("B", item("B", choices=("B", "A"))) == 1


@pytest.mark.parametrize(("matches", "worth"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (5, 1.0), (10, 1.0)])
def test_the_official_worth_of_matches_among_ten(matches: int, worth: float) -> None:
    answers = ("stop",) * matches + tuple(f"other {n}" for n in range(10 - matches))
    assert vqa_accuracy("Stop.", item(*answers)) == pytest.approx(worth)


def test_annotators_who_write_the_same_thing_otherwise_agree() -> None:
    worth = {"RED": 1.0, "dark  red": 0.6, "the two cups": 0.3, "Maroon.": 0.9, "dark": 0, "cups 2": 0, "": 0}
    assert {reply: pytest.approx(vqa_accuracy(reply, TEN)) for reply in worth} == worth


def test_a_single_gold_answer_is_a_plain_match() -> None:
    assert vqa_accuracy("The red", single_gold(TEN)) == 1
    assert vqa_accuracy("maroon", single_gold(TEN)) == 0
    assert vqa_accuracy("unanswerable", item("unanswerable")) == 1


@pytest.mark.parametrize(
    ("text", "normal"),
    [("Two", "2"), ("none", "0"), ("eleven", "eleven"), ("a", "a"), ("The A Team", "team"), ("1,000", "1000"),
     ("3.5", "3.5"), (".5", ".5"), ("12.", "12"), ("Dr. Pepper", "dr pepper"), ("don't", "don't"), ("dont", "don't"),
     ("coca-cola", "coca cola"), ("coca - cola", "coca cola"), ("yes!", "yes"), ("$5", "$5"),
     ("10:30 am", "10:30 am"), ("50%", "50%"), ("!", "!"), ("one\ntwo", "1 2")],
)  # fmt: skip
def test_vqa_normalisation(text: str, normal: str) -> None:
    assert vqa_words(text) == normal


@pytest.mark.parametrize(
    ("reply", "said"),
    [("yes", "yes"), ("Yes.", "yes"), ("YES", "yes"), ("Yes, there is", "yes"), ("no", "no"),
     ("No, there is not.", "no"), (r"\text{yes}", "yes"), ("yes and no", ""), ("yes or no", ""), ("no, yes", ""),
     ("yesterday", ""), ("not", ""), ("none", ""), ("there is: yes", ""), ("I think yes", ""), ("y", ""), ("1", ""),
     ("", ""), ("true", ""), ("...", "")],
)  # fmt: skip
def test_yes_or_no_is_the_first_word(reply: str, said: str) -> None:
    assert (yes_no(reply, item("yes")), yes_no(reply, item("no"))) == (said == "yes", said == "no")


@pytest.mark.parametrize(
    ("reply", "gold"),
    [("7", "7"), ("7.0", "7"), ("x = 7", "7"), ("x=7.", "7"), ("$7$", "7"), (r"\text{7}", "7"), ("7 cm", "7"),
     (r"7^\circ", "7"), ("7°", "7"), ("7 degrees", "7"), ("1,000", "1000"), ("-3", "-3"), ("14/2", "7"), ("7%", "7"),
     (r"\frac{1}{2}", r"\frac{1}{2}"), ("1/2", r"\frac{1}{2}"), ("0.5", r"\frac{1}{2}"), (".5", r"\frac{1}{2}"),
     (r"\frac12", r"\frac{1}{2}"), (r"\dfrac{2}{4}", r"\frac{1}{2}"), (r"5\sqrt{3}", r"5\sqrt{3}"),
     (r"5 \sqrt { 3 }", r"5\sqrt{3}"), (r"5\sqrt3", r"5\sqrt{3}"), ("5√3", r"5\sqrt{3}"), ("5*sqrt(3)", r"5\sqrt{3}"),
     (r"\sqrt{75}", r"5\sqrt{3}"), (r"\sqrt{3}\cdot 5", r"5\sqrt{3}"), (r"2\pi", r"2 \pi"), ("2π", r"2\pi"),
     (r"\frac{2\sqrt{2}}{5}", r"\frac { 2 \sqrt { 2 } } { 5 }"), ("A", "A")],
)  # fmt: skip
def test_equal_formulas(reply: str, gold: str) -> None:
    assert math_equal(reply, item(gold)) == 1


@pytest.mark.parametrize(
    ("reply", "gold"),
    [("7 or 8", "7"), ("8 or 7", "7"), ("7, 8", "7"), ("7,7", "7"), ("x", "7"), ("x", "x=7"), ("seven", "7"), ("", "7"),
     (" ", "7"), ("-7", "7"), ("70", "7"), ("77", "7"), ("0.7", "7"), ("8 = 7", "7"), ("7 = 8", "7"), ("7 < 8", "7"),
     ("8 7", "15"), ("1 2", "12"), ("3 1/2", "2"), ("the 7", "7"), ("about 7", "7"), ("7 7", "7"), ("7}", "7"),
     ("{7", "7"), ("((", "7"), (r"\frac{7}{0}", "7"), (r"\frac{}{}", "7"), (r"\sqrt", "7"), ("1/0", "7"),
     (r"\boxed", "7"), ("9^{9^{9}}", "7"), ("99999999!", "7"),
     (r"(1+\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7})^{99}", "7"), ("99^{99}^{99}", "7"),
     (r"\int x dx", "7"), ("5", r"5\sqrt{3}"),
     ("8.66", r"5\sqrt{3}"), (r"\sqrt{3}", r"5\sqrt{3}"), (r"5\sqrt{2}", r"5\sqrt{3}"), (r"3\sqrt{5}", r"5\sqrt{3}"),
     ("2", r"\frac{1}{2}"), ("1", r"\frac{1}{2}"), ("3.14", r"\pi"), ("B", "A"), ("import os", "7"), ("7" * 500, "7"),
     ("7\x00", "7")],
)  # fmt: skip
def test_formulas_that_are_not_equal(reply: str, gold: str) -> None:
    assert math_equal(reply, item(gold)) == 0


def test_math_verify_works_outside_the_main_thread(capfd: pytest.CaptureFixture[str]) -> None:
    marks: list[float] = []
    replies = (r"\sqrt{12}", r"2\sqrt{5}")
    thread = threading.Thread(target=lambda: marks.extend(math_equal(text, item(r"2\sqrt{3}")) for text in replies))
    thread.start()
    thread.join()
    assert marks == [1, 0]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("reply", "gold", "worth"),
    [("True", "Yes", 1), ("yes", "True", 1), ("False", "no", 1), ("no", "False", 1), ("yes", "False", 0),
     ("true", "no", 0), ("Three", "3", 1), ("3", "Three", 1), ("3.", "3", 1), ("zero", "0", 1), ("13", "3", 0),
     ("-3", "3", 0), ("3 or 4", "3", 0), ("2", "3", 0), ("The rubber", "rubber", 1), ("metal", "rubber", 0),
     ("", "rubber", 0), ("1", "yes", 0), ("0", "no", 0)],
)  # fmt: skip
def test_super_clevr_mixes_words_digits_and_truth(reply: str, gold: str, worth: int) -> None:
    assert clevr_match(reply, item(gold)) == worth


@pytest.mark.parametrize(
    ("reply", "gold", "worth"),
    [("The left.", "left", 1), ("LEFT", "left", 1), ("left side", "left", 0), ("lef", "left", 0), ("a", "a", 1),
     ("the", "a", 0), ("yes", "no", 0), ("in the vessel", "in vessel", 1), ("t-cells", "T-cells", 1), ("-5", "5", 0),
     (".5", "5", 0), ("", "a", 0), ("'left'", "left", 1), ("left-", "left", 1), (r"\text{left}", "left", 1)],
)  # fmt: skip
def test_exact_match(reply: str, gold: str, worth: int) -> None:
    assert exact_match(reply, item(gold)) == worth


ANY = st.text(max_size=30) | st.text(alphabet="ABab012yesno .,()^{}\\$-+/", max_size=20)


@pytest.mark.parametrize("score", SCORERS, ids=lambda score: score.__name__)
@settings(max_examples=60, deadline=None)
@given(reply=ANY, answers=st.lists(ANY, min_size=1, max_size=10), choices=st.lists(ANY, max_size=10))
@also(reply="", answers=[""], choices=[""])
@also(reply="²", answers=["²"], choices=["²"])
@also(reply="\\", answers=["\\"], choices=[])
def test_any_reply_has_a_score_between_0_and_1(score, reply: str, answers: list[str], choices: list[str]) -> None:
    assert 0 <= score(reply, item(*answers, choices=tuple(choices))) <= 1


WORD = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=8)


@settings(max_examples=60, deadline=None)
@given(choices=st.lists(WORD, min_size=2, max_size=10, unique=True), data=st.data())
def test_the_gold_option_is_right_and_every_other_wrong_by_letter_and_text(choices: list[str], data) -> None:
    gold = data.draw(st.integers(0, len(choices) - 1))
    question = item(chr(65 + gold), choices=tuple(choices))
    for n, text in enumerate(choices):
        letter = chr(65 + n)
        for reply in (letter, letter.lower(), f"({letter})", f"{letter}.", text, text.upper(), f"{letter}. {text}"):
            assert option_letter(reply, question) == (n == gold), reply


@settings(max_examples=60, deadline=None)
@given(gold=WORD, others=st.lists(WORD, min_size=9, max_size=9))
def test_the_gold_answer_is_worth_something_among_any_ten(gold: str, others: list[str]) -> None:
    assert vqa_accuracy(gold, item(gold, *others)) >= 0.3 - 1e-9
    assert exact_match(gold.upper(), item(gold)) == clevr_match(f"{gold}.", item(gold)) == 1


@settings(max_examples=60, deadline=None)
@given(a=st.integers(-999, 999), b=st.integers(-999, 999))
def test_integers_are_equal_to_themselves_alone(a: int, b: int) -> None:
    assert math_equal(str(a), item(str(b))) == clevr_match(str(a), item(str(b))) == (a == b)


@pytest.mark.parametrize("task", SUITES, ids=lambda task: task.name)
def test_suites_mark_gold_1_and_wrong_options_0_in_both_styles(task) -> None:
    for example in task.load("validation", 120):
        for style in (DIRECT, COT):
            assert mark(task, style, example, style.write(example.answers[0], example.rationale)).score == 1
            assert mark(task, style, example, style.write("zzz", "")).score == 0
            for n, text in enumerate(example.choices):
                letter = chr(65 + n)
                for answer in (letter, text, f"{letter}. {text}"):
                    right = letter == example.answers[0]
                    assert mark(task, style, example, style.write(answer, "")).score == right


@pytest.mark.parametrize("task", SUITES, ids=lambda task: task.name)
def test_suites_are_deterministic_with_unique_ids_and_answers_in_proportion(task) -> None:
    examples = task.load("test", 300)
    assert examples == task.load("test", 300)
    assert len({example.id for example in examples}) == 300
    letters = [example.answers[0] for example in examples]
    assert max(letters.count(letter) for letter in set(letters)) <= (0.51 if task is POPE else 0.4) * 300
    for example in examples[:12]:
        for image in example.images:
            picture = image()
            assert picture.size == (48, 48)
            assert picture.mode == "RGB"
            assert picture.tobytes() == image().tobytes()


@pytest.mark.parametrize("task", SUITES, ids=lambda task: task.name)
def test_splits_of_suites_share_no_item(task) -> None:
    def content(example: Example) -> object:
        scenes = tuple(image.args for image in example.images)
        return scenes or (example.question, example.choices)

    seen = [{content(example) for example in task.load(split, 100)} for split in SPLITS]
    assert sum(map(len, seen)) == len(set().union(*seen))


def test_mmmu_marks_its_pictures_and_mmlu_pro_has_three_to_ten_options() -> None:
    several = [example for example in MMMU.load("test", 200) if len(example.images) == 2]
    assert 30 <= len(several) <= 80
    assert all(example.question.index("<image 1>") < example.question.index("<image 2>") for example in several)
    texts = MMLU_PRO.load("test", 300)
    assert {len(example.choices) for example in texts} == set(range(3, 11))
    assert not any(example.images for example in texts)


def test_pope_asks_six_questions_of_each_picture_in_three_balanced_categories() -> None:
    examples = POPE.load("test", 60 * PER_PICTURE)
    for start in range(0, len(examples), PER_PICTURE):
        group = examples[start : start + PER_PICTURE]
        assert len({example.group for example in group}) == 1
        assert len({example.question for example in group}) == PER_PICTURE
        assert len({example.images[0].args for example in group}) == 1
        kinds = sorted((example.id.rsplit("/", 1)[1], example.answers[0]) for example in group)
        assert kinds == [(kind, said) for kind in ("adversarial", "popular", "random") for said in ("no", "yes")]
        present = {thing[1] for thing in group[0].images[0].args[0][2]}
        for example in group:
            toy = next(word for word in example.question.split() if word in COMPANIONS)
            assert example.answers[0] == ("yes" if toy in present else "no")
            if example.id.endswith("adversarial") and example.answers[0] == "no":
                assert COMPANIONS[toy] in present


def test_the_reward_of_an_option_is_accuracy_and_format() -> None:
    example = MMLU_PRO.twin("train", 0)
    gold = example.answers[0]
    wrong = "B" if gold == "A" else "A"
    assert reward(MMLU_PRO, COT, example, f"<think>x</think>\\boxed{{{gold}}}") == pytest.approx(1.0)
    assert reward(MMLU_PRO, COT, example, f"\\boxed{{{gold}}}") == pytest.approx(0.9)
    assert reward(MMLU_PRO, COT, example, f"<think>x</think>\\boxed{{{wrong}}}") == pytest.approx(0.1)
    assert reward(MMLU_PRO, COT, example, gold) == 0
    assert reward(MMLU_PRO, DIRECT, example, gold) == 1


def test_streams_hold_the_published_orders_and_epochs() -> None:
    names = ("scienceqa", "textvqa", "vizwiz", "gqa", "geometry3k", "pathvqa", "super-clevr")
    assert streams.DEFAULT.tasks == names
    assert dict(streams.DEFAULT.epochs) == dict(zip(names, (1, 1, 1, 1, 10, 1, 3), strict=True))
    assert streams.ESSAY.tasks.index("geometry3k") < streams.ESSAY.tasks.index("gqa")
    assert sorted(streams.ESSAY.tasks) == sorted(names)
    assert streams.O1.tasks == ("super-clevr", "scienceqa", "textvqa")
    assert streams.O2.tasks == ("textvqa", "scienceqa", "super-clevr")
    assert (streams.REAL_PAIR.tasks, streams.REAL_PAIR.general) == (("scienceqa", "vizwiz"), ())
    assert streams.DEFAULT.general == streams.O1.general == ("mmmu", "mmlu-pro", "pope")
