"""Speed and memory in one run, as ratios where that is possible: ``python -m benchmarks.speed``.

The training of the harness beside the bare TRL trainer, batched beside one-by-one evaluation, whole commands beside an
interpreter that imports their two libraries, and whole runs. benchmarks/README.md says what is wanted.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # where it is started as a file, its own folder stands there

from benchmarks.bare import Bare, is_grpo  # noqa: E402
from harness.command.shell import ENVIRONMENT, set_threads  # noqa: E402
from harness.core import Job, Paradigm, Progress, Scale, Stage, Task, Trained, UserError, replace  # noqa: E402
from harness.scales import TWIN, model_folder  # noqa: E402
from harness.store import disk  # noqa: E402

MOST_OVER_BARE = {"sft": 1.10, "grpo": 0.50}
MOST_OVER_ONE_BY_ONE = 1.0
MOST_COMMAND_SECONDS = 0.5
MOST_RUN_GB = 3.0
LIMIT = 8
MOST_LIMITED_SECONDS = 40.0
MOST_FULL_SECONDS = {"sft": 120.0, "rft": 360.0}
COMMANDS = {"--help": (0,), "list": (0,), "leaderboard": (0, 2)}  # 2: nothing is published, said at once too
LIGHT = ("-c", "import typer, rich")
RATIO, SECONDS, GIGABYTES = "x", "s", "GB"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report; ``most`` is the wanted upper bound in the same unit, None where there is none."""

    item: str
    what: str
    value: float
    unit: str
    most: float | None = None
    detail: str = ""

    @property
    def kept(self) -> bool | None:
        """Whether the bound is kept; None where there is none."""
        return None if self.most is None else self.value <= self.most


@dataclass(frozen=True, kw_only=True)
class Times:
    """Wall and processor seconds of paired repetitions: ``ours[n]`` ran just before ``theirs[n]``."""

    ours: tuple[tuple[float, float], ...]
    theirs: tuple[tuple[float, float], ...]

    def ratio(self, clock: int = 0) -> float:
        """The median over pairs of ours / theirs: what slows the machine down for a while slows down both."""
        return median(one[clock] / other[clock] for one, other in zip(self.ours, self.theirs, strict=True))

    def detail(self) -> str:
        """The medians behind the ratio, and the same ratio in processor time, which other processes disturb less."""
        ours, theirs = (median(wall for wall, _ in times) for times in (self.ours, self.theirs))
        return f"{ours:.2f} s / {theirs:.2f} s, median of {len(self.ours)} pairs; {self.ratio(1):.3f} in CPU time"


def paired(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int) -> Times:
    """Time both by turns, A B A B, with the garbage of each collected outside its time."""
    times: tuple[list[tuple[float, float]], ...] = ([], [])
    for _ in range(pairs):
        for work, seconds in zip((ours, theirs), times, strict=True):
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
    return Times(ours=tuple(times[0]), theirs=tuple(times[1]))


# Training: the same steps in the harness and in the bare trainer


