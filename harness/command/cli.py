"""The command line: flags in, one call of the library, a table out. Everything heavy is imported by the command itself.

Exit codes: 0; 2 for a mistake that the user can mend, with one line on standard error; 130 for Ctrl-C; 1, with its
traceback, for a fault of ours, or of a plugin, which is then named.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import registry
from harness.command.board import leaderboard_command
from harness.command.claims import claims_command
from harness.command.compare import compare_command
from harness.command.data import data_app
from harness.command.export import export_command
from harness.command.figures import figures_command
from harness.command.flags import (
    LIMITS,
    RESULTS,
    RUNS,
    SEEDS,
    DataFlag,
    LimitFlag,
    ModelFlag,
    OutFlag,
    ParadigmFlag,
    PluginFlag,
    ReportToFlag,
    ResultsFlag,
    RunName,
    ScaleFlag,
    ScorerFlag,
    SeedFlag,
    SkipFlag,
    SomeStreamFlag,
    SplitFlag,
    StreamFlag,
    SuitesFlag,
    UntilFlag,
    asked_items,
    between,
    stream_of,
)  # fmt: skip
from harness.command.metrics import metrics_command
from harness.command.planning import plan_command
from harness.command.report import report_command
from harness.command.score import score_command
from harness.command.shell import ENVIRONMENT, blamed, one_line, outputs, refusal, settle, traced, unsaid
from harness.command.submit import submit_command
from harness.command.sweep import sweep_command
from harness.command.watch import watch_command
from harness.core import Paradigm, Run, Scale, UserError, slug
from harness.scales import with_model
from harness.values import cut

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Does reinforcement fine-tuning forget less than supervised fine-tuning? Run a stream of tasks and see.",
)
runs_app = typer.Typer(no_args_is_help=True, help="Look at stored runs, and free their disk space.")
app.add_typer(runs_app, name="runs")
app.add_typer(data_app, name="data")
app.command("export")(export_command)
app.command("plan")(plan_command)
app.command("compare")(compare_command)
app.command("figures")(figures_command)
app.command("metrics")(metrics_command)
app.command("score")(score_command)
app.command("submit")(submit_command)
app.command("leaderboard")(leaderboard_command)
app.command("claims")(claims_command)
app.command("sweep")(sweep_command)
app.command("report")(report_command)
app.command("watch")(watch_command)


def request(
    paradigm: str, seq: str, scale: str, seed: int, limit: int | None, data: Path | None, split: str,
    plugins: list[Path] | None, suites: str = "native", model: str | None = None,
) -> Run:  # fmt: skip
    """The Run that the flags ask for; UserError with one line for a flag that cannot be."""
    between("--seed", seed, 0, SEEDS)
    asked_items(limit, data, split)
    registry.load_plugins(tuple(plugins or ()))
    stream = stream_of(seq, suites, split)
    return Run(
        paradigm=registry.typed(Paradigm, paradigm),
        stream=stream,
        scale=with_model(registry.typed(Scale, scale), model),
        seed=seed,
        limit=limit,
        split=split,
        data=None if data is None else str(data.resolve()),
    )


@app.command("run")
def run_command(
    paradigm: ParadigmFlag,
    seq: StreamFlag,
    scale: ScaleFlag = "twin",
    model: ModelFlag = None,
    seed: SeedFlag = 0,
    limit: LimitFlag = None,
    out: OutFlag = RUNS,
    data: DataFlag = None,
    split: SplitFlag = "test",
    skip_broken: SkipFlag = 0,
    suites: SuitesFlag = "native",
    until: UntilFlag = "",
    report_to: ReportToFlag = None,
    plugin: PluginFlag = None,
) -> None:
    """Train a paradigm through a stream and evaluate all tasks and suites after every stage.

    The same command continues a run that was interrupted.
    """
    asked = request(paradigm, seq, scale, seed, limit, data, split, plugin, suites, model)
    between("--skip-broken", skip_broken, 0, LIMITS)
    settle(scale)
    from harness.broken_items import settled
    from harness.command import check, plan, printing
    from harness.command.progress import Display
    from harness.results import published

    if report_to is not None:
        check.reporter(report_to)
    check.fit_versions()
    check.writable(out)
    check.model(asked.scale)
    check.memory(asked.scale, (asked.paradigm,), asked.data is not None)
    if skip_broken:
        asked = settled(asked, skip_broken, print)
    planned = plan.of(asked, out)
    check.room(out, planned.disk_bytes)
    console = printing.console()
    console.print(printing.plan_line(planned), soft_wrap=True)
    from harness.runner import run
    from harness.store.record import read_record

    with Display(planned) as display:
        done = run(asked, out, display, until=until, report_to=report_to or "")
    if read_record(done.folder).finished:
        printing.finished(console, published.read_run(done.folder), done.folder, publishable(asked))
    else:
        console.print(f"run {done.id} is done up to {printing.told(until)}: without --until the same command goes on")


def publishable(asked: Run) -> bool:
    """Whether a run may stand beside whole runs: all items of the test split."""
    return asked.limit is None and asked.split == "test"


@app.command("list")
def list_command(plugin: PluginFlag = None) -> None:
    """Name the tasks, streams, paradigms and scales."""
    from harness.command import printing

    registry.load_plugins(tuple(plugin or ()))
    printing.nouns(printing.console())


@app.command("check")
def check_command(
    seq: SomeStreamFlag = "default",
    scale: ScaleFlag = "twin",
    model: ModelFlag = None,
    out: OutFlag = RUNS,
    data: DataFlag = None,
    skip_broken: SkipFlag = 0,
    suites: SuitesFlag = "native",
    plugin: PluginFlag = None,
) -> None:
    """Look whether this machine is ready: versions, disk, permissions, model and data."""
    from harness.command import check, printing

    registry.load_plugins(tuple(plugin or ()))
    between("--skip-broken", skip_broken, 0, LIMITS)
    settle(scale)
    stream, size = stream_of(seq, suites), with_model(registry.typed(Scale, scale), model)
    findings = check.environment(out, size, stream, data, skip_broken) + check.laws(registry.plugins())
    printing.findings(printing.console(), [finding for finding in findings if finding.well])
    for finding in findings:
        if not finding.well:
            print(f"error: {finding.what}: {finding.line}", file=sys.stderr)
    if not all(finding.well for finding in findings):
        raise typer.Exit(2)


@app.command("publish")
def publish_command(
    run: RunName, out: OutFlag = RUNS, results: ResultsFlag = RESULTS, data: DataFlag = None, plugin: PluginFlag = None
) -> None:
    """Put a finished run's cells, replies and marks into results/ and rebuild the leaderboard."""
    from harness.results.leaderboard import rebuild_all
    from harness.results.publish import publish
    from harness.store.checkpoints import Store
    from harness.store.housekeeping import run_folder

    registry.load_plugins(tuple(plugin or ()))
    store = Store(out)
    print(f"published in {publish(store, run_folder(store, slug(run)), results, data)}: see `harness leaderboard`")
    for line in rebuild_all(results):
        print(f"note: {line}", file=sys.stderr)


