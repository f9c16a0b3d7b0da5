"""The house's rules that a machine can check: who imports whom, sizes, light imports, frozen flags and nouns."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import core

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("harness", "tasks", "twin_base", "baselines", "paper_figures")
SOURCES = sorted(path for room in (*ROOMS, "tests", "examples", "benchmarks") for path in (ROOT / room).rglob("*.py"))
HEAVY = {
    "torch", "torchvision", "transformers", "trl", "datasets", "vllm", "lm_eval", "vlmeval", "matplotlib", "seaborn",
    "pandas", "numpy", "scipy", "pyarrow", "PIL", "accelerate", "tokenizers", "safetensors", "huggingface_hub",
    "math_verify", "imagehash", "datasketch", "peft", "ray", "statsmodels", "submitit",
}  # fmt: skip
# The folders inside harness/, and which of the others each may import; the files beside them import all but command.
INNER = {
    "asking": set(),
    "store": {"asking"},
    "training": {"asking", "store"},
    "results": {"asking", "store"},
    "data": {"asking", "store", "results"},
    "budget": set(),
    "foreign": {"asking", "store", "training"},
    "sweep": {"store"},
    "report": {"asking", "store", "results"},
    "command": {"asking", "store", "training", "results", "data", "budget", "foreign", "scoring", "sweep", "report"},
    "scoring": {"asking", "store", "results", "foreign"},
}
FORBIDDEN = {"utils.py", "util.py", "common.py", "misc.py", "base.py", "helpers.py"}
ALLOWED = {
    "harness": {"harness"},
    "tasks": {"harness", "tasks"},
    "twin_base": {"harness", "tasks", "twin_base"},
    "baselines": {"harness", "baselines"},
    "paper_figures": {"harness", "paper_figures"},
}


def imports(path: Path, top_level: bool = False) -> set[str]:
    """The dotted names that a file imports; only those run on import of the file where ``top_level``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _at_import(tree.body) if top_level else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _at_import(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that run when a module is imported: not those in functions, not those for type checkers."""
    found: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found += _at_import(node.orelse)
            continue
        found.append(node)
        for part in ("body", "orelse", "finalbody"):
            found += _at_import(getattr(node, part, []))
        found += [item for handler in getattr(node, "handlers", []) for item in _at_import(handler.body)]
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_in_the_allowed_direction(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        foreign = {name.partition(".")[0] for name in imports(path)} & set(ROOMS)
        assert foreign <= ALLOWED[room], f"{path.relative_to(ROOT)} imports {foreign - ALLOWED[room]}"


def test_the_folders_of_the_machine_import_only_in_the_allowed_direction():
    harness = ROOT / "harness"
    assert {path.parent.name for path in harness.glob("*/__init__.py")} == set(INNER)
    for path in sorted(harness.rglob("*.py")):
        room = path.relative_to(harness).parts[0]
        foreign = {name.split(".")[1] for name in imports(path) if name.startswith("harness.")} & set(INNER) - {room}
        allowed = INNER.get(room, set(INNER) - {"command"})
        assert foreign <= allowed, f"{path.relative_to(ROOT)} imports {foreign - allowed}"


def test_figures_read_results_and_not_the_machine():
    allowed = ("harness.core", "harness.results", "harness.store.disk")
    for path in sorted((ROOT / "paper_figures").rglob("*.py")):
        parts = {name for name in imports(path) if name.startswith("harness.") and name != "harness.store"}
        foreign = {name for name in parts if not name.startswith(allowed)}
        assert not foreign, f"{path.name} imports {foreign}"


@pytest.mark.parametrize("room", ROOMS)
def test_heavy_libraries_are_imported_inside_functions(room):
    for path in sorted((ROOT / room).rglob("*.py")):
        heavy = {name.partition(".")[0] for name in imports(path, top_level=True)} & HEAVY
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy} at its top"


def test_core_needs_the_standard_library_alone():
    for name in (
        "core", "values", "task", "observed", "job", "registry", "asking/styles", "asking/marking", "results/cells",
        "results/matrix", "results/metrics", "results/leaderboard", "results/published",
    ):  # fmt: skip
        top = {module.partition(".")[0] for module in imports(ROOT / "harness" / f"{name}.py", top_level=True)}
        assert top <= set(sys.stdlib_module_names) | {"harness"}, f"harness/{name}.py"


def test_files_are_short_and_named_for_what_they_hold():
    assert len(SOURCES) > 30
    for path in SOURCES:
        assert path.name not in FORBIDDEN, path
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines"


def test_no_code_is_run_from_text_and_no_fault_is_swallowed():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path.relative_to(ROOT)}:{node.lineno}"
            if isinstance(node, ast.ExceptHandler) and (node.type is None or "Exception" in ast.unparse(node.type)):
                silent = all(isinstance(item, ast.Pass | ast.Continue) for item in node.body)
                assert not silent, f"{path.relative_to(ROOT)}:{node.lineno} swallows every fault"
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value) == "False", path


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["leaderboard"], ["metrics"], ["run", "--help"], ["runs", "--help"]]
)
def test_light_commands_load_no_heavy_library(arguments):
    command = [sys.executable, "-X", "importtime", "-m", "harness.command.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    # leaderboard ends with 2 where nothing is published; what counts here is what was loaded
    assert done.returncode in (0, 2), done.stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "typer" in loaded
    assert not loaded & HEAVY


NOUNS = [value for name, value in vars(core).items() if inspect.isclass(value) and dataclasses.is_dataclass(value)]


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_nouns_are_frozen_and_take_keywords_only(noun):
    assert noun.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(noun))


def test_the_nouns_are_all_there():
    names = {noun.__name__ for noun in NOUNS}
    assert {"Example", "Task", "Style", "Stream", "Paradigm", "Scale", "Run", "Cell", "Job"} <= names
    assert {"Learner", "Selector", "Suite", "Probe", "Observation", "Reply", "Mark", "Verdict", "Stage"} <= names


RUN_FLAGS = [
    "--paradigm",
    "--seq",
    "--scale",
    "--model",
    "--seed",
    "--limit",
    "--out",
    "--data",
    "--split",
    "--skip-broken",
    "--suites",
    "--plugin",
]
FLAGS = {
    "run": [*RUN_FLAGS[:-1], "--until", "--report-to", "--plugin"],
    "plan": [*RUN_FLAGS, "--sweep", "--hardware"],
    "list": ["--plugin"],
    "check": ["--seq", "--scale", "--model", "--out", "--data", "--skip-broken", "--suites", "--plugin"],
    "publish": ["run", "--out", "--results", "--data", "--plugin"],
    "remark": ["run", "--scorer", "--out", "--data", "--plugin"],
    "leaderboard": ["--results", "--rebuild"],
    "claims": ["--scale", "--results", "--claims"],
    "score": [
        "--base",
        "--stage",
        "--predictions",
        "--matrix",
        "--seq",
        "--scale",
        "--style",
        "--limit",
        "--out",
        "--data",
        "--split",
        "--skip-broken",
        "--suites",
        "--gate",
        "--evidence",
        "--marks",
        "--plugin",
    ],
    "submit": ["folder", "--check", "--results", "--data", "--plugin"],
    "compare": ["one", "other", "--metric", "--margin", "--style", "--intersect", "--out", "--results"],
    "metrics": ["run", "--style", "--out", "--results"],
    "figures": ["name", "--results", "--out", "--scale", "--width"],
    "export": ["--task", "--format", "--out", "--style", "--split", "--limit", "--data", "--plugin"],
    "sweep": ["file", "--executor", "--out", "--plan", "--status"],
    "report": ["runs", "--output", "-o", "--out", "--results", "--data", "--plugin"],
    "watch": ["run", "--out"],
    "runs list": ["--out"],
    "runs show": ["run", "--scorer", "--details", "--out"],
    "runs rm": ["run", "--out"],
    "runs gc": ["--budget", "--out"],
    "data fetch": ["sets", "--data", "--revision", "--plugin"],
    "data show": ["task", "--data", "--split", "--item", "--style", "--picture", "--scale", "--plugin"],
    "data overlap": ["--data", "sets", "--limit", "--out", "--plugin"],
    "data verify": ["--data", "sets", "--write", "--pictures", "--plugin"],
}


def test_flags_are_frozen():
    """A flag is a promise: a new knob is a new named paradigm, stream or scale, not a new flag."""
    from typer.main import get_command

    from harness.command.cli import app

    top = get_command(app)
    groups = {name: command.commands for name, command in top.commands.items() if hasattr(command, "commands")}
    commands = {name: command for name, command in top.commands.items() if name not in groups}
    commands |= {f"{group} {name}": command for group, inner in groups.items() for name, command in inner.items()}
    found = {
        name: [flag for parameter in command.params for flag in parameter.opts if flag != "--help"]
        for name, command in commands.items()
    }
    assert found == FLAGS


def test_the_default_scale_is_always_the_twin():
    from harness.command import cli

    for command in (cli.run_command, cli.plan_command, cli.check_command):
        assert inspect.signature(command).parameters["scale"].default == "twin"
