"""Two engines side by side: what is counted, and the gap at the first token in which two replies differ."""

from __future__ import annotations

from dataclasses import replace as changed

import pytest
from test_engine import BASE, LONG, asked

from benchmarks import agreement as report
from harness.asking.engines import Generation, Prompt
from harness.asking.engines.agreement import agreement, gap_of
from harness.asking.engines.prompts import chat_text
from harness.asking.engines.transformers import TransformersEngine, load_model
from harness.scales import TWIN


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return TransformersEngine(BASE, TWIN)


@pytest.fixture(scope="module")
def greedy(engine: TransformersEngine) -> list[Generation]:
    return engine.generate(asked(), LONG)


def scores_after(engine: TransformersEngine, prompt: Prompt, said: list[int]) -> list[float]:
    """The log-probabilities of the token after a prompt and some of a reply, by the library's plain path."""
    import torch

    _, pictures = prompt
    chat = chat_text(engine.processor, prompt) + engine.processor.tokenizer.decode(said)
    inputs = engine.processor(text=[chat], images=list(pictures) or None, return_tensors="pt")
    with torch.inference_mode():
        logits = load_model(BASE, TWIN.precision).eval()(**inputs).logits[0, -1]
    found: list[float] = logits.log_softmax(-1).tolist()
    return found


def test_the_gap_is_that_of_the_first_other_token(engine: TransformersEngine, greedy: list[Generation]) -> None:
    tokenizer = engine.processor.tokenizer
    for number in (0, 8, 16):  # no picture, one, several
        ids = tokenizer(greedy[number].text)["input_ids"]
        place = len(ids) // 2
        scores = scores_after(engine, asked()[number], ids[:place])
        for other in (3, 7, 11):
            wrong = sorted(range(len(scores)), key=lambda token: -scores[token])[other]
            text = tokenizer.decode([*ids[:place], wrong])
            if tokenizer(text)["input_ids"] != [*ids[:place], wrong]:
                continue  # these two tokens are written as one
            found = gap_of(
                engine, number, asked()[number], greedy[number], Generation(text=text, tokens=9, truncated=True)
            )
            assert (found.prompt, found.place) == (number, place)
            assert found.nats == pytest.approx(scores[ids[place]] - scores[wrong], abs=1e-4)
            assert found.nats > 0
            break
        else:
            pytest.fail("no other token stands alone")


def test_a_reply_that_goes_on_parts_at_the_end_mark(engine: TransformersEngine, greedy: list[Generation]) -> None:
    longer = changed(greedy[0], text=greedy[0].text + " more")
    found = gap_of(engine, 0, asked()[0], greedy[0], longer)
    assert found.place == len(engine.processor.tokenizer(greedy[0].text)["input_ids"])
    with pytest.raises(ValueError, match="do not differ"):
        gap_of(engine, 0, asked()[0], greedy[0], greedy[0])


def test_texts_lengths_and_cuts_are_counted_apart(engine: TransformersEngine, greedy: list[Generation]) -> None:
    same = agreement(engine, asked(), greedy, greedy)
    assert same.whole
    assert (same.count, same.gaps, same.worst) == (24, (), 0.0)
    theirs = [
        changed(greedy[0], text="no"),
        changed(greedy[1], tokens=1),
        changed(greedy[2], truncated=True),
        *greedy[3:],
    ]
    found = agreement(engine, asked(), greedy, theirs)
    assert (found.count, found.texts, found.tokens, found.truncated) == (24, 23, 23, 23)
    assert not found.whole
    assert [gap.prompt for gap in found.gaps] == [0]
    assert found.worst == found.gaps[0].nats > 1


def test_the_report_counts_every_task_in_both_styles(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--engine", "transformers", "--items", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| ") and "task" not in line]
    assert len(rows) == 2 * len(report.all_of("task"))
    assert (
        lines[-1]
        == f"{len(rows)} of {len(rows)} texts are equal; 0 of the others began at a gap of more than 0.001 nats"
    )
