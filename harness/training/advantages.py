r"""Advantages: what a reply is worth beside the others to its prompt. They are all that GRPO, RLOO and ReMax differ in.

An advantage is a function of the rewards of a rollout batch, (P, G) for G replies to each of P prompts, and of
``greedy``, which generates the greedy reply to every prompt by the same weights when it is called and gives their
rewards, (P,). What it returns is (P, G). Without one TRL's own is taken, which is GRPO's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Tensor = Any
Advantage = Callable[[Tensor, Callable[[], Tensor]], Tensor]


def leave_one_out(rewards: Tensor, greedy: Callable[[], Tensor]) -> Tensor:
    """RLOO: A_i = r_i - mean of the other G - 1 rewards = G / (G - 1) (r_i - mean(r)); (P, G) (arXiv:2402.14740).

    >>> import torch
    >>> leave_one_out(torch.tensor([[1.0, 0.0, 0.0]]), None).tolist()
    [[1.0, -0.5, -0.5]]
    """
    others = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    return rewards - others


def over_greedy(rewards: Tensor, greedy: Callable[[], Tensor]) -> Tensor:
    """ReMax: A_i = r_i - reward of the greedy reply to the same prompt; (P, G) (arXiv:2310.10505).

    >>> import torch
    >>> over_greedy(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), lambda: torch.tensor([1.0, 0.0])).tolist()
    [[0.0, -1.0], [1.0, 1.0]]
    """
    return rewards - greedy()[:, None]


def with_advantage(kind: Any, advantage: Advantage) -> Any:
    """The held GRPO trainer class ``kind`` with another advantage; loss, KL and rollouts stay as they are."""
    import torch

    class Advantaged(kind):  # type: ignore[misc]
        rewards: Tensor  # (N,) of this process's replies in the present rollout batch

        def _calculate_rewards(self, inputs: list[dict[str, Any]], *rest: Any) -> Tensor:
            found = super()._calculate_rewards(inputs, *rest)  # of all processes, by one reward function
            first = self.accelerator.process_index * len(inputs)
            self.rewards = found[first : first + len(inputs), 0]
            return found

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            rewards = self.rewards.view(-1, self.num_generations)
            firsts = inputs[:: self.num_generations]
            return {**output, "advantages": advantage(rewards, lambda: self._greedy(firsts)).flatten()}

        def _greedy(self, rows: list[dict[str, Any]]) -> Tensor:
            """The rewards of the greedy replies to the prompts of the rollout batch; the sampled ones stay the same."""
            greedy = (
                (self.vllm_generation, "temperature", 0.0)
                if self.use_vllm
                else (self.generation_config, "do_sample", False)
            )
            settings, name, value = greedy
            sampled = getattr(settings, name)
            setattr(settings, name, value)
            try:
                with torch.random.fork_rng():
                    replies = self.replies_to(rows)
            finally:
                setattr(settings, name, sampled)
            texts = self.processing_class.batch_decode(replies, skip_special_tokens=True)
            completions = [[{"role": "assistant", "content": text}] for text in texts]
            items = [row["item"] for row in rows]
            found = self.reward_funcs[0](completions=completions, completion_ids=replies, item=items)
            return torch.tensor(found, device=self.accelerator.device)

    return Advantaged


__all__ = ["Advantage", "leave_one_out", "over_greedy", "with_advantage"]
