"""What generates: an engine turns prompts with pictures into replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.core import Decoding

Prompt = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One reply: its text, its length in tokens (the end mark included), and whether the length cut it off."""

    text: str
    tokens: int
    truncated: bool


class Engine(Protocol):
    """One loaded model. A prompt is its text and its opened pictures."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """A greedy reply for each prompt."""
        ...

    def sample(
        self, prompts: Sequence[Prompt], decoding: Decoding, rollouts: int, seed: int, top_p: float
    ) -> list[list[Generation]]:
        """``rollouts`` replies for each prompt, sampled at temperature 1."""
        ...
