"""The marks that outside libraries give, from a process of its own: a line of JSON in, a line of JSON out.

Importing vlmeval changes what the whole process does (it switches off the checks of TLS), and takes many seconds; so
the tests ask this process, which is the libraries' alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def vqa(reply: str, answers: list[str]) -> float:
    """VLMEvalKit's VQA accuracy among the annotators."""
    from vlmeval.dataset.utils.vqa_eval import process_line

    match = process_line({"answer": repr(answers), "prediction": reply})["match"]
    return float(sum(match) / len(match))


def vqa_words(text: str) -> str:
    """VLMEvalKit's normalisation of an answer."""
    from vlmeval.dataset.utils.vqa_eval import process_answer

    return str(process_answer(text))


def yes_or_no(text: str) -> str:
    """What VLMEvalKit reads in a reply to a yes/no question: Yes, No or Unknown."""
    from vlmeval.dataset.utils.yorn import YOrN_Extraction

    return str(YOrN_Extraction(text))


def option(reply: str, choices: list[str]) -> str:
    """The letter that VLMEvalKit reads, or an empty text."""
    from vlmeval.utils.matching_util import can_infer

    return can_infer(reply, {chr(65 + n): text for n, text in enumerate(choices)}) or ""


def binary(answers: list[str], said: list[str], categories: list[str]) -> dict[str, dict[str, float]]:
    """scikit-learn's precision, recall and F1 of Yes and VLMEvalKit's rating of POPE, by category."""
    import pandas
    from sklearn.metrics import precision_recall_fscore_support

    found = {}
    table = pandas.DataFrame({"gold": answers, "said": said, "category": categories})
    for category in (None, *sorted(set(categories))):
        here = table if category is None else table[table["category"] == category]
        gold, told = here["gold"] == "yes", here["said"] == "yes"
        precision, recall, f1, _ = precision_recall_fscore_support(gold, told, average="binary", zero_division=0.0)
        found[category or ""] = {
            "precision": float(precision), "recall": float(recall), "f1": float(f1),
            "accuracy": float((here["gold"] == here["said"]).mean()), "yes-ratio": float(told.mean()),
        }  # fmt: skip
    return found


def exact(reply: str, answer: str) -> float:
    """lm-eval's exact match without case and punctuation, which GQA is marked by."""
    from lm_eval.api.metrics import exact_match_hf_evaluate

    found = exact_match_hf_evaluate([reply], [answer], ignore_case=True, ignore_punctuation=True)
    return float(found["exact_match"])


def open_answer(reply: str, answers: list[str]) -> bool:
    """lm-eval's evaluation of MMMU's open questions."""
    from lm_eval.tasks.mmmu.utils import eval_open, parse_open_response

    return bool(eval_open(answers, parse_open_response(reply)))


CALLS: dict[str, Callable[..., Any]] = {
    call.__name__: call for call in (vqa, vqa_words, yes_or_no, option, binary, exact, open_answer)
}


def main() -> None:
    """Answer until the input ends; what the libraries print goes to standard error."""
    said, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        name, *given = json.loads(line)
        print(json.dumps(CALLS[name](*given)), file=said, flush=True)


if __name__ == "__main__":
    main()
