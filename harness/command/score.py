"""The command `harness score`: numbers, and a verdict, for what was trained elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.command.flags import (
    LIMITS,
    RUNS,
    DataFlag,
    LimitFlag,
    OutFlag,
    PluginFlag,
    ScaleFlag,
    SkipFlag,
    SplitFlag,
    SuitesFlag,
    asked_items,
    between,
    stream_of,
)
from harness.core import Run, Scale, UserError
from harness.values import cut

if TYPE_CHECKING:
    from rich.console import Console

    from harness.scoring.gate import Decided, Interval
    from harness.scoring.scored import Scored

EVIDENCE = Path("evidence.json")

BaseFlag = Annotated[str | None, typer.Option("--base", help="The base model: a folder.")]
StageFlag = Annotated[
    list[str] | None,
    typer.Option("--stage", help="The model after a stage: TASK=FOLDER or TASK=URL#NAME; repeatable."),
]
PredictionsFlag = Annotated[
    list[Path] | None,
    typer.Option(
        "--predictions", help="Replies made elsewhere: JSONL or parquet of task, stage, id, reply; a seed each."
    ),
]
MatrixFlag = Annotated[
    list[Path] | None, typer.Option("--matrix", help="A table of accuracies, CSV: stage,TASK,...; a seed each.")
]
SeqFlag = Annotated[str | None, typer.Option("--seq", help="The stream: its tasks and their order.")]
StyleFlag = Annotated[
    str, typer.Option("--style", help="How is asked: direct or cot; of models several, the headline first: cot,direct.")
]
GateFlag = Annotated[
    str, typer.Option("--gate", help="Rules in percent or points, such as 'backward_transfer>-2,general_delta>-1'.")
]
EvidenceFlag = Annotated[
    Path | None, typer.Option("--evidence", help="The JSON file of all numbers; with --gate evidence.json without it.")
]
MarksFlag = Annotated[
    Path | None, typer.Option("--marks", help="Write the mark of every item, .csv or .parquet, for `harness compare`.")
]


def score_command(
    base: BaseFlag = None,
    stage: StageFlag = None,
    predictions: PredictionsFlag = None,
    matrix: MatrixFlag = None,
    seq: SeqFlag = None,
    scale: ScaleFlag = "twin",
    style: StyleFlag = "direct",
    limit: LimitFlag = None,
    out: OutFlag = RUNS,
    data: DataFlag = None,
    split: SplitFlag = "test",
    skip_broken: SkipFlag = 0,
    suites: SuitesFlag = "native",
    gate: GateFlag = "",
    evidence: EvidenceFlag = None,
    marks: MarksFlag = None,
    plugin: PluginFlag = None,
) -> None:
    """Score models, replies or accuracies that were made elsewhere; with --gate a verdict for a CI.

    Exit codes with --gate: 0 ship, 3 don't ship, 4 cannot tell; 2 is a mistake in what was asked.
    """
    given = {"--stage": stage or base, "--predictions": predictions, "--matrix": matrix}
    if len(chosen := [flag for flag, value in given.items() if value]) != 1:
        raise UserError(f"one of {', '.join(given)} says what is scored: {' and '.join(chosen) or 'none'} is given")
    from harness.results.metrics import ALL
    from harness.scoring.gate import EXIT, judged, parse, verdict

    rules = parse(gate, ALL) if gate else ()
    registry.load_plugins(tuple(plugin or ()))
    asked_items(limit, data, split)
    between("--skip-broken", skip_broken, 0, LIMITS)
    styles = _styles(style, several=bool(given["--stage"]))
    if matrix:
        from harness.scoring.accuracies import score_matrices

        scored = [score_matrices(matrix, styles[0], stream_of(seq, suites) if seq else None)]
    else:
        run = _run(seq, scale, limit, data, split, suites, skip_broken)
        scored = _replies(predictions, run, styles) if predictions else _models(base, stage or [], run, out, styles)
    from harness.command import printing
    from harness.scoring.evidence import intervals, reasons

    screen, found = printing.console(), intervals(scored[0])
    _show(screen, scored, found)
    if marks is not None:
        from harness.scoring.arm import write_marks

        write_marks(scored[0], marks)
        screen.print(f"marks: {printing.told(marks, 4000)}", soft_wrap=True)
    decided = judged(rules, found, reasons(scored[0]))
    asked = {"seq": seq, "scale": scale, "limit": limit, "split": split, "official": data is not None, "gate": gate}
    _keep(screen, scored[0], asked, found, decided, evidence or (EVIDENCE if rules else None))
    for one in decided:
        screen.print(f"{one.verdict}: {printing.told(one.why)}", soft_wrap=True)
    if decided:
        screen.print(f"[bold]{verdict(decided)}[/bold]")
        raise typer.Exit(EXIT[verdict(decided)])


def _styles(text: str, several: bool) -> list[str]:
    """The styles of the flag, the headline first."""
    from harness.asking.styles import STYLES

    known = [style.name for style in STYLES]
    found = [name.strip() for name in text.split(",")]
    for name in found:
        if name not in known or found.count(name) > 1 or (len(found) > 1 and not several):
            several_said = ", each once; several only of models" if len(found) > 1 else ""
            raise UserError(f"--style {cut(repr(text), 60)} cannot be: use one of {', '.join(known)}{several_said}")
    return found


def _run(
    seq: str | None, scale: str, limit: int | None, data: Path | None, split: str, suites: str, skip_broken: int
) -> Run:
    """On what is scored: the items of a stream's tasks and suites at a scale."""
    from harness.broken_items import settled
    from harness.scoring.paradigm import ELSEWHERE

    if seq is None:
        raise UserError("--seq is missing: name the stream whose tasks were trained, such as --seq default")
    size, stream = registry.typed(Scale, scale), stream_of(seq, suites, split)
    if size.train_items is None and data is None:
        raise UserError(f"scale {size.name} wants the official data: add --data FOLDER, or use --scale twin")
    place = None if data is None else str(data.resolve())
    run = Run(paradigm=ELSEWHERE, stream=stream, scale=size, limit=limit, split=split, data=place)
    return settled(run, skip_broken, print) if skip_broken else run


