"""The ledger of claims: what was published, and the rule by which runs of a scale decide it.

A claim is a file of ``claims/``. Each of its parts is a number of one arm, or the first arm's minus the second's, with
a rule and a margin in points:

    above    holds where the whole interval lies above the margin, fails where it lies below
    below    the reverse
    within   holds where the whole interval lies within +- the margin, fails where it lies outside

A claim holds where all its parts do, fails where one does, and is undecided otherwise: also where an arm has no runs,
or every arm has one seed, whose noise nobody knows. Nothing is said beyond the scale of the runs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from harness.core import UserError, slug
from harness.results.metrics import ALL
from harness.results.standings import Arms, Seen, beside
from harness.results.stats import Estimate
from harness.values import cut

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
Rule = Literal["above", "below", "within"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A number that decides: a metric of the arm ``one``, minus that of ``other`` where it is named.

    Arms are paradigms, asked in ``style``, or each in its own where none is named. ``margin`` is in points.
    """

    one: str
    metric: str
    rule: Rule
    margin: float
    other: str = ""
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published claim, its source and number, when its rule was written, and its parts; ``needs`` says why none."""

    name: str
    title: str
    source: str
    number: str
    provenance: str
    written: date
    before_runs: bool
    parts: tuple[Part, ...] = ()
    note: str = ""
    needs: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What runs say of a part: a word, the estimate in fractions where there is one, and why nothing is decided."""

    part: Part
    word: str
    estimate: Estimate | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What runs of a scale say of a claim."""

    claim: Claim
    scale: str
    found: tuple[Found, ...]

    @property
    def word(self) -> str:
        """Holds where every part does, fails where one does."""
        words = [one.word for one in self.found]
        return FAILS if FAILS in words else HOLDS if words and set(words) == {HOLDS} else UNDECIDED

    @property
    def why(self) -> str:
        """Why it is undecided, in some words; empty where it is not, or where an interval says so."""
        return "" if self.word != UNDECIDED else (self.claim.needs and f"needs {self.claim.needs}") or self._reasons()

    def _reasons(self) -> str:
        return "; ".join(dict.fromkeys(one.why for one in self.found if one.why))


def read_claims(folder: Path) -> list[Claim]:
    """The claims of a folder, by name.

    Raises:
        UserError: naming the file, where one is malformed, names an unknown metric, or says neither parts nor needs.
    """
    if not folder.is_dir():
        raise UserError(f"{cut(str(folder))} is no folder: give one of claims as TOML")
    return [read_claim(path) for path in sorted(folder.glob("*.toml"))]


def read_claim(path: Path) -> Claim:
    """The claim of a file, which is called by its name."""
    import msgspec

    where = cut(str(path))
    try:
        content = tomllib.loads(path.read_bytes().decode())
        claim = msgspec.convert({**content, "name": slug(path.stem)}, Claim)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as fault:
        raise UserError(f"{where} is no claim ({cut(str(fault), 120)})") from fault
    if strange := set(content) - set(Claim.__dataclass_fields__):
        raise UserError(f"{where} has an unknown field {cut(min(strange), 60)}")
    for one in content.get("parts", ()):
        if strange := set(one) - set(Part.__dataclass_fields__):
            raise UserError(f"{where} has an unknown field {cut(min(strange), 60)} in a part")
    for part in claim.parts:
        if part.metric not in ALL:
            raise UserError(f"{where} names the metric {cut(part.metric, 60)}, which is unknown: see `harness metrics`")
        if part.rule == "within" and part.margin <= 0:
            raise UserError(f"{where}: a margin of {part.margin:g} leaves nothing within it")
    if bool(claim.parts) == bool(claim.needs):
        raise UserError(f"{where} wants parts that decide it, or what it needs to be decided, and not both")
    return claim


def decide(claims: Sequence[Claim], seen: Sequence[Seen], scale: str) -> list[Decided]:
    """What the published runs of a scale say of each claim."""
    here = [one for one in seen if one.run.scale == scale]
    arms = Arms(here)
    return [
        Decided(claim=claim, scale=scale, found=tuple(_found(part, here, arms) for part in claim.parts))
        for claim in claims
    ]


def _found(part: Part, here: Sequence[Seen], arms: Arms) -> Found:
    """What runs say of a part."""
    names = [part.one, *([part.other] if part.other else [])]
    groups = _groups(names, here)
    if isinstance(groups, str):
        return Found(part=part, word=UNDECIDED, why=groups)
    sides = [arms.resampled(runs, part.style or runs[0].run.style) for runs in groups]
    estimate = beside(*sides).estimate(part.metric)
    if estimate is None:
        return Found(part=part, word=UNDECIDED, why=f"{part.metric} is undefined for {' or '.join(names)}")
    if estimate.noise_of == "none":
        why = f"one seed of {' and of '.join(names)}: the noise of seeds is unknown"
        return Found(part=part, word=UNDECIDED, estimate=estimate, why=why)
    return Found(part=part, word=word_of(part.rule, part.margin / 100, estimate.low, estimate.high), estimate=estimate)


def word_of(rule: Rule, margin: float, low: float, high: float) -> str:
    """The word that an interval gives by a rule.

    >>> [word_of("above", 0.0, low, high) for low, high in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))]
    ['holds', 'fails', 'undecided']
    >>> [word_of("within", 0.02, low, high) for low, high in ((-0.01, 0.01), (0.03, 0.05), (0.01, 0.03))]
    ['holds', 'fails', 'undecided']
    """
    if rule == "within":
        return HOLDS if -margin < low and high < margin else FAILS if low > margin or high < -margin else UNDECIDED
    if rule == "below":
        margin, low, high = -margin, -high, -low
    return HOLDS if low > margin else FAILS if high < margin else UNDECIDED


def _groups(names: Sequence[str], here: Sequence[Seen]) -> list[list[Seen]] | str:
    """The runs of each arm, all of one group and of one recipe an arm; the reason where there are none."""
    known: dict[str, dict[str, dict[str, list[Seen]]]] = {}
    for one in here:
        if one.run.paradigm in names:
            recipes = known.setdefault(one.run.group, {}).setdefault(one.run.paradigm, {})
            recipes.setdefault(one.run.recipe, []).append(one)
    if missing := [name for name in names if not any(name in group for group in known.values())]:
        return f"no runs of {' and '.join(dict.fromkeys(missing))}"
    whole = [group for group in known.values() if all(name in group for name in names)]
    if not whole:
        return f"no group has runs of {' and of '.join(names)}"
    largest = max(whole, key=lambda group: sum(len(runs) for recipes in group.values() for runs in recipes.values()))
    return [max(largest[name].values(), key=len) for name in names]


def scales_of(seen: Sequence[Seen]) -> list[str]:
    """The scales that runs are published of."""
    return sorted({one.run.scale for one in seen})


__all__ = [
    "FAILS", "HOLDS", "UNDECIDED", "Claim", "Decided", "Found", "Part", "decide", "read_claim", "read_claims",
    "scales_of", "word_of",
]  # fmt: skip
