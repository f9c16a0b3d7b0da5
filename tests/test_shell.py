"""What the shell hands over and what it is told: variables, signals, outputs, faults, and text on a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from harness import registry
from harness.command import cli, printing, progress, shell
from harness.core import UserError, replace
from harness.results import leaderboard
from harness.results.matrix import from_rows
from harness.scales import TWIN, TWIN_LONG

ROOT = Path(__file__).resolve().parent.parent
STREAM = "S = Stream(name='s', tasks=('gqa',), epochs={'gqa': 1}, general=())\n"
# A plugin whose `nouns` is what `harness list` calls: a place where a fault of any kind can be put.
LISTING = "from harness.core import Stream\nimport harness.command.printing\ndef nouns(screen):\n"
LISTED = f"\nharness.command.printing.nouns = nouns\n{STREAM}"
HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]\u202e\x00\r\n\u2028" + "x" * 100_000


def start(
    arguments: list[str], cwd: Path = ROOT, shell: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """The command as a process of its own; ``shell`` are redirections. Interrupts reach it wherever the tests run."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from harness.command.cli import main; main()"
    command: list[str] = [sys.executable, "-c", program, *arguments]
    if shell:
        command = ["bash", "-c", f'exec "$@" {shell}', "bash", *command]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(environment or {})},
        # a shell's background job ignores SIGINT, and so would all that it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def plugin(folder: Path, body: str, before: str = "") -> list[str]:
    """Flags for a plugin that does ``body`` when nouns are listed."""
    path = folder / "mine.py"
    path.write_text(before + LISTING + "".join(f"    {line}\n" for line in body.splitlines()) + LISTED)
    return ["list", "--plugin", str(path)]


# --- variables


def test_offline_unless_the_user_says_otherwise(monkeypatch, capsys):
    for name in shell.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert os.environ["TRANSFORMERS_OFFLINE"] == "1"
    assert os.environ["WANDB_MODE"] == "disabled"


@pytest.mark.parametrize("scale", [TWIN.name, TWIN_LONG.name])
@pytest.mark.parametrize(
    ("set_to", "said"),
    [
        ({}, ""),
        ({"OMP_NUM_THREADS": "1"}, ""),
        ({"OMP_NUM_THREADS": "4"}, "OMP_NUM_THREADS=4 is set to 1"),
        ({"MKL_NUM_THREADS": "2"}, "MKL_NUM_THREADS=2 is set to 1"),
        ({"OMP_NUM_THREADS": "", "MKL_NUM_THREADS": "2,1"}, "OMP_NUM_THREADS= and MKL_NUM_THREADS=2,1 is set to 1"),
    ],
)
def test_the_twin_pins_its_threads_and_says_so(monkeypatch, capsys, scale, set_to, said):
    import torch

    for name in shell.THREADS:
        monkeypatch.delenv(name, raising=False)
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    counts = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    shell.settle(scale)
    err = capsys.readouterr().err
    assert [os.environ[name] for name in shell.THREADS] == ["1", "1"]
    assert counts == [1], "a plugin that loaded torch before had it read the old value"
    assert err == (f"note: {said}: the twin's numbers are those of one thread\n" if said else "")


def test_other_scales_have_the_threads_that_the_user_chose(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    shell.settle("qwen2.5-vl-7b")
    assert os.environ["OMP_NUM_THREADS"] == "4"
    assert capsys.readouterr().err == ""


def test_ranks_that_another_launcher_left_are_taken_away_in_one_line(monkeypatch, capsys):
    left = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "ACCELERATE_MIXED_PRECISION": "bf16"}
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    shell.settle("twin")
    assert not set(left) & set(os.environ)
    line = "ACCELERATE_MIXED_PRECISION, LOCAL_RANK, RANK, WORLD_SIZE, left over from another launcher, are not used"
    assert capsys.readouterr().err == f"note: {line}: a run starts its own ranks\n"
    shell.settle("twin")
    assert capsys.readouterr().err == ""


def test_run_and_check_clean_what_the_shell_left_before_anything_is_loaded(monkeypatch, tmp_path, capsys):
    seen = []
    monkeypatch.setattr("harness.command.check.fit_versions", lambda: seen.append(os.environ.get("RANK")) or "")
    monkeypatch.setattr("harness.command.check.writable", lambda out: (_ for _ in ()).throw(UserError("enough")))
    monkeypatch.chdir(tmp_path)
    for command in (["run", "--paradigm", "sft", "--seq", "o1"], ["check", "--seq", "o1"]):
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(SystemExit):
            cli.main(command)
        assert seen.pop() is None
        assert "RANK, left over" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["package", "module"])
def test_a_package_of_the_users_that_hides_ours_is_refused_and_not_run(tmp_path, kind):
    where = tmp_path / ("tasks.py" if kind == "module" else "tasks")
    code = where if kind == "module" else where / "__init__.py"
    code.parent.mkdir(exist_ok=True)
    code.write_text("raise RuntimeError('it was run')\n")
    program = "from harness.command.cli import main; main(['list'])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"the package 'tasks' is found in {where}" in done.stderr


