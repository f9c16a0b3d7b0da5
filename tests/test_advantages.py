"""RLOO and ReMax: their advantages against a count by hand, and everything else as in GRPO."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise_jobs import SMALL, build_bases, job

from baselines.advantages import REMAX, RFT_REMAX, RFT_RLOO, RLOO
from baselines.rft import GRPO, RFT, RFT_NOCOT, grpo_trainer
from harness.asking.engines import open_engine
from harness.asking.evaluate import open_pictures
from harness.asking.marking import reward
from harness.asking.styles import DIRECT
from harness.core import Example, Paradigm, replace
from harness.training.advantages import leave_one_out, over_greedy

RATES = {"sft": 3e-3, "grpo": 3e-3, "rloo": 3e-3, "remax": 3e-3}
SCALE = replace(SMALL, rates=RATES)
# In the direct style, in which any reply of an untrained base can be read.
KINDS: dict[str, tuple[Paradigm, dict[str, Any]]] = {
    "grpo": (RFT_NOCOT, {}),
    "rloo": (replace(RFT_RLOO, style=DIRECT), {"rate": "rloo", "advantage": leave_one_out}),
    "remax": (replace(RFT_REMAX, style=DIRECT), {"rate": "remax", "advantage": over_greedy}),
}


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=5), st.data())
def test_advantages_are_those_of_their_definitions(rewards: list[list[float]], data: st.DataObject) -> None:
    import torch

    best = data.draw(st.lists(st.floats(0, 1, width=32), min_size=len(rewards), max_size=len(rewards)))
    given_rewards = torch.tensor(rewards)
    found = leave_one_out(given_rewards, lambda: pytest.fail("RLOO asks for no greedy reply"))
    for group, mine in zip(rewards, found.tolist(), strict=True):
        for place, value in enumerate(mine):
            others = [other for number, other in enumerate(group) if number != place]
            assert value == pytest.approx(group[place] - sum(others) / 3, abs=1e-6)
        assert sum(mine) == pytest.approx(0, abs=1e-5)
    found = over_greedy(given_rewards, lambda: torch.tensor(best))
    for group, base, mine in zip(rewards, best, found.tolist(), strict=True):
        assert mine == pytest.approx([one - base for one in group], abs=1e-6)


def test_they_differ_from_grpo_in_the_learner_alone_and_remax_counts_its_greedy_replies() -> None:
    for paradigm in (RFT_RLOO, RFT_REMAX):
        fields = {name for name in vars(RFT) if getattr(RFT, name) != getattr(paradigm, name)}
        assert fields == {"name", "learner", "cite"}
        assert paradigm.learner.obeys == GRPO.obeys
    grpo, rloo, remax = (learner.work(40, RFT, SCALE) for learner in (GRPO, RLOO, REMAX))
    assert rloo == grpo
    assert remax.steps == grpo.steps
    assert remax.rollouts == grpo.rollouts + grpo.steps * SCALE.prompts_per_update
    assert remax.sampled_tokens == grpo.sampled_tokens * 5 // 4, "one reply beside four"


@contextmanager
def record_rewards(trainer: Any) -> Iterator[list[Any]]:
    """The rewards that a trainer calculates, as it gets them."""
    found: list[Any] = []
    calculate = trainer._calculate_rewards

    def recorded(*given: Any) -> Any:
        found.append(calculate(*given))
        return found[-1]

    trainer._calculate_rewards = recorded
    yield found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each trainer made of its first rollout batch, before any update, and what it counted until then."""
    import torch

    base, _ = build_bases(tmp_path_factory)
    found = {}
    for name, (paradigm, options) in KINDS.items():
        made = job(base, tmp_path_factory.mktemp(name), paradigm, scale=SCALE)
        trainer = grpo_trainer(made, **options)
        rows = list(trainer.get_train_dataloader().dataset)[: SCALE.prompts_per_update * 2]
        torch.manual_seed(11)
        trainer.model.train()
        with warnings.catch_warnings(), record_rewards(trainer) as rewards:
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            output = trainer._generate_and_score_completions([row for row in rows for _ in range(SCALE.rollouts)])
        after = torch.rand(3).tolist()
        found[name] = {
            "rewards": rewards[0][:, 0].view(-1, SCALE.rollouts).tolist(),
            "advantages": output["advantages"].view(-1, SCALE.rollouts).tolist(),
            "replies": output["completion_ids"].tolist(),
            "sampled": trainer.sampled_tokens,
            "after": after,
            "shown": [made.examples[row["item"]] for row in rows],
            "folder": base,
        }
    return found


@pytest.mark.slow
def test_the_sampled_replies_are_those_of_grpo(seen: dict[str, dict[str, Any]]) -> None:
    assert len({str(one["replies"]) for one in seen.values()}) == 1
    assert len({str(one["after"]) for one in seen.values()}) == 1, "the random numbers after them too"
    assert len({str(one["rewards"]) for one in seen.values()}) == 1
    assert len({one for group in seen["grpo"]["rewards"] for one in group}) > 1


@pytest.mark.slow
def test_each_trainer_uses_its_own_advantages(seen: dict[str, dict[str, Any]]) -> None:
    for group, grpo, rloo in zip(
        seen["grpo"]["rewards"], seen["grpo"]["advantages"], seen["rloo"]["advantages"], strict=True
    ):
        centred = [one - statistics.fmean(group) for one in group]
        assert grpo == pytest.approx([one / (statistics.stdev(group) + 1e-4) for one in centred], abs=1e-4)
        assert rloo == pytest.approx([one * 4 / 3 for one in centred], abs=1e-5)


@pytest.mark.slow
def test_remax_compares_with_the_greedy_reply_of_the_weights_that_sampled(seen: dict[str, dict[str, Any]]) -> None:
    found = seen["remax"]
    style = DIRECT
    prompts: list[tuple[Any, Example]] = found["shown"]
    with open_engine(found["folder"], SCALE) as engine:
        replies = engine.generate(
            [(style.ask(task, example), open_pictures(example)) for task, example in prompts],
            SCALE.decodings[style.name],
        )
    for (task, example), reply, group, mine in zip(
        prompts, replies, found["rewards"], found["advantages"], strict=True
    ):
        greedy = reward(task, style, example, reply.text)
        assert mine == pytest.approx([one - greedy for one in group], abs=1e-6)
    assert found["sampled"] - seen["grpo"]["sampled"] == sum(reply.tokens for reply in replies)
    assert seen["rloo"]["sampled"] == seen["grpo"]["sampled"]
