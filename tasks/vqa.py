r"""The VQA accuracy among ten annotators (Antol et al., arXiv:1505.00468), with the normalisation of its evaluation.

Where this deviates from the published evaluation: LaTeX and Markdown around an answer go; an answer that is nothing but
articles or punctuation stays as it is, so that a gold answer can always be reached; answers are normalised where all
ten agree, too; and a blank matches nothing, while it counts among the ten.
"""

from __future__ import annotations

import re
from functools import lru_cache

from harness.core import Example
from tasks.surface import bare

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
_LOOSE_PERIOD = re.compile(r"\.(?!\d)")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBERS)}}
# The contractions that the evaluation restores: each is also known without any one of its apostrophes.
_CONTRACTIONS = (
    "ain't", "aren't", "can't", "could've", "couldn't", "couldn't've", "didn't", "doesn't", "don't", "hadn't",
    "hadn't've", "hasn't", "haven't", "he'd", "he'd've", "he's", "how'd", "how'll", "how's", "isn't", "it'd",
    "it'd've", "it'll", "ma'am", "mightn't", "mightn't've", "might've", "mustn't", "must've", "needn't", "not've",
    "o'clock", "oughtn't", "'ow's'at", "shan't", "she'd've", "should've", "shouldn't", "shouldn't've",
    "somebody'd've", "somebody'll", "somebody's", "someone'd", "someone'd've", "someone'll", "someone's",
    "something'd", "something'd've", "something'll", "that's", "there'd", "there'd've", "there're", "there's",
    "they'd", "they'd've", "they'll", "they're", "they've", "'twas", "wasn't", "we'd've", "we've", "weren't",
    "what'll", "what're", "what's", "what've", "when's", "where'd", "where's", "where've", "who'd", "who'd've",
    "who'll", "who's", "who've", "why'll", "why're", "why's", "won't", "would've", "wouldn't", "wouldn't've",
    "y'all", "y'all'll", "y'all'd've", "you'd", "you'd've", "you'll", "you're", "you've",
)  # fmt: skip
_RESTORED = {
    word[:place] + word[place + 1 :]: word for word in _CONTRACTIONS for place, sign in enumerate(word) if sign == "'"
}
_RESTORED["somebody'd"] = "somebodyd"  # as published


@lru_cache(maxsize=8192)
def vqa_words(text: str) -> str:
    """An answer as the VQA evaluation compares it: lower case, punctuation, number words to digits, articles.

    >>> vqa_words("The two Cats!"), vqa_words("1,000"), vqa_words("dont"), vqa_words("a"), vqa_words("3.5 oz.")
    ('2 cats', '1000', "don't", 'a', '3.5 oz')
    """
    raw = bare(text).replace("\n", " ").replace("\t", " ").lower()
    out = raw
    for point in _PUNCTUATION:
        outer = f"{point} " in raw or f" {point}" in raw or _DIGIT_COMMA.search(raw) is not None
        out = out.replace(point, "" if outer else " ")
    kept = [_DIGITS.get(word, word) for word in _LOOSE_PERIOD.sub("", out).split() if word not in ("a", "an", "the")]
    return " ".join(_RESTORED.get(word, word) for word in kept) or " ".join(raw.split())


def vqa_accuracy(answer: str, example: Example) -> float:
    r"""The VQA accuracy: the mean of min(matches / 3, 1) over all subsets that leave one annotator out.

    With ten annotators 1, 2, 3 and 4 matches are worth 0.3, 0.6, 0.9 and 1 (TextVQA, VizWiz). With a single answer, the
    gold that training uses, it is a plain match. An annotator's blank is matched by nothing.

    >>> item = Example(id="x", question="?", answers=("red", "red", "dark red", *["maroon"] * 7))
    >>> [round(vqa_accuracy(text, item), 9) for text in ("Dark red.", "red", "maroon", "blue")]
    [0.3, 0.6, 1.0, 0.0]
    """
    given = vqa_words(answer)
    if not given:
        return 0.0
    agree, among = sum(given == vqa_words(other) for other in example.answers), len(example.answers)
    if among == 1:
        return float(agree)
    # Of the subsets, `agree` have one match less than the others; thirds are counted whole.
    return (agree * min(agree - 1, 3) + (among - agree) * min(agree, 3)) / (3 * among)
