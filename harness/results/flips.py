"""Items that flip between two stages: what is lost and what is won, which a difference of means does not show.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.results.undefined import Value, largest, minus, ratio

RIGHT = 0.5  # a partial score counts as right from here


@dataclass(frozen=True, kw_only=True)
class Flips:
    """The paired counts of n items: right before and wrong after (lost), the reverse (won), right before and n.

    ``odds`` is the mean of 1 / (k - 1) over items of k options each, None where the items have none. Counts may be
    arrays of replicates.
    """

    lost: float
    won: float
    right: float
    n: float
    odds: float | None = None

    @property
    def loss_rate(self) -> Value:
        """Lost / right before; None where nothing was right."""
        return ratio(self.lost, self.right)

    @property
    def win_rate(self) -> Value:
        """Won / wrong before; None where nothing was wrong."""
        return ratio(self.won, self.n - self.right)

    @property
    def churn(self) -> float:
        """(lost + won) / n."""
        return (self.lost + self.won) / self.n

    @property
    def lost_beyond_chance(self) -> Value:
        """max(0, lost / n - odds (1 - a0)(1 - a1)), a0 and a1 the shares right before and after.

        What guessing anew among k options would lose is taken off. None without options.
        """
        if self.odds is None:
            return None
        before, after = self.right / self.n, (self.right - self.lost + self.won) / self.n
        return largest([minus(self.lost / self.n, self.odds * (1 - before) * (1 - after)), 0.0])

    def __add__(self, other: Flips) -> Flips:
        """The counts of both sets of items together; their odds are known only where they are one."""
        return Flips(
            lost=self.lost + other.lost,
            won=self.won + other.won,
            right=self.right + other.right,
            n=self.n + other.n,
            odds=self.odds if self.odds == other.odds else None,
        )


def flips(before: Sequence[float], after: Sequence[float], odds: float | None = None) -> Flips:
    """The flips of paired scores, fractions; an item is right from 0.5 on.

    Two arms of equal difference can differ in what they lose: here both means stay as they are.

    >>> flips([1.0, 0.3, 0.0, 1.0], [0.0, 0.6, 0.0, 1.0])
    Flips(lost=1, won=1, right=2, n=4, odds=None)
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
        odds=odds,
    )


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """The items that flip, by what they became or were: unreadable, or read and wrong; the first two are the lost.

    Superficial and essential forgetting in the words of SEFE (arXiv:2505.02486), counted item by item.
    """

    to_unreadable: int
    to_wrong: int
    from_unreadable: int
    from_wrong: int


def kinds(
    before: Sequence[float], after: Sequence[float], unread_before: Sequence[bool], unread_after: Sequence[bool]
) -> Kinds:
    """The kinds of the flips of paired scores; an item is right from 0.5 on, and what cannot be read scores below.

    >>> kinds([1.0, 1.0, 0.0, 0.3], [0.0, 0.3, 1.0, 1.0], [False, False, True, False], [True, False, False, False])
    Kinds(to_unreadable=1, to_wrong=1, from_unreadable=1, from_wrong=1)

    Raises:
        ValueError: where the scores are not of the same items.
    """
    items = list(zip(before, after, unread_before, unread_after, strict=True))
    lost = [gone for old, new, _, gone in items if old >= RIGHT > new]
    won = [was for old, new, was, _ in items if new >= RIGHT > old]
    unread, unreadable = sum(map(bool, won)), sum(map(bool, lost))
    return Kinds(
        to_unreadable=unreadable,
        to_wrong=len(lost) - unreadable,
        from_unreadable=unread,
        from_wrong=len(won) - unread,
    )


__all__ = ["RIGHT", "Flips", "Kinds", "flips", "kinds"]