# --- outputs


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("> /dev/full", 2, "error: standard output cannot be written (No space left on device)"),
        ("2> /dev/full", 0, ""),
    ],
)
def test_an_output_that_is_closed_or_full_ends_in_no_traceback(redirected, code, said):
    process = start(["list"], shell=redirected)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert err.startswith(said)
    assert err.count("\n") == bool(said)


def test_a_reader_that_has_enough_does_not_stop_the_work(tmp_path):
    gone, done = tmp_path / "gone", tmp_path / "done"
    body = [
        "import pathlib, time",
        "print('one', flush=True)",
        f"while not pathlib.Path({str(gone)!r}).exists(): time.sleep(0.01)",
        "print('two', flush=True)",
        f"pathlib.Path({str(done)!r}).touch()",
    ]
    with start(plugin(tmp_path, "\n".join(body))) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "one\n"
        process.stdout.close()
        gone.touch()
        assert process.wait(timeout=120) == 0
        assert done.exists()
        assert process.stderr.read() == ""


# --- faults


def test_a_fault_of_ours_keeps_its_traceback_and_exits_with_1(monkeypatch, capsys):
    def broken(screen):
        raise RuntimeError(f"ours {HOSTILE}")

    monkeypatch.setattr(printing, "nouns", broken)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["list"])
    err = capsys.readouterr().err
    assert stopped.value.code == 1
    assert err.startswith("Traceback")
    assert "RuntimeError: ours ?[2J" in err
    assert len(err) < 10_000
    assert all(line.isprintable() for line in err.splitlines())
    assert "plugin" not in err.splitlines()[-1]


@pytest.mark.parametrize("fault", ["RuntimeError('theirs')", "PermissionError(13, 'Permission denied')"])
def test_a_fault_of_a_plugin_keeps_its_traceback_and_says_whose_it_is(tmp_path, fault):
    process = start(plugin(tmp_path, f"raise {fault}"))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.startswith("Traceback")
    *_, what, whose = err.splitlines()
    assert what.startswith(fault.partition("(")[0])
    assert whose == f"error: the fault is the plugin's: {tmp_path / 'mine.py'}"


def test_a_plugin_that_ends_the_program_while_it_works_is_one_line(tmp_path):
    process = start(plugin(tmp_path, "import sys; sys.exit(0)"))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'mine.py'} ended the program (sys.exit(0)) before the work was done")
    assert err.count("\n") == 1


def test_what_the_disk_refuses_anywhere_is_one_line(monkeypatch, capsys):
    def denied(screen):
        raise PermissionError(13, "Permission denied", "/there/x")

    monkeypatch.setattr(printing, "nouns", denied)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["list"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: no permission for /there/x: ")


def test_a_long_message_is_cut_to_one_line_that_a_terminal_can_show(monkeypatch, capsys):
    def refusing(screen):
        raise UserError(HOSTILE)

    monkeypatch.setattr(printing, "nouns", refusing)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["list"])
    err = capsys.readouterr().err
    assert stopped.value.code == 2
    assert len(err) < 700
    assert err.rstrip("\n").isprintable()


@pytest.mark.parametrize("background", [False, True])
def test_ctrl_c_says_that_the_same_command_continues(tmp_path, background):
    """However the tests were started: a background job of a shell ignores the signal, and so do its children."""
    body = f"import pathlib, time\npathlib.Path({str(tmp_path / 'began')!r}).touch()\ntime.sleep(60)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if background else signal.default_int_handler)
    try:
        process = start(plugin(tmp_path, body))
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip() == "stopped: the same command continues where this one was"


# --- text


def test_hostile_text_of_plugins_and_files_is_shown_as_text(monkeypatch, capsys):
    task = replace(registry.find("task", "gqa"), cite=HOSTILE)
    monkeypatch.setattr(printing.registry, "typed", lambda noun, name: task if name == "gqa" else found(noun, name))
    screen = Console(width=160, highlight=False, force_terminal=False)
    printing.nouns(screen)
    printing.notes(screen, [HOSTILE])
    printing.matrix(screen, replace(from_rows([[0.5], [1.0]]), stages=("base", HOSTILE), tasks=(HOSTILE,)), HOSTILE)
    entry = dict.fromkeys(leaderboard.COLUMNS, 0.5)
    entry |= dict.fromkeys(("id", "style", "stream", "scale", "group"), HOSTILE) | {"rank": 1}
    printing.leaderboard(screen, [entry])
    display = progress.Display(planned(), stream=sys.stdout)
    display.note(HOSTILE)
    display.stage(1, 1, HOSTILE)
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n"))
    assert out.count("[red]") >= 6, "markup is not obeyed but shown"
    assert max(map(len, out.split("\n"))) < 1100


found = registry.typed


def planned() -> object:
    """The little of a plan that a display looks at."""
    from types import SimpleNamespace

    return SimpleNamespace(seconds=1.0, evaluation_seconds=1.0, stages=(), cells=1)
