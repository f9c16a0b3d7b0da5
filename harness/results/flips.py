"""Items that flip between two stages: what is lost and what is won, which a difference of means does not show.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RIGHT = 0.5  # a partial score counts as right from here


@dataclass(frozen=True, kw_only=True)
class Flips:
    """The paired counts of n items: right before and wrong after (lost), the reverse (won), right before and n."""

    lost: int
    won: int
    right: int
    n: int

    @property
    def loss_rate(self) -> float | None:
        """Lost / right before; None where nothing was right."""
        return self.lost / self.right if self.right else None

    @property
    def win_rate(self) -> float | None:
        """Won / wrong before; None where nothing was wrong."""
        return self.won / (self.n - self.right) if self.n > self.right else None

    @property
    def churn(self) -> float:
        """(lost + won) / n."""
        return (self.lost + self.won) / self.n

    def __add__(self, other: Flips) -> Flips:
        """The counts of both sets of items together."""
        return Flips(
            lost=self.lost + other.lost, won=self.won + other.won, right=self.right + other.right, n=self.n + other.n
        )


def flips(before: Sequence[float], after: Sequence[float]) -> Flips:
    """The flips of paired scores, fractions; an item is right from 0.5 on.

    Two arms of equal difference can differ in what they lose: here both means stay as they are.

    >>> flips([1.0, 0.3, 0.0, 1.0], [0.0, 0.6, 0.0, 1.0])
    Flips(lost=1, won=1, right=2, n=4)
    >>> flips([1.0, 0.3, 0.0, 1.0], [1.0, 0.3, 0.0, 1.0]).churn
    0.0

    Raises:
        ValueError: where the scores are none, or not of the same items.
    """
    pairs = [(old >= RIGHT, new >= RIGHT) for old, new in zip(before, after, strict=True)]
    if not pairs:
        raise ValueError("there are no items to compare")
    return Flips(
        lost=sum(old and not new for old, new in pairs),
        won=sum(new and not old for old, new in pairs),
        right=sum(old for old, _ in pairs),
        n=len(pairs),
    )


__all__ = ["RIGHT", "Flips", "flips"]