def job_of(paradigm: Paradigm, scale: Scale, task: Task, steps: int, folder: Path) -> Job:
    """A stage of about ``steps`` optimiser steps (of whole rollout batches for GRPO), from the scale's model."""
    per_step = scale.sft_batch
    if is_grpo(paradigm):
        updates = min(steps, scale.updates_per_rollout_batch)
        steps, per_step = -(-steps // updates) * updates, scale.prompts_per_update
    base = model_folder(scale)
    return Job(
        paradigm=paradigm,
        scale=scale,
        stage=Stage(name=task.name, tasks=(task.name,)),
        examples=tuple((task, example) for example in task.load("train", steps * per_step)),
        epochs={task.name: 1},
        model=base,
        reference=base if paradigm.kl else None,
        seed=0,
        folder=folder,
    )


def learn_held(job: Job) -> Trained:
    """Learn as the runner does, its watch included."""
    from harness.listener import Watch
    from harness.training.launch import train

    job.folder.mkdir(parents=True, exist_ok=True)
    watch = Watch(job.folder)

    def report(progress: Progress) -> None:
        watch.tick("seconds")
        job.report(progress)

    return train(replace(job, report=report))


def training(name: str, scale: Scale, steps: int, pairs: int, work: Path) -> Iterator[Finding]:
    """One finding: CPU seconds of a stage in the harness over the bare trainer's; both load and write the model."""
    from baselines.rft import RFT
    from baselines.sft import SFT
    from tasks.gqa import GQA  # every item has exactly one picture, which the bare GRPO trainer wants

    job = job_of({"sft": SFT, "grpo": RFT}[name], scale, GQA, steps, work / "held")
    bare = Bare(job)
    fresh = (work / f"{name}-{n}" for n in range(10**9))
    made: dict[str, Path] = {}

    def ours() -> None:
        made["held"] = learn_held(replace(job, folder=next(fresh))).weights

    def theirs() -> None:
        made["bare"] = next(fresh)
        bare.learn(made["bare"])

    paired(ours, theirs, 1)  # the first pair loads libraries
    times = paired(ours, theirs, pairs)
    apart = distance(made["held"], made["bare"]) / distance(made["held"], job.model)
    same = "the same weights" if apart == 0 else f"weights apart by {apart:.1g} of what they moved"
    yield Finding(
        item=name,
        what=f"{name}: {bare.steps} steps in the harness / bare TRL",
        value=times.ratio(1),
        unit=RATIO,
        most=MOST_OVER_BARE[name],
        detail=f"{times.detail()}; {same}",
    )


def distance(one: Path, other: Path) -> float:
    """The Euclidean distance of the weights of two folders."""
    from safetensors.torch import load_file

    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    return float(sum(float((ours[name] - theirs[name]).square().sum()) for name in ours) ** 0.5)


# Evaluation: the same items in batches and one by one


def evaluation(scale: Scale, items: int, pairs: int) -> Iterator[Finding]:
    """One finding for each style: seconds of a cell in batches over those of the same cell one item at a time."""
    from harness.asking.engines.transformers import TransformersEngine
    from harness.asking.evaluate import replies_of
    from harness.asking.styles import STYLES
    from tasks.gqa import GQA

    sizes = (scale.eval_batch, 1)
    engines = {size: TransformersEngine(model_folder(scale), replace(scale, eval_batch=size)) for size in sizes}
    examples = GQA.load("test", items)
    for style in STYLES:
        rows: dict[int, Any] = {}
        texts = [style.ask(GQA, example) for example in examples]

        def ask(batch: int, style: Any = style, rows: dict[int, Any] = rows, texts: list[str] = texts) -> None:
            rows[batch] = replies_of(engines[batch], examples, texts, scale.decodings[style.name], batch)

        ask(scale.eval_batch)
        times = paired(lambda ask=ask: ask(scale.eval_batch), lambda ask=ask: ask(1), pairs)  # type: ignore[misc]
        same = sum(one.text == other.text for one, other in zip(rows[scale.eval_batch], rows[1], strict=True))
        yield Finding(
            item="evaluation",
            what=f"{style.name}: {items} items in batches of {min(items, scale.eval_batch)} / one by one",
            value=times.ratio(),
            unit=RATIO,
            most=MOST_OVER_ONE_BY_ONE,
            detail=f"{times.detail()}; {same} of {items} replies equal",
        )


# Whole processes


def harness_command() -> list[str]:
    """The installed ``harness`` command of this interpreter, or its module where it is not installed."""
    script = Path(sys.executable).parent / "harness"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "harness.command.cli"]


