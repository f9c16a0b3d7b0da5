"""Further numbers of cells: means over parts of the items, and precision, recall and F1 of one answer.

Each is ``(examples, marks) -> {name: Part}``. What is undefined, as the mean of no items or the precision of an answer
that was never given, is left out and never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum

from harness.core import Example, Mark, Part
from tasks.scoring import said_yes_no
from tasks.vqa import vqa_words

UNANSWERABLE = "unanswerable"
CATEGORIES = ("adversarial", "popular", "random")


def mean_of(scores: Sequence[float]) -> Part | None:
    """The mean of scores; None of none.

    >>> mean_of([1.0, 0.0, 0.5]), mean_of([])
    (Part(value=0.5, n=3), None)
    """
    return Part(value=fsum(scores) / len(scores), n=len(scores)) if scores else None


def named(parts: Mapping[str, Part | None]) -> dict[str, Part]:
    """The parts that are defined."""
    return {name: part for name, part in parts.items() if part is not None}


def found(wanted: Sequence[bool], said: Sequence[bool]) -> dict[str, Part]:
    """Precision, recall and F1 of one answer: where it was ``wanted`` and where it was ``said``, an entry an item.

    With t items where it was both: t / said, t / wanted, and 2t / (said + wanted), which is their harmonic mean and 0
    where it was never said rightly. Each is undefined where its denominator is 0.

    >>> [(name, part.value, part.n) for name, part in found([True, True, False], [True, False, False]).items()]
    [('precision', 1.0, 1), ('recall', 0.5, 2), ('f1', 0.6666666666666666, 3)]
    >>> list(found([True, False], [False, False]))
    ['recall', 'f1']
    """
    both = sum(one and other for one, other in zip(wanted, said, strict=True))
    given, gold = sum(said), sum(wanted)
    return named(
        {
            "precision": Part(value=both / given, n=given) if given else None,
            "recall": Part(value=both / gold, n=gold) if gold else None,
            "f1": Part(value=2 * both / (given + gold), n=len(wanted)) if given + gold else None,
        }
    )


def yes_no_and_free(examples: Sequence[Example], marks: Sequence[Mark]) -> dict[str, Part]:
    """The accuracy of the questions whose gold answer is yes or no, and of the others (PathVQA).

    The two kinds are half of its items each, and a model that says "yes" to everything is right in half of the first.
    """
    closed = [example.answers[0].strip().lower() in ("yes", "no") for example in examples]
    pairs = list(zip(closed, marks, strict=True))
    return named(
        {
            "yes-no": mean_of([mark.score for is_closed, mark in pairs if is_closed]),
            "free": mean_of([mark.score for is_closed, mark in pairs if not is_closed]),
        }
    )


def answerability(examples: Sequence[Example], marks: Sequence[Mark]) -> dict[str, Part]:
    """Precision, recall and F1 of "unanswerable", and the accuracy of the questions that have an answer (VizWiz).

    A question counts as unanswerable where more than half of its annotators say so, as in the published answer types.
    The challenge ranks by the average precision of a confidence, which a reply does not have: so precision and recall
    of the reply itself stand here, and are not comparable with it (Gurari et al., arXiv:1802.08218).
    """
    wanted = [
        2 * sum(vqa_words(answer) == UNANSWERABLE for answer in example.answers) > len(example.answers)
        for example in examples
    ]
    said = [mark.read is not None and vqa_words(mark.read) == UNANSWERABLE for mark in marks]
    parts: dict[str, Part | None] = {f"unanswerable-{name}": part for name, part in found(wanted, said).items()}
    parts["answerable"] = mean_of([mark.score for gold, mark in zip(wanted, marks, strict=True) if not gold])
    return named(parts)


def presence(examples: Sequence[Example], marks: Sequence[Mark]) -> dict[str, Part]:
    """Accuracy, precision, recall and F1 of "yes" and the ratio of yes, of all items and by category (POPE).

    The category is the last part of an item's id. A reply that is neither yes nor no is wrong and is no yes; it stays
    in the denominators of accuracy and of the ratio (Li et al., arXiv:2305.10355).
    """
    parts = presence_of(examples, marks)
    for category in CATEGORIES:
        pairs = [
            (example, mark)
            for example, mark in zip(examples, marks, strict=True)
            if example.id.rpartition("/")[2] == category
        ]
        if pairs:
            inside = presence_of([example for example, _ in pairs], [mark for _, mark in pairs])
            parts |= {f"{category}-{name}": part for name, part in inside.items()}
    return parts


def presence_of(examples: Sequence[Example], marks: Sequence[Mark]) -> dict[str, Part]:
    """The five numbers of one category."""
    wanted = [example.answers[0].strip().lower() == "yes" for example in examples]
    said = [said_yes_no(mark.read or "") == "yes" for mark in marks]
    return named(
        {
            "accuracy": mean_of([mark.score for mark in marks]),
            **found(wanted, said),
            "yes-ratio": mean_of([float(one) for one in said]),
        }
    )