@app.command("remark")
def remark_command(
    run: RunName, scorer: ScorerFlag = "", out: OutFlag = RUNS, data: DataFlag = None, plugin: PluginFlag = None
) -> None:
    """Mark a run's stored replies again, without a model: after a scorer's change, or by a second scorer beside it."""
    from harness.command import printing
    from harness.results import published
    from harness.results.remark import remark
    from harness.store.checkpoints import Store
    from harness.store.housekeeping import run_folder

    registry.load_plugins(tuple(plugin or ()))
    folder = run_folder(Store(out), slug(run))
    changed, cells = remark(folder, data, scorer and slug(scorer))
    if scorer:
        printing.result(printing.console(), published.read_run(folder, scorer))
        print(f"marked {cells} cells of {folder.name} by {scorer}: see {published.table_of(published.CELLS, scorer)}")
    else:
        print(f"marked {cells} cells of {folder.name} again: {changed} of them changed")


@runs_app.command("list")
def runs_list(out: OutFlag = RUNS) -> None:
    """The stored runs: how far they are and what they hold on disk."""
    from harness.command import printing
    from harness.store.checkpoints import Store
    from harness.store.housekeeping import list_runs

    printing.runs(printing.console(), *list_runs(Store(out)))


@runs_app.command("show")
def runs_show(
    run: RunName,
    scorer: ScorerFlag = "",
    details: Annotated[bool, typer.Option("--details", help="The parts of its cells instead.")] = False,
    out: OutFlag = RUNS,
) -> None:
    """One run: its accuracy matrix and its metrics, or the parts of its cells."""
    from harness.command import printing
    from harness.results import published
    from harness.store.checkpoints import Store
    from harness.store.housekeeping import run_folder

    folder = run_folder(Store(out), slug(run))
    if details:
        printing.details(printing.console(), published.read_parts(folder, scorer))
    else:
        printing.result(printing.console(), published.read_run(folder, scorer))
    print(f"files: {folder}")


