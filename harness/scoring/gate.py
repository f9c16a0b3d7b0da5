"""A verdict that a machine can act on: rules such as ``backward_transfer>-2``, decided by intervals and not by points.

    ship         every rule is met by the whole interval of its metric
    don't ship   one rule is broken by the whole interval of its metric
    cannot tell  otherwise: an interval that holds the bound, a metric that is undefined or has no interval

Bounds are in the unit that is printed: percent, or points for a difference.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from harness.core import UserError
from harness.values import cut

SHIP, STOP, UNSURE = "ship", "don't ship", "cannot tell"
EXIT = {SHIP: 0, STOP: 3, UNSURE: 4}
MOST = 32  # rules of a gate
_RULE = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]{0,63})\s*(>=|<=|>|<)\s*([+-]?[0-9]{1,6}(?:\.[0-9]{1,6})?)\s*")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One bound of a gate: the metric must lie above it (">") or below it ("<"); ``bound`` is a fraction.

    ``equal`` says that the bound itself will do.
    """

    text: str
    metric: str
    above: bool
    equal: bool
    bound: float


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What is known of a metric: its value and the interval's ends, fractions; None where there is none.

    ``noise`` says what the interval holds the noise of: items, seeds, or both.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    noise: str = ""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A rule with its verdict, and the reason in some words."""

    rule: Rule
    verdict: str
    why: str


def parse(text: str, known: Collection[str]) -> tuple[Rule, ...]:
    """The rules of a gate, of the metrics that are known.

    >>> [(rule.metric, rule.above, rule.bound) for rule in parse("gain>=5, churn < 2.5", ["gain", "churn"])]
    [('gain', True, 0.05), ('churn', False, 0.025)]
    >>> parse("gian>5", ["gain"])
    Traceback (most recent call last):
    harness.values.UserError: --gate: unknown metric 'gian': did you mean gain?

    Raises:
        UserError: for what is no rule, a metric that is unknown, or too many of them.
    """
    parts = text.split(",")
    if len(parts) > MOST:
        raise UserError(f"--gate has {len(parts)} rules: give at most {MOST}")
    return tuple(_rule(part, known) for part in parts)


def _rule(text: str, known: Collection[str]) -> Rule:
    match = _RULE.fullmatch(text)
    if match is None:
        raise UserError(
            f"--gate: {cut(repr(text.strip()), 60)} is no rule: write METRIC>NUMBER, such as backward_transfer>-2"
        )
    metric, sign, number = match.groups()
    if metric not in known:
        near = difflib.get_close_matches(metric, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "`harness metrics` names all"
        raise UserError(f"--gate: unknown metric {metric!r}: {hint}")
    return Rule(
        text=f"{metric}{sign}{number}",
        metric=metric,
        above=sign[0] == ">",
        equal=sign.endswith("="),
        bound=float(number) / 100,
    )


def decide(rule: Rule, found: Interval, why_not: str = "") -> Decided:
    """The verdict on one rule, by the bound of the interval that speaks against it.

    >>> rule = parse("gain>5", ["gain"])[0]
    >>> [decide(rule, Interval(value=0.06, low=low, high=0.08)).verdict for low in (0.051, 0.049)]
    ['ship', 'cannot tell']
    """
    if found.value is None:
        return Decided(rule=rule, verdict=UNSURE, why=f"{rule.metric} is undefined: {why_not or 'not observed'}")
    if found.low is None or found.high is None:
        said = f"{rule.metric} is {100 * found.value:.2f}, but one table of accuracies has no interval"
        return Decided(rule=rule, verdict=UNSURE, why=said)
    low, high = (found.low, found.high) if rule.above else (-found.high, -found.low)
    bound = rule.bound if rule.above else -rule.bound
    met, broken = (low >= bound, high < bound) if rule.equal else (low > bound, high <= bound)
    verdict = SHIP if met else STOP if broken else UNSURE
    words = {SHIP: "within", STOP: "outside", UNSURE: "on both sides of"}
    interval = f"[{100 * found.low:.2f}, {100 * found.high:.2f}]"
    noise = ", without the noise of items" if found.noise == "seeds" else ""
    why = f"{rule.metric} is {100 * found.value:.2f} {interval}{noise}: {words[verdict]} {rule.text}"
    return Decided(rule=rule, verdict=verdict, why=why)


def verdict(decided: Collection[Decided]) -> str:
    """The gate's verdict: one broken rule stops, and all must be met to ship."""
    said = [one.verdict for one in decided]
    return STOP if STOP in said else UNSURE if UNSURE in said else SHIP


def judged(rules: Collection[Rule], found: Mapping[str, Interval], why_not: Mapping[str, str]) -> tuple[Decided, ...]:
    """Each rule with its verdict."""
    return tuple(decide(rule, found.get(rule.metric, Interval()), why_not.get(rule.metric, "")) for rule in rules)


__all__ = ["EXIT", "SHIP", "STOP", "UNSURE", "Decided", "Interval", "Rule", "decide", "judged", "parse", "verdict"]