def whole_process(command: Sequence[str], codes: Sequence[int] = (0,), **environment: str) -> tuple[float, float]:
    """Wall seconds and peak resident GB of a process and its own children (the largest of them, not the sum).

    Linux hands a parent's peak on to the child, so this process must itself be small: it measures other processes
    before it loads a model. Raises UserError where the command ends with none of the exit ``codes``.
    """
    with tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        with subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=said
        ) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begun
        if process.returncode not in codes:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise UserError(f"`{' '.join(command)}` ended with {process.returncode} ({last}): mend that first")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def commands(times: int, work: Path) -> Iterator[Finding]:
    """Two findings for each light command: median seconds of whole processes, and over two bare imports."""
    # Compiled files are kept, as after an installation, but in the work folder: the project's own stays as it is.
    compiled = {"PYTHONPYCACHEPREFIX": str(work / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    asked = {name: ([*harness_command(), name], codes) for name, codes in COMMANDS.items()}
    asked["light"] = ([sys.executable, *LIGHT], (0,))
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(times + 1):
        for name, (command, codes) in asked.items():
            seconds[name].append(whole_process(command, codes, **compiled)[0])
    light = median(seconds["light"][1:])  # the first of each compiles
    for name in COMMANDS:
        middle, spread = median(seconds[name][1:]), f"{min(seconds[name][1:]):.2f} to {max(seconds[name][1:]):.2f} s"
        what = f"harness {name}"
        yield Finding(item="commands", what=what, value=middle, unit=SECONDS, most=MOST_COMMAND_SECONDS, detail=spread)
        imports = f"{what} / python {LIGHT[0]} '{LIGHT[1]}'"
        yield Finding(item="commands", what=imports, value=middle / light, unit=RATIO, detail=f"/ {light:.2f} s")


def runs(full: bool, work: Path) -> Iterator[Finding]:
    """Two findings for each whole run: wall seconds and peak memory."""
    for paradigm, most_full in MOST_FULL_SECONDS.items():
        for whole in (False, True) if full else (False,):
            asked = ["run", "--paradigm", paradigm, "--seq", "default", *([] if whole else ["--limit", str(LIMIT)])]
            out = work / f"{paradigm}-{whole}"
            seconds, peak = whole_process([*harness_command(), *asked, "--out", str(out)])
            most, what = most_full if whole else MOST_LIMITED_SECONDS, f"harness {' '.join(asked)}"
            yield Finding(item="run", what=what, value=seconds, unit=SECONDS, most=most)
            yield Finding(item="run", what=f"{what}: peak memory", value=peak, unit=GIGABYTES, most=MOST_RUN_GB)


# The report


def machine() -> dict[str, Any]:
    """What was measured on, and how busy it was: with more work than cores all seconds grow, and mean little."""
    libraries = {name: version(name) for name in ("torch", "transformers", "trl")}
    load = round(os.getloadavg()[0], 2)
    cores, threads = os.cpu_count(), os.environ.get("OMP_NUM_THREADS", "unset")
    return {"cores": cores, "threads": threads, "load": load, "python": platform.python_version(), **libraries}


def line(finding: Finding) -> str:
    """A finding as a row of a Markdown table."""
    wanted = "" if finding.most is None else f"<= {finding.most:g} {finding.unit}"
    kept = {None: "", True: "yes", False: "NO"}[finding.kept]
    return f"| {finding.what} | {finding.value:.3g} {finding.unit} | {wanted} | {kept} | {finding.detail} |"


def findings(wanted: argparse.Namespace, work: Path) -> Iterator[Finding]:
    """The findings of the wanted items, as they come."""
    scale = TWIN if wanted.model is None else replace(TWIN, model=str(wanted.model))
    # Whole processes first, while this one is small: see whole_process.
    items: dict[str, Callable[[], Iterator[Finding]]] = {
        "commands": lambda: commands(wanted.times, work),
        "run": lambda: runs(wanted.full, work),
        "sft": lambda: training("sft", scale, wanted.steps, wanted.pairs, work),
        "grpo": lambda: training("grpo", scale, wanted.steps, wanted.pairs, work),
        "evaluation": lambda: evaluation(scale, wanted.items, wanted.pairs),
    }
    for name in ITEMS:
        if name in (wanted.only or ITEMS):
            yield from items[name]()


ITEMS = ("commands", "run", "sft", "grpo", "evaluation")


def natural(text: str) -> int:
    """A count from a flag: 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few: use 1 or more")
    return number


def flags() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(description="Measure speed and memory, as ratios where that is possible.")
    parser.add_argument("--only", choices=ITEMS, action="append", help="measure this item alone; repeatable")
    parser.add_argument("--steps", type=natural, default=32, help="optimiser steps of a timed training (32)")
    parser.add_argument("--pairs", type=natural, default=3, help="repetitions of training and evaluation (3)")
    parser.add_argument("--times", type=natural, default=5, help="repetitions of a light command (5)")
    parser.add_argument("--items", type=natural, default=64, help="items of a timed evaluation (64)")
    parser.add_argument("--full", action="store_true", help="also the full runs of sft and rft: about 20 minutes")
    parser.add_argument("--model", type=Path, help="a model folder for training and evaluation (the twin base)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the findings to FILE")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a Markdown table line by line, and write the JSON; exit code 2 for what the user can mend."""
    parser = flags()
    wanted = parser.parse_args(arguments)
    if wanted.json is not None and (wanted.json.is_dir() or not wanted.json.parent.is_dir()):
        parser.error(f"--json {wanted.json} cannot be written: give a file in a folder that exists")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    set_threads(TWIN.name)
    found: list[Finding] = []
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()) + "\n")
    print("| measured | value | wanted | kept | how |\n|---|---|---|---|---|", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="speed-") as work:
            for finding in findings(wanted, Path(work)):
                print(line(finding), flush=True)
                found.append(finding)
                if wanted.json is not None:
                    content = [{**asdict(one), "kept": one.kept} for one in found]
                    disk.write(wanted.json, json.dumps({"machine": about, "findings": content}, indent=1).encode())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