@runs_app.command("rm")
def runs_rm(run: RunName, out: OutFlag = RUNS) -> None:
    """Remove a run's folder; its checkpoints stay until `harness runs gc`."""
    from harness.command import check
    from harness.store.checkpoints import Store
    from harness.store.housekeeping import remove_run

    freed = remove_run(Store(out), slug(run))
    print(f"removed {run} ({check.in_words(freed)}): `harness runs gc` frees the checkpoints that no run needs")


@runs_app.command("gc")
def runs_gc(
    budget: Annotated[str, typer.Option("--budget", help="What the store may hold, such as 2GB.", show_default=False)],
    out: OutFlag = RUNS,
) -> None:
    """Remove checkpoints until the store is within the budget: unused ones first, then those of finished runs."""
    from harness.command import check, printing
    from harness.store.checkpoints import Store
    from harness.store.housekeeping import collect_garbage

    removed, strangers = collect_garbage(Store(out), parse_size(budget))
    printing.notes(printing.console(), strangers)
    for name, size in removed:
        print(f"removed {name} ({check.in_words(size)})")
    print(f"freed {check.in_words(sum(size for _, size in removed))}")


def parse_size(text: str) -> int:
    """A number of bytes from text such as "2GB"; UserError where it is none.

    >>> parse_size("2GB"), parse_size("500 mb"), parse_size("0")
    (2000000000, 500000000, 0)
    """
    import re

    match = re.fullmatch(r"(\d{1,15})\s*(|k|m|g|t)b?", text.strip().lower())
    if match is None:
        raise UserError(f"{text!r} is no size: write a number with kB, MB, GB or TB, such as 2GB")
    power = ("", "k", "m", "g", "t").index(match[2])
    return int(match[1]) * int(1000**power)


def main(arguments: list[str] | None = None) -> None:
    """The ``harness`` command."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with outputs() as output:
        code, line = _ended(arguments)
        if not line and (line := unsaid(output)):
            code = 2
        if line:
            print(line if code in (1, 130) else f"error: {line}", file=sys.stderr)
    sys.exit(code)


def _ended(arguments: list[str] | None) -> tuple[int, str]:
    """Do the command; its exit code, and what to say on standard error."""
    try:
        code: Any = app(args=arguments, prog_name="harness", standalone_mode=False)
    except UserError as error:
        return 2, one_line(error)
    except typer.TyperException as error:  # a flag that typer itself refused; without any, the help was shown
        said = " ".join(error.format_message().split())
        return 2, f"{cut(said, 500)} (`harness --help` explains)" if said else ""
    except SystemExit as left:
        whose = ", ".join(blamed(left)) or "a library"
        return 2, f"{whose} ended the program (sys.exit({cut(repr(left.code), 40)})) before the work was done: mend it"
    except KeyboardInterrupt:
        code = 130
    except Exception as fault:
        line = "" if blamed(fault) else refusal(fault)
        return (2, line) if line else (1, traced(fault))
    if code == 130:
        return 130, "stopped: the same command continues where this one was"
    return (code if isinstance(code, int) else 0), ""


if __name__ == "__main__":
    main()
