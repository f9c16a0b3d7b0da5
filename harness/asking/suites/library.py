"""Runs the libraries' child processes and hears what they answer.

A child has an environment, a home and a folder of its own and never the network. It dies with this process. One child a
library is kept while this process lives, for VLMEvalKit alone takes ten seconds to be imported.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import UserError
from harness.values import cut

PYTHON = "CPT_HARNESS_SUITES_PYTHON"  # the Python that has the libraries; this one where it is not set
CACHE = "CPT_HARNESS_CACHE"  # where prompts and their pictures are kept between runs
CHILD = Path(__file__).with_name("child.py")
INSTALL = 'pip install -c constraints.txt -e ".[suites]"'
# What a child inherits: where programs and their libraries are, nothing of the user's settings, tokens or proxies.
INHERITED = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
FIXED = {
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "", "PRED_FORMAT": "tsv", "VLMEVAL_LOG_LEVEL": "ERROR", "LANG": "C.UTF-8",
}  # fmt: skip
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Library:
    """A package that asks and marks, in the one version whose prompts and marks a suite's version stands for.

    ``patience`` is how many seconds a request may take, and ``each`` how many more for each item.
    """

    package: str
    version: str
    patience: float = 900.0
    each: float = 0.5


class Child:
    """A child process for one library, its home, and its log."""

    def __init__(self, python: str) -> None:
        """Start it; nothing is imported before the first request."""
        self.home = tempfile.TemporaryDirectory(prefix="suites-")
        home = Path(self.home.name)
        self.log = home / "log.txt"
        places = {name: str(home) for name in ("HOME", "TMPDIR", "LMUData", "XDG_CACHE_HOME", "MPLCONFIGDIR")}
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(  # noqa: S603 - the user's own Python and our own file
                    [python, "-I", str(CHILD)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=home,
                    env={**kept, **FIXED, **places, "HF_HOME": str(home / "hf")},
                    start_new_session=True,  # a Ctrl-C is the parent's
                )
        except OSError as fault:
            self.home.cleanup()
            raise UserError(
                f"{python} cannot be started ({fault.strerror}): name another Python in {PYTHON}"
            ) from fault

    def says(self, request: Row, seconds: float) -> str:
        """The line that answers a request; empty where the child ended or was too slow, and was ended."""
        ask, answer = self.process.stdin, self.process.stdout
        if ask is None or answer is None:
            return ""
        try:
            ask.write(json.dumps(request).encode() + b"\n")
            ask.flush()
        except OSError:
            return ""
        ready, _, _ = select.select([answer], [], [], seconds)
        return answer.readline().decode(errors="replace") if ready else ""

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")

    def end(self) -> None:
        """End it and whatever it has started, and remove its home."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.home.cleanup()


_children: dict[tuple[str, str], Child] = {}


def close_children() -> None:
    """End all children; the next request starts one anew."""
    while _children:
        _children.popitem()[1].end()


atexit.register(close_children)


def cache() -> Path:
    """The folder in which prompts are kept, and the logs of children that failed."""
    chosen = os.environ.get(CACHE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cpt-harness"


def call(library: Library, do: str, items: Sequence[Row], room: Path, **more: Any) -> list[dict[str, Any]]:
    """What a library answers about items, one row for each, in their order; its files lie in ``room``.

    Raises:
        UserError: where the library is missing or of another version, dies, takes too long, or answers nonsense.
    """
    python = os.environ.get(PYTHON) or sys.executable
    (room / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    child = _children.get((python, library.package))
    if child is None or child.process.poll() is not None:
        child = _children[python, library.package] = Child(python)
    request = {"library": library.package, "version": library.version, "do": do, "room": str(room), **more}
    patience = library.patience + library.each * len(items)
    said = child.says(request, patience)
    try:
        version = json.loads(said)["version"]
    except (ValueError, KeyError, TypeError) as fault:
        _children.pop((python, library.package))
        raise _failed(library, do, child, patience, said) from fault
    if version != library.version:
        found = "not installed" if version is None else f"version {cut(str(version), 20)}"
        raise UserError(
            f"{library.package} {library.version} is wanted, in {python} it is {found}: run `{INSTALL}`, or name"
            f" another Python in {PYTHON}"
        )
    return _rows(library, room / "answer.jsonl", len(items))


def _failed(library: Library, do: str, child: Child, patience: float, said: str) -> UserError:
    """What became of a child that gave no answer; its log is kept."""
    late = not said and child.process.poll() is None and not _ended(child)
    what = f"gave no answer in {patience:.0f} s" if late else "said nonsense" if said else "died"
    words = cut(said or child.last_words(), 160)
    kept = cache() / "logs" / f"{library.package}-{do}.txt"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(child.log, kept)
    child.end()
    return UserError(f"{library.package} {what} when it was to {do} ({words}): its log is {kept}")


def _ended(child: Child) -> bool:
    """Whether a child ends within a second: its closed output is seen before its end is."""
    try:
        child.process.wait(1)
    except subprocess.TimeoutExpired:
        return False
    return True


def _rows(library: Library, file: Path, count: int) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as fault:
        raise UserError(f"{library.package} answered nothing that can be read: install it again") from fault
    if len(rows) != count or not all(isinstance(row, dict) and "key" in row for row in rows):
        raise UserError(f"{library.package} answered {len(rows)} rows to {count} items: install it again")
    return rows


__all__ = ["CACHE", "PYTHON", "Library", "cache", "call", "close_children"]
