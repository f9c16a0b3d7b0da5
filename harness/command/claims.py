"""The command `harness claims`: what the published runs of a scale say of what others published, and never more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.command.flags import RESULTS, ROOT, ResultsFlag
from harness.core import UserError
from harness.values import cut

if TYPE_CHECKING:
    from harness.results.claims import Decided, Found

ScaleFlag = Annotated[str, typer.Option("--scale", help="Decide by the runs of this scale; of each without it.")]
ClaimsFlag = Annotated[Path, typer.Option("--claims", help="The folder of claims, one TOML file each.")]


def claims_command(scale: ScaleFlag = "", results: ResultsFlag = RESULTS, claims: ClaimsFlag = ROOT / "claims") -> None:
    """Say of each published claim whether it holds, fails or is undecided on the scale of the published runs."""
    from harness.command import printing
    from harness.results.claims import decide, read_claims, scales_of
    from harness.results.standings import seen_runs

    known = read_claims(claims)
    seen, damaged = seen_runs(results)
    for line in damaged:
        print(f"note: {line}", file=sys.stderr)
    scales = scales_of(seen)
    if not scales:
        raise UserError(f"{cut(str(results))} holds no published run: publish one first (harness publish RUN)")
    if scale and scale not in scales:
        raise UserError(f"no run of scale {cut(repr(scale), 40)} is published: use one of {', '.join(scales)}")
    screen = printing.console()
    for name in [scale] if scale else scales:
        table = printing.grid(["claim", "source", name, "part", "number", "95% interval"], 4)
        for one in decide(known, seen, name):
            for row in rows(one):
                table.add_row(*map(printing.told, row))
        printing.show(screen, f"Claims on the scale {name}, points", table)
    late = [one for one in known if not one.before_runs]
    screen.print(
        f"On these runs and no further. The rules of {len(late)} of {len(known)} claims were written after runs were"
        " seen. Every part has its own 95% interval; nothing is corrected for their number.",
        soft_wrap=True,
    )


def rows(one: Decided) -> list[list[str]]:
    """The rows of a claim: its word, and a line for each part or the reason why it has none."""
    if not one.found:
        return [[one.claim.title, one.claim.source, one.word, one.why, "", ""]]
    heads = [[one.claim.title, one.claim.source, one.word], *([["", "", ""]] * (len(one.found) - 1))]
    several = len(one.found) > 1
    return [
        [*head, ruled(found) + (f": {found.word}" if several else ""), *numbers(found)]
        for head, found in zip(heads, one.found, strict=True)
    ]


def numbers(found: Found) -> list[str]:
    """A part's number and interval in points."""
    if found.estimate is None:
        return ["-", ""]
    return [
        f"{100 * found.estimate.value:+.1f}",
        f"[{100 * found.estimate.low:+.1f}, {100 * found.estimate.high:+.1f}]",
    ]


def ruled(found: Found) -> str:
    """A part's rule in words, and why nothing is decided where it is no interval that says so."""
    part = found.part
    subject = f"{part.metric} of {part.one}" + (f" - {part.other}" if part.other else "")
    asked = f", asked {part.style}" if part.style else ""
    bound = f"within ±{part.margin:g}" if part.rule == "within" else f"{part.rule} {part.margin:+g}"
    borrowed = found.estimate is not None and found.estimate.noise_of == "borrowed"
    why = found.why or ("one arm has one seed" if borrowed else "")
    return f"{subject}{asked} {bound}" + (f" ({why})" if why else "")


__all__ = ["claims_command"]
