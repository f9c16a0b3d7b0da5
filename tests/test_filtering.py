"""The selector of rif-rft, and a stage of which it keeps nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from noise_jobs import SMALL, build_bases, item, job, same, task

from baselines.filtering import solvable
from baselines.rft import RFT, RIF_RFT
from baselines.sft import SFT
from harness.asking.styles import COT, DIRECT
from harness.core import Decoding, Example, Paradigm, replace


def exact(answer: str, example: Example) -> float:
    """1 for any of the answers."""
    return float(answer in example.answers)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two untrained twin bases that differ in their seed."""
    return build_bases(tmp_path_factory)


def test_the_selector_keeps_what_was_solved_at_least_once(
    bases: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.asking.engines import Generation
    from harness.asking.engines import transformers as engine

    said: dict[str, list[str]] = {}
    closed: list[bool] = []

    class Fake:
        def __init__(self, folder: Path, scale: Any) -> None:
            assert (folder, scale) == (bases[0], SMALL)

        def sample(self, prompts: Any, decoding: Decoding, rollouts: int, seed: int, top_p: float) -> Any:
            assert decoding is SMALL.decodings["cot"]
            assert rollouts == 4
            return [[Generation(text=t, tokens=3, truncated=False) for t in said[text]] for text, _ in prompts]

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(engine, "TransformersEngine", Fake)
    owner = task(score=exact)
    examples = [replace(item("train", n), answers=("{a}", "second")) for n in range(4)]
    right, wrong, loose = r"\boxed{{a}}", r"\boxed{b}", "{a}"
    replies = ([right] * 4, [wrong, right, wrong, wrong], [loose, wrong, wrong, wrong], [r"\boxed{second}"] * 4)
    said.update(zip([COT.ask(owner, example) for example in examples], map(list, replies), strict=True))
    pairs = tuple((owner, example) for example in examples)
    verdicts = solvable(job(bases[0], tmp_path, RIF_RFT, examples=pairs))
    assert [(v.kept, v.correct) for v in verdicts] == [(True, 4), (True, 1), (False, 0), (False, 0)]
    assert all((v.rollouts, v.sampled_tokens) == (4, 12) for v in verdicts)
    assert [(v.task, v.id) for v in verdicts] == [("noise", example.id) for example in examples]
    assert closed == [True], "the model's memory is free before training begins"


@pytest.mark.slow
def test_the_selector_samples_the_policy_and_repeats_itself(bases: tuple[Path, Path], tmp_path: Path) -> None:
    made = job(bases[0], tmp_path, replace(RIF_RFT, style=DIRECT), count=6)
    verdicts = solvable(made)
    assert verdicts == solvable(made) != solvable(replace(made, seed=made.seed + 1))
    assert any(0 < verdict.correct < 4 for verdict in verdicts)


@pytest.mark.parametrize("paradigm", [SFT, RFT])
def test_a_stage_without_examples_hands_its_weights_on(
    bases: tuple[Path, Path], tmp_path: Path, paradigm: Paradigm
) -> None:
    learned = paradigm.learner.train(job(bases[0], tmp_path, paradigm, count=0))
    assert (learned.optimiser_steps, learned.sampled_tokens, learned.trained_tokens) == (0, 0, 0)
    assert same(bases[0], learned.weights)
