"""The command line: every mistake of a user's ends in one line and exit code 2, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest

from harness import registry
from harness.budget import hardware
from harness.command import check, cli, printing
from harness.core import Stream, UserError, replace
from harness.results.matrix import from_rows
from harness.scales import TWIN, model_folder
from harness.store import environment
from tests.fake_runs import fake_run, registered

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
    assert err.rstrip("\n").isprintable()
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
    "paradigm of 256 letters": (["--paradigm", "a" * 256], ["unknown paradigm"]),
    "escapes in a name": (["--seq", "\x1b[2J\x1b]0;x\x07"], ["unknown stream"]),
    "markup in a name": (["--seq", "[red]default[/red]"], ["unknown stream"]),
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


@pytest.mark.parametrize("group", [[], ["runs"]])
def test_without_arguments_the_help_is_shown(harness, group):
    code, out, err = harness(*group)
    assert code in (0, 2)
    assert "list" in out
    assert err == ""


PLACES = {
    "a file": "is a file, not a folder",
    "a file/deeper": "is a file, not a folder",
    "a pipe": "is a file, not a folder",
    "a loop": "a symbolic link that leads nowhere",
    "a loop/deeper": "a loop of them",
    "a dangling link": "a symbolic link that leads nowhere",
    "n" * 256: "is too long for its disk",
}


def make_places(folder: Path) -> None:
    """What may stand where a folder is wanted."""
    (folder / "a file").write_text("mine")
    os.mkfifo(folder / "a pipe")
    (folder / "a loop").symlink_to("a loop")
    (folder / "a dangling link").symlink_to("nowhere")


@pytest.mark.parametrize("place", PLACES)
def test_out_is_no_folder(harness, tmp_path, place):
    make_places(tmp_path)
    before = sorted(tmp_path.iterdir())
    refused(harness(*RUN, "--out", place), PLACES[place])
    for command in (["runs", "list"], ["runs", "gc", "--budget", "0"], ["runs", "show", "x"], ["publish", "x"]):
        code, _, err = harness(*command, "--out", place)
        assert code in (0, 2)
        assert err.count("\n") == (code == 2), "one line at most"
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "a file").read_text() == "mine"


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
    card = replace(hardware.cpu(), memory=20 * 10**6)
    monkeypatch.setattr(hardware, "this_machine", lambda: hardware.Hardware(card=card, count=1, here=True))
    refused(harness(*RUN), "of memory at its peak, this machine has 20.0 MB: use larger cards")
    monkeypatch.undo()
    shutil.copytree(model_folder(TWIN), tmp_path / "model")
    scale = replace(TWIN, model=str(tmp_path / "model"))
    assert "at the peak of" in check.memory(scale)
    os.truncate(tmp_path / "model" / "model.safetensors", 10**6)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        check.memory(scale)
    assert not (tmp_path / "runs").exists()


def test_the_large_scale_says_where_its_model_must_come_from(harness):
    refused(harness(*RUN, "--scale", "qwen2.5-vl-7b", "--limit", "4"), "Qwen2.5-VL-7B-Instruct is not on this machine")


def test_names_of_runs(harness):
    for command in (["publish"], ["remark"], ["runs", "show"], ["runs", "rm"]):
        refused(harness(*command, "a" * 256), "is too long for a name")
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
    code, out, err = harness("check", "--seq", "o1")
    assert (code, err) == (0, "")
    on_a_gpu = ("driver", "nccl", "host")
    assert [what for line in out.splitlines() if (what := line.split()[1]) not in on_a_gpu] == [
        "python", "packages", "threads", "device", "engine", "lock", "offline", "output", "locks", "disk", "model",
        "memory", "data", "prompts",
    ]  # fmt: skip


def test_check_and_run_compare_what_is_installed_with_what_is_wanted(harness, monkeypatch):
    monkeypatch.setattr("harness.runner.run", None)  # where it is not refused, nothing is trained in vain
    wanted = ["typer>=0.20,<1", "rich<2", "no-such-package-here>=1", 'other>=9; extra == "dev"']
    monkeypatch.setattr(environment.metadata, "requires", lambda name: wanted)
    found = [f"rich {metadata.version('rich')}, wanted is <2", "no-such-package-here is missing, wanted is >=1"]
    assert environment.unfit_versions() == found
    refused(harness(*RUN), *found, "pip install -c constraints.txt")
    code, _, err = harness("check", "--seq", "o1")
    assert code == 2
    assert err.startswith(f"error: packages: {found[0]}; {found[1]}: ")
    assert err.count("\n") == 1


def test_what_is_installed_here_lies_in_the_ranges_of_the_project():
    assert environment.unfit_versions() == []


def test_check_names_each_trouble_in_a_line(harness, tmp_path):
    (tmp_path / "runs").write_text("")
    (tmp_path / "data").mkdir()
    code, _, err = harness("check", "--data", "data")
    assert code == 2
    lines = err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["output", "data"]
    assert all(line.startswith("error: ") for line in lines)


def test_plan_prints_every_stage(harness):
    code, out, _ = harness("plan", "--paradigm", "rft", "--seq", "default")
    assert code == 0
    for task in registry.typed(Stream, "default").tasks:
        assert task in out
    assert "rft on default, scale twin, seed 0" in out


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


def test_publishing_and_marking_again_by_the_command(harness, tmp_path):
    run = fake_run(tmp_path / "runs")
    with registered(run.name):
        code, out, err = harness("publish", run.name, "--results", "results")
        assert (code, err) == (0, "")
        assert (tmp_path / "results" / "runs" / run.name / "replies.parquet").is_file()
        assert harness("remark", run.name)[:2] == (0, f"marked 18 cells of {run.name} again: 0 of them changed\n")
        refused(harness("publish", run.name, "--results", "results", "--data", "."), "leave out --data")
        refused(harness("remark", run.name, "--data", "."), "leave out --data")
    code, out, _ = harness("leaderboard", "--results", "results")
    assert code == 0
    assert run.name in out


@pytest.mark.parametrize("place", PLACES)
def test_results_are_no_folder(harness, tmp_path, place):
    make_places(tmp_path)
    run = fake_run(tmp_path / "runs")
    before = sorted(tmp_path.iterdir())
    with registered(run.name):
        refused(harness("publish", run.name, "--results", place))
    refused(harness("leaderboard", "--results", place))
    refused(harness("figures", "table", "--results", place))
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "a file").read_text() == "mine"


@pytest.mark.slow
def test_all_figures_leave_out_what_lacks_runs_and_name_it(harness, tmp_path):
    from tests.fake_published import SFT, published_run

    published_run(tmp_path / "results", SFT)
    code, _, err = harness("figures", "--results", str(tmp_path / "results"), "--width", "double")
    assert code == 0
    assert "left out: ablation (an ablation compares rft with a variant" in err
    assert (tmp_path / "results/figures/matrix-sft-double.png").is_file()
    refused(harness("figures", "ablation", "--results", str(tmp_path / "results")), "publish a run of both")
    refused(harness("figures", "--width", "wide"), "--width 'wide' is unknown: use column or double")
