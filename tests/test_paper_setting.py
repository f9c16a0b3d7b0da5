"""The page "Running the paper's setting": its commands are the command's own, and its runs and grids can be planned."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.budget.hardware import CARDS as CARD_NAMES
from harness.command import cli, plan
from harness.core import UserError

PAGE = (Path(__file__).parents[1] / "docs" / "paper_setting.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([a-z]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("  #")[0].strip()
    for language, block in BLOCKS
    for line in block.splitlines()
    if not language and line.startswith("harness ")
]
RUNS = [command for command in COMMANDS if command.startswith("harness run ")]
FILES = dict(re.findall(r"`([a-z]+\.toml)`:\n\n```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
CARDS = {"qwen2.5-vl-7b": "8xh100-80gb", "qwen2.5-vl-3b": "1xrtx4090-24gb"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place with an empty folder for the data and the page's files, as a reader would have it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.command.compare.foreseen", lambda run: "")  # held elsewhere; reads all published marks
    Path("DATA").mkdir()
    for name, text in FILES.items():
        Path(name).write_text(text)


def parsed(command: str) -> dict[str, Any]:
    """What the command line makes of a command's words, which it does not do."""
    import typer

    found, words = typer.main.get_command(cli.app), shlex.split(command)[1:]
    while hasattr(found, "commands"):
        assert words[0] in found.commands, f"`{command}`: {words[0]} is no command"
        found, words = found.commands[words[0]], words[1:]
    return dict(found.make_context("harness", words).params)


def ended(words: list[str]) -> object:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    return left.value.code


def test_the_page_has_the_steps_from_an_empty_machine_to_figures():
    found = [" ".join(command.split()[1:3]) for command in COMMANDS]
    for wanted in ("data fetch", "data verify", "check --seq", "plan --paradigm", "plan --sweep", "sweep paper.toml"):
        assert wanted in found
    kinds = [command.split()[1] for command in COMMANDS]
    steps = ["data", "check", "plan", "run", "sweep", "publish", "leaderboard", "figures"]
    assert [kinds.index(step) for step in steps] == sorted(kinds.index(step) for step in steps)
    assert len(RUNS) > 8
    for card in CARD_NAMES:
        assert f"`{card}`" in PAGE
    assert FILES


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_a_command_of_the_page_is_one_that_the_command_line_takes(command):
    assert parsed(command)


@pytest.mark.parametrize("command", dict.fromkeys(RUNS))
def test_a_run_of_the_page_can_be_planned_and_fits(command, capsys):
    words = shlex.split(command)[2:]
    scale = words[words.index("--scale") + 1]
    code = ended(["plan", *words, "--hardware", CARDS[scale]])
    assert (code, capsys.readouterr().err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("harness plan ")])
def test_a_plan_of_the_page_ends_well(command, capsys):
    code = ended(shlex.split(command)[1:])
    assert (code, capsys.readouterr().err) == (0, "")


def test_the_sweep_of_the_page_can_be_planned(capsys):
    assert ended(["sweep", "paper.toml", "--plan"]) == 0
    assert "15 runs: 105 stages" in " ".join(capsys.readouterr().out.split())


def test_a_run_that_the_page_does_not_have_would_be_refused(monkeypatch, tmp_path):
    words = ["plan", *shlex.split(RUNS[1])[2:], "--hardware", "1xl4-24gb"]
    assert ended(words) == 2
    monkeypatch.setattr(plan, "refuse", lambda *asked: (_ for _ in ()).throw(UserError("no room")))
    assert ended(["plan", *shlex.split(RUNS[1])[2:], "--hardware", "8xh100-80gb"]) == 2