def _replies(paths: Sequence[Path], run: Run, styles: Sequence[str]) -> list[Scored]:
    from harness.scoring.predictions import score_predictions

    return [score_predictions(paths, run, styles[0])]


def _models(base: str | None, stages: Sequence[str], run: Run, out: Path, styles: Sequence[str]) -> list[Scored]:
    """The models of the flags, scored in each style."""
    from harness.command import check
    from harness.command.shell import settle
    from harness.lora import is_adapter
    from harness.scoring.folders import refuse_wordless
    from harness.scoring.models import models_of, score_models
    from harness.scoring.servers import is_address

    settle(run.scale.name)
    check.fit_versions()
    check.writable(out)
    given: dict[str, str | Path] = {}
    for text in stages:
        name, sign, place = text.partition("=")
        if not sign or not place:
            raise UserError(f"--stage {cut(repr(text), 80)} names no model: write TASK=FOLDER, such as scienceqa=out/1")
        if name in given:
            raise UserError(f"--stage {cut(name, 60)} is given twice: give one model a stage")
        given[name] = place if is_address(place) else Path(place)
    with models_of(None if base is None else Path(base), given, out) as models:
        for model in models:
            if not is_adapter(model.folder):
                refuse_wordless(model.folder)
        return list(score_models(models, run, out, styles, print))


def _show(screen: Console, scored: Sequence[Scored], found: dict[str, Interval]) -> None:
    """The matrix and the metrics of what was scored, percent with two decimals; and what cannot be given, and why."""
    from harness.command import printing
    from harness.results.metrics import ALL
    from harness.scoring.evidence import UNSTABLE, intervals, nulls, reasons

    for one in scored:
        seeds = f", mean of {len(one.seeds)} seeds" if len(one.seeds) > 1 else ""
        printing.matrix(
            screen, one.mean, f"Accuracy in percent, {one.style} style{seeds} (bold: the task of the stage)"
        )
    columns = [found, *(intervals(one) for one in scored[1:])]
    headings = [word for one in scored for word in (f"{one.style} style", "95% interval")]
    table = printing.grid(["metric", "formula", *headings, "reads"], 2)
    for name, metric in ALL.items():
        if all(column[name].value is None for column in columns):
            continue
        cells = [text for column in columns for text in _written(column[name], metric.points)]
        table.add_row(name, printing.told(metric.equation), *cells, metric.sign)
    printing.show(screen, "Metrics in percent and points", table)
    for name, null in nulls(scored[0]).items():
        said = "had nothing been forgotten, the noise of items alone would give"
        screen.print(f"{name}: {said} {' '.join(_written(null, ALL[name].points))}", soft_wrap=True)
    whys = reasons(scored[0])
    missing = {name: whys.get(name, UNSTABLE) for name, one in found.items() if one.value is None}
    for why in dict.fromkeys(missing.values()):
        names = ", ".join(name for name, reason in missing.items() if reason == why)
        screen.print(f"cannot be given: {names} ({printing.told(why)})", soft_wrap=True)
    if not scored[0].marks:
        known = "no intervals: one table" if len(scored[0].seeds) == 1 else "intervals over seeds alone: a table"
        screen.print(f"{known} of accuracies does not hold the noise of items; --predictions does", soft_wrap=True)
    printing.notes(screen, [f"note: {line}" for line in scored[0].notes])


def _written(one: Interval, points: bool) -> tuple[str, str]:
    """A value and its interval as they are printed: percent, or points with their sign."""
    if one.value is None:
        return "-", ""
    sign = "+" if points else ""
    value, low, high = (
        None if number is None else f"{round(100 * number, 2) + 0.0:{sign}.2f}"
        for number in (one.value, one.low, one.high)
    )
    return str(value), "" if low is None or high is None else f"[{low}, {high}]"


def _keep(
    screen: Console, scored: Scored, asked: Mapping[str, object], found: dict[str, Interval],
    decided: Sequence[Decided], path: Path | None,
) -> None:  # fmt: skip
    """Write the evidence, where it is wanted."""
    if path is None:
        return
    from harness.command.printing import told
    from harness.scoring.evidence import evidence
    from harness.store import disk

    with disk.refusing_disk_faults(path):
        content = json.dumps(evidence(scored, asked, found, decided), indent=2, ensure_ascii=True)
        disk.write(path, (content + "\n").encode())
    screen.print(f"evidence: {told(path, 4000)}", soft_wrap=True)


__all__ = ["score_command"]
