"""The child processes of outside libraries: what they may see, and what becomes of a run when one of them fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.asking.suites import library
from harness.asking.suites.library import CACHE, CHILD, PYTHON, Library, call, close_children
from harness.core import UserError

LIBRARY = Library(package="lm-eval", version="9.9", patience=1.0, each=0.0)
HEAD = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    room = request["room"]
    items = [json.loads(text) for text in open(room + "/items.jsonl")]
    def answer(rows):
        open(room + "/answer.jsonl", "w").writelines(json.dumps(row) + "\\n" for row in rows)
        print(json.dumps({"version": "9.9"}), flush=True)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    close_children()
    yield
    close_children()


def python_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Let a Python be named that runs ``body`` for each request, whatever file it is given."""
    program, python = tmp_path / "program.py", tmp_path / "python"
    program.write_text(HEAD + "".join(f"    {line}\n" for line in body.splitlines()))
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}"\n')
    python.chmod(0o755)
    monkeypatch.setenv(PYTHON, str(python))


def asked(tmp_path: Path, do: str = "score") -> list[dict[str, object]]:
    room = tmp_path / f"room-{time.monotonic_ns()}"
    room.mkdir()
    return call(LIBRARY, do, [{"n": 1}, {"n": 2}], room, told="so")


def test_rows_come_back_and_the_child_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = 'answer([{"key": item["n"], "pid": os.getpid(), "told": request["told"]} for item in items])'
    python_that(tmp_path, monkeypatch, body)
    first, second = asked(tmp_path), asked(tmp_path)
    assert [row["key"] for row in first] == [1, 2]
    assert first == second, "another process would have another number"
    assert first[0]["told"] == "so"
    close_children()
    assert asked(tmp_path)[0]["pid"] != first[0]["pid"]


def test_a_child_sees_nothing_of_the_users_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HF_TOKEN",
        "OPENAI_API_KEY",
        "HTTPS_PROXY",
        "PYTHONPATH",
        "LMUData",
        "HF_HOME",
        "CUDA_VISIBLE_DEVICES",
    ):
        monkeypatch.setenv(name, "secret")
    python_that(tmp_path, monkeypatch, 'answer([{"key": 1, "seen": dict(os.environ)}, {"key": 2}])')
    seen = asked(tmp_path)[0]["seen"]
    assert isinstance(seen, dict)
    assert "secret" not in seen.values()
    assert not {"HF_TOKEN", "OPENAI_API_KEY", "HTTPS_PROXY", "PYTHONPATH"} & set(seen)
    assert seen["HF_HUB_OFFLINE"] == seen["HF_DATASETS_OFFLINE"] == "1"
    home = seen["HOME"]
    assert home != os.environ["HOME"]
    assert all(seen[name].startswith(home) for name in ("TMPDIR", "HF_HOME", "LMUData", "XDG_CACHE_HOME"))
    close_children()
    assert not Path(home).exists()


FAILURES = {
    "missing": ('print(json.dumps({"version": None}), flush=True)', "lm-eval 9.9 is wanted, .* not installed: run"),
    "another version": ('print(json.dumps({"version": "1.0"}), flush=True)', "9.9 is wanted, .* version 1.0: run"),
    "death": ('sys.exit("no such thing")', r"lm-eval died when it was to score \(no such thing\): its log is "),
    "a traceback": ('raise KeyError("x")', r"lm-eval died when it was to score \(KeyError: 'x'\): its log is "),
    "a signal": ("os.kill(os.getpid(), 9)", r"lm-eval died when it was to score \(it said nothing\)"),
    "silence": ("time.sleep(60)", "lm-eval gave no answer in 1 s when it was to score"),
    "nonsense": ('print("hello", flush=True)', r"lm-eval said nonsense when it was to score \(hello\)"),
    "another kind of nonsense": ('print("[1]", flush=True)', "lm-eval said nonsense"),
    "no file": ('print(json.dumps({"version": "9.9"}), flush=True)', "lm-eval answered nothing that can be read"),
    "too few rows": ('answer([{"key": 1}])', "lm-eval answered 1 rows to 2 items"),
    "rows of another kind": ("answer([1, 2])", "lm-eval answered 2 rows to 2 items"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
def test_a_failing_child_is_one_line_and_the_next_request_starts_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    body, words = FAILURES[what]
    python_that(tmp_path, monkeypatch, body)
    with pytest.raises(UserError, match=words) as refused:
        asked(tmp_path)
    assert "\n" not in str(refused.value)
    if "its log is " in str(refused.value):
        assert Path(str(refused.value).rpartition("its log is ")[2]).is_file()
    python_that(tmp_path, monkeypatch, 'answer([{"key": 1}, {"key": 2}])')
    close_children()
    assert len(asked(tmp_path)) == 2


def test_a_python_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=f"nowhere cannot be started .*: name another Python in {PYTHON}"):
        asked(tmp_path)


def test_the_childs_file_runs_alone_and_says_which_version_is_there(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text("")
    request = {"library": "lm-eval", "version": "0.0.0", "do": "ask", "room": str(tmp_path)}
    unknown = {**request, "library": "no-such-library"}
    said = "".join(json.dumps(one) + "\n" for one in (unknown, request))
    with subprocess.Popen(
        [sys.executable, "-I", str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(said)
        child.stdin.flush()
        assert json.loads(child.stdout.readline()) == {"version": None}
        assert json.loads(child.stdout.readline())["version"] != "0.0.0"
        child.stdin.close()
        assert child.wait(20) == 0, "it ends with its parent's end of the line"


PARENT = """
import os, sys, time
from pathlib import Path
from harness.asking.suites.library import Child
child = Child(sys.executable)
child.process.stdin.write(b'{"library": "json", "version": "1", "do": "ask", "room": "."}\\n')
child.process.stdin.flush()
child.process.stdout.readline()
print(child.process.pid, child.home.name, flush=True)
time.sleep(60)
"""


def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    root = Path(library.__file__).resolve().parents[3]
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=root)
    assert parent.stdout is not None
    pid, _, home = parent.stdout.readline().partition(" ")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < until, "the child outlived its parent"
        time.sleep(0.1)
    shutil.rmtree(home.strip())
