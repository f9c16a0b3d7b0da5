"""The command line: every mistake of a user's ends in one line and exit code 2, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import registry
from harness.command import check, cli, plan, printing, progress
from harness.core import Cell, Paradigm, Progress, Run, Scale, Stream, UserError, replace
from harness.results.matrix import from_rows
from harness.run_inputs import run_id
from harness.scales import TWIN, model_folder

ROOT = Path(__file__).resolve().parent.parent
RUN = ["run", "--paradigm", "rft", "--seq", "default"]


@pytest.fixture
def harness(capsys, tmp_path, monkeypatch):
    """Runs the command in this process, in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_plugins", {})

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main(list(arguments))
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    yield call
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


def refused(answer: tuple[int, str, str], *words: str) -> None:
    code, out, err = answer
    assert code == 2, err
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


BAD = {
    "paradigm": (["--paradigm", "rtf"], ["unknown paradigm 'rtf'", "did you mean rft?"]),
    "paradigm with ..": (["--paradigm", "../rft"], ["unknown paradigm '../rft'"]),
    "stream": (["--seq", "defualt"], ["unknown stream 'defualt'", "did you mean default?"]),
    "stream with ..": (["--seq", "../../default"], ["unknown stream"]),
    "scale": (["--scale", "twins"], ["unknown scale 'twins'", "did you mean twin?"]),
    "negative seed": (["--seed", "-1"], ["--seed -1 is out of range"]),
    "huge seed": (["--seed", str(2**31)], ["is out of range", str(2**31 - 1)]),
    "absurd seed": (["--seed", "9" * 40], ["is out of range"]),
    "word for a seed": (["--seed", "one"], ["--seed"]),
    "fraction for a limit": (["--limit", "1.5"], ["--limit"]),
    "zero limit": (["--limit", "0"], ["--limit 0 is out of range"]),
    "negative limit": (["--limit", "-8"], ["--limit -8 is out of range"]),
    "huge limit": (["--limit", "1000001"], ["--limit 1000001 is out of range"]),
    "split": (["--split", "tset"], ["--split tset is unknown"]),
    "split for learning": (["--split", "train"], ["--split train is for learning"]),
    "data": (["--data", "nowhere"], ["--data nowhere is no folder"]),
    "plugin": (["--plugin", "nowhere.py"], ["nowhere.py is no Python file"]),
    "flag": (["--rate", "3"], ["--rate"]),
    "argument": (["surplus"], ["surplus"]),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_flag_is_one_line_and_leaves_nothing(harness, tmp_path, command, bad):
    flags, words = BAD[bad]
    refused(harness(command, *RUN[1:], *flags), *words)
    assert list(tmp_path.iterdir()) == []


def test_missing_flags_and_unknown_commands(harness):
    refused(harness("run", "--seq", "default"), "--paradigm")
    refused(harness("run", "--paradigm", "rft"), "--seq")
    refused(harness("rnu"), "rnu")


def test_without_arguments_the_help_is_shown(harness):
    _, out, err = harness()
    assert "leaderboard" in out + err


def test_out_is_a_file(harness, tmp_path):
    (tmp_path / "runs").write_text("mine")
    refused(harness(*RUN), "is a file, not a folder")
    refused(harness(*RUN, "--out", "runs/deeper"), "is a file, not a folder")
    assert (tmp_path / "runs").read_text() == "mine"


def test_out_cannot_be_written(harness, monkeypatch, tmp_path):
    def denied(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(check.tempfile, "NamedTemporaryFile", denied)
    refused(harness(*RUN), "cannot be written (Permission denied)")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_before_anything_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(check.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**6}))
    with pytest.raises(UserError, match=r"1\.0 MB free, but about 2\.0 MB are needed"):
        check.room(tmp_path / "runs" / "deep", 2 * 10**6)
    assert check.room(tmp_path, 10**6) == "1.0 MB free"


def test_a_model_folder_without_weights(harness, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "mine.py").write_text(
        "from harness.core import replace\nfrom harness.scales import TWIN\n"
        f"EMPTY = replace(TWIN, name='empty', model={str(tmp_path / 'model')!r})\n"
    )
    flags = ["--plugin", "mine.py", "--scale", "empty"]
    refused(harness(*RUN, *flags), "lacks config.json or *.safetensors")
    (tmp_path / "model" / "model.safetensors").touch()
    refused(harness(*RUN, *flags), "only empty weights")
    assert not (tmp_path / "runs").exists()


def test_a_model_that_is_damaged_or_too_large_to_train_is_refused(harness, monkeypatch, tmp_path):
    monkeypatch.setattr("harness.runner.run", None)  # where it is not refused, nothing is trained in vain
    monkeypatch.setattr(check, "_device_memory", lambda: ("the GPU", 31 * 10**6))
    refused(harness(*RUN), "takes 31.7 MB, the GPU has 31.0 MB: use a larger device or a smaller model")
    monkeypatch.setattr(check, "_device_memory", lambda: ("the GPU", 32 * 10**6))
    shutil.copytree(model_folder(TWIN), tmp_path / "model")
    assert "31.7 MB for training" in check.memory(replace(TWIN, model=str(tmp_path / "model")))
    os.truncate(tmp_path / "model" / "model.safetensors", 10**6)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        check.memory(replace(TWIN, model=str(tmp_path / "model")))
    assert not (tmp_path / "runs").exists()


def test_the_large_scale_says_where_its_model_must_come_from(harness):
    refused(harness(*RUN, "--scale", "qwen2.5-vl-7b", "--limit", "4"), "Qwen2.5-VL-7B-Instruct is not on this machine")


def test_names_of_runs(harness):
    for command in (["publish"], ["runs", "show"], ["runs", "rm"]):
        refused(harness(*command, "../../etc"), "'../../etc' is no name")
        refused(harness(*command, "rft-none"), "unknown run 'rft-none'")


def test_a_budget_is_a_size(harness):
    refused(harness("runs", "gc", "--budget", "-3"), "is no size")
    refused(harness("runs", "gc", "--budget", "much"), "is no size")
    assert harness("runs", "gc", "--budget", "1GB")[:2] == (0, "freed 0 B\n")


def test_leaderboard_and_figures_without_results(harness):
    refused(harness("leaderboard", "--results", "nowhere"), "publish a finished run first")
    refused(harness("figures", "no-such-figure"), "unknown figure 'no-such-figure'")


def test_list_names_everything(harness):
    code, out, _ = harness("list")
    assert code == 0
    for name in ("rft", "rif-rft", "rft-nokl", "rft-nocot", "mtl", "sft", "default", "gqa", "mmlu-pro", "twin"):
        assert f" {name} " in out


def test_an_empty_store_says_how_to_begin(harness):
    code, out, _ = harness("runs", "list")
    assert code == 0
    assert "harness run --paradigm rft --seq default" in out


def test_check_finds_this_machine_ready(harness):
    code, out, err = harness("check")
    assert (code, err) == (0, "")
    assert [line.split()[1] for line in out.splitlines()] == [
        "python", "packages", "threads", "device", "output", "disk", "model", "memory", "data",
    ]  # fmt: skip


def test_check_names_each_trouble_in_a_line(harness, tmp_path):
    (tmp_path / "runs").write_text("")
    (tmp_path / "data").mkdir()
    code, _, err = harness("check", "--data", "data")
    assert code == 2
    lines = err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["output", "data"]
    assert all(line.startswith("error: ") for line in lines)


def asked(paradigm: str = "rft", **changes) -> Run:
    return Run(
        paradigm=registry.typed(Paradigm, paradigm),
        stream=registry.typed(Stream, "default"),
        scale=registry.typed(Scale, "twin"),
        **changes,
    )


def test_a_plan_counts_what_the_learners_do(tmp_path):
    scale = asked().scale
    sft, rft, rif = (plan.of(asked(name), tmp_path) for name in ("sft", "rft", "rif-rft"))
    assert [stage.name for stage in rft.stages] == list(asked().stream.tasks)
    first = asked().stream.tasks[0]
    shown = scale.train_items // asked().stream.epochs[first] * asked().stream.epochs[first]
    assert sft.stages[0].optimiser_steps == -(-shown // scale.sft_batch)
    assert rft.stages[0].rollouts == rft.stages[0].optimiser_steps * scale.prompts_per_update * scale.rollouts
    assert rft.stages[0].rollouts >= shown * scale.rollouts
    assert rif.rollouts > rft.rollouts
    assert sft.rollouts == 0
    assert rft.cells == 8 * 10 * 2
    assert rft.cell_items <= scale.test_items
    assert plan.of(asked("mtl"), tmp_path).cells == 2 * 10 * 2


def test_a_plan_counts_the_style_that_a_paradigm_brings_along(tmp_path):
    usual = asked("sft")
    scale = replace(usual.scale, decodings={**usual.scale.decodings, "own": usual.scale.decodings["direct"]})
    own = replace(usual, scale=scale, paradigm=replace(usual.paradigm, style=replace(usual.paradigm.style, name="own")))
    assert plan.of(own, tmp_path).cells == 8 * 10 * 3
    assert plan.of(own, tmp_path).evaluation_seconds > plan.of(usual, tmp_path).evaluation_seconds


def test_a_plan_for_few_items(tmp_path):
    few = plan.of(asked(limit=4), tmp_path)
    assert few.cell_items == 4
    assert [stage.items for stage in few.stages] == [4 * epochs for epochs in asked().stream.epochs.values()]
    assert few.stages[0].optimiser_steps == 1
    assert few.seconds < plan.of(asked(), tmp_path).seconds
    assert any("cannot be published" in note for note in few.notes)


def test_a_plan_prices_by_earlier_runs(tmp_path):
    folder = tmp_path / "earlier"
    folder.mkdir()
    (folder / "run.json").write_text(
        '{"run": {"scale": {"name": "twin"}, "paradigm": {"learn": "baselines.sft.learn_sft"}}}'
    )
    (folder / "costs.json").write_text(
        '{"stages": {"1": {"optimiser_steps": 20, "seconds": 40.0}, "2": {"optimiser_steps": 1, "seconds": 9.0}}}'
    )
    units = plan.units_of(asked("sft"), tmp_path)
    assert units.step["sft"] == 2.0
    assert units.step["grpo"] == plan.TWIN_UNITS.step["grpo"]
    (folder / "costs.json").write_text("half a fi")
    assert plan.units_of(asked("sft"), tmp_path) == plan.TWIN_UNITS


def test_a_plan_counts_what_the_run_has_done_before(tmp_path):
    fresh, folder = plan.of(asked("mtl"), tmp_path), tmp_path / run_id(asked("mtl"))
    (folder / "rows").mkdir(parents=True)
    for n in range(10):
        (folder / "rows" / f"{n}.parquet").touch()
    half = plan.of(asked("mtl"), tmp_path)
    assert half.evaluation_left == fresh.evaluation_seconds * (1 - 10 / 40)
    assert half.wall_seconds == pytest.approx(fresh.wall_seconds - fresh.evaluation_seconds / 4)
    (folder / "run.json").write_text('{"finished": false, "stages": [{"name": "joint", "key": "k"}]}')
    assert not plan.of(asked("mtl"), tmp_path).stages[0].stored
    (folder / "run.json").write_text('{"finished": true, "stages": [{"name": "joint", "key": "k"}]}')
    assert plan.of(asked("mtl"), tmp_path).stages[0].stored, "a finished run is served without its checkpoints"


def test_plan_prints_every_stage(harness):
    code, out, _ = harness("plan", "--paradigm", "rft", "--seq", "default")
    assert code == 0
    for task in asked().stream.tasks:
        assert task in out
    assert "rft on default, scale twin, seed 0" in out


def cell(**changes) -> Cell:
    values = dict(
        run="r", stage=0, stage_name="base", task="gqa", style="cot", decoding="greedy-32", scorer="s", n=4, score=0.5,
        malformed=0.0, truncated=0.0, weights="w", data="d",
    )  # fmt: skip
    return Cell(**values | changes)


def test_progress_in_plain_lines(tmp_path, capsys):
    planned = plan.of(asked(limit=4), tmp_path)
    with progress.Display(planned, stream=sys.stderr) as display:
        display.stage(1, 7, "scienceqa")
        for step in range(1, 5):
            display.progress(Progress(step=step, steps=4, reward=step / 4))
        display.cell(cell(), 160, 160)
        display.note("stage gqa is in the store")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("stage 1/7 scienceqa")
    assert "step 4/4 reward 1.000" in lines[1]
    assert "cell 160/160 gqa cot 50.0%" in lines[2]
    assert lines[3].startswith("stage gqa is in the store")
    assert len(lines) == 4


def test_time_left_is_what_is_not_done_at_the_measured_speed(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    planned = plan.of(asked(), tmp_path)
    clock = progress.Clock(planned)
    assert clock.left() is None
    now = 2 * planned.evaluation_seconds / 8
    for _ in range(planned.cells // 8):
        clock.cell()
        clock._heard = -1.0
    assert clock.left() == pytest.approx(2 * (planned.seconds - planned.evaluation_seconds / 8), rel=0.05)


def test_numbers_are_printed_in_percent(capsys):
    a = from_rows([[0.25, 0.5], [0.75, None], [0.5, 1.0]], style="cot")
    screen = printing.console()
    printing.matrix(screen, a, "title")
    printing.metrics(screen, a, [replace(a, style="direct")])
    out = capsys.readouterr().out
    assert "75.0" in out
    assert "nan" not in out.lower()
    row = next(line for line in out.splitlines() if line.startswith("average_accuracy") or " average_accuracy" in line)
    assert row.count("75.0") == 2
    assert "-25.0" in next(line for line in out.splitlines() if "backward_transfer" in line)
    assert "direct style" in out
    assert "mean_{j=1..T} A[j,j]" in out


def test_a_fault_of_ours_keeps_its_traceback_and_exits_with_1(tmp_path):
    (tmp_path / "boom.py").write_text(
        "from harness.core import Stream\nimport harness.command.printing\n"
        "def nouns(screen):\n    raise RuntimeError('ours')\n"
        "harness.command.printing.nouns = nouns\nS = Stream(name='s', tasks=('gqa',), epochs={'gqa': 1}, general=())\n"
    )
    process = start(["list", "--plugin", str(tmp_path / "boom.py")])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.startswith("Traceback")
    assert err.rstrip().endswith("RuntimeError: ours")


def start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness.command.cli", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_says_that_the_same_command_continues(tmp_path):
    (tmp_path / "slow.py").write_text(
        "from harness.core import Stream\nimport harness.command.printing, pathlib, time\n"
        f"def nouns(screen):\n    pathlib.Path({str(tmp_path / 'began')!r}).touch()\n    time.sleep(60)\n"
        "harness.command.printing.nouns = nouns\nS = Stream(name='s', tasks=('gqa',), epochs={'gqa': 1}, general=())\n"
    )
    process = start(["list", "--plugin", str(tmp_path / "slow.py")])
    deadline = time.monotonic() + 120
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip() == "stopped: the same command continues where this one was"


def test_offline_unless_the_user_says_otherwise(monkeypatch, harness):
    for name in cli.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    harness("--help")
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert os.environ["TRANSFORMERS_OFFLINE"] == "1"
    assert os.environ["WANDB_MODE"] == "disabled"


def test_one_thread_on_a_small_machine_unless_chosen(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(cli.os, "cpu_count", lambda: 2)
    cli.set_threads("qwen2.5-vl-7b")
    assert "OMP_NUM_THREADS" not in os.environ
    cli.set_threads("twin")
    assert os.environ["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    cli.set_threads("twin")
    assert os.environ["OMP_NUM_THREADS"] == "4"
