"""Processes of their own: weights and cells as in place, faults arrive as they should, no child without a parent."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_world import (
    SLOW,
    WATCHING,
    fake_run,
    learn_and_hand_on,
    make_model,
    trained_by,
    with_replay,
)
from test_kill import alive

from harness.core import Job, Observation, Paradigm, Run, Stream, Trained, UserError, replace
from harness.processes import Say, Worker
from harness.registry import typed
from harness.runner import Finished, _last_ones, run
from harness.scales import TWIN
from harness.store.record import read_record

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


def apart(asked: Run, ranks: int = 1, observers: int = 1) -> Run:
    """The same run, trained and observed in processes of their own."""
    return replace(asked, scale=replace(asked.scale, ranks=ranks, observers=observers))


def tables(done: Finished) -> dict[str, bytes]:
    """All files of a run that hold numbers."""
    found = [path for path in done.folder.rglob("*") if path.suffix in (".csv", ".parquet")]
    return {str(path.relative_to(done.folder)): path.read_bytes() for path in found}


@pytest.mark.slow
@pytest.mark.usefixtures("fake_plugin")
def test_a_run_in_other_processes_has_the_same_weights_cells_and_probes(tmp_path: Path, model: Path) -> None:
    handing = trained_by(learn_and_hand_on, name="handing", select=SLOW.select, stages=with_replay, kl=0.5)
    asked = fake_run(model, handing, WATCHING)
    here = run(asked, tmp_path / "here")
    there = run(apart(asked), tmp_path / "there")
    assert there.id == here.id
    assert there.cells == here.cells
    assert tables(there) == tables(here)
    assert read_record(there.folder).stages == read_record(here.folder).stages
    assert "carry" in {path.name for path in (tmp_path / "there" / "checkpoints").glob("*/*")}


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", ["sft", "rft"])
def test_a_real_run_in_other_processes_has_the_same_cells(tmp_path: Path, paradigm: str) -> None:
    stream = Stream(name="two", tasks=("gqa", "geometry3k"), epochs={"gqa": 1, "geometry3k": 1}, general=())
    scale = replace(TWIN, name="small", train_items=8, test_items=8, rollouts=4, prompts_per_update=4)
    asked = Run(paradigm=typed(Paradigm, paradigm), stream=stream, scale=replace(scale, updates_per_rollout_batch=1))
    here = run(asked, tmp_path / "here")
    there = run(apart(asked), tmp_path / "there")
    assert there.cells == here.cells
    assert read_record(there.folder).stages == read_record(here.folder).stages


def answer(asked: str, say: Say) -> Any:
    """What a child is asked to do."""
    if asked == "refuse":
        raise UserError("do this instead")
    if asked == "fault":
        raise ZeroDivisionError("a mistake of ours")
    if asked == "exit":
        sys.exit(0)
    if asked == "die":
        os._exit(7)
    if asked == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    if asked == "what cannot be sent":
        return lambda: asked
    say(f"heard {asked}")
    say(2)
    return os.getpid()


def test_a_worker_answers_is_heard_and_goes_on_after_a_fault() -> None:
    heard: list[Any] = []
    with Worker() as worker:
        first = worker.call(answer, "hello", heard.append)
        assert first != os.getpid()
        assert heard == ["heard hello", 2]
        with pytest.raises(UserError, match=r"\Ado this instead\Z"):
            worker.call(answer, "refuse")
        with pytest.raises(RuntimeError, match="ZeroDivisionError: a mistake of ours") as fault:
            worker.call(answer, "fault")
        assert "in answer" in str(fault.value), "the child's traceback arrives"
        with pytest.raises(RuntimeError, match="SystemExit: 0"):
            worker.call(answer, "exit")
        with pytest.raises(RuntimeError, match="what the process of its own gives back cannot be sent"):
            worker.call(answer, "what cannot be sent")
        for unsent in (lambda: 1, open(os.devnull)):  # noqa: SIM115 - closed below
            with pytest.raises(UserError, match="write functions at the top of a file") as refused:
                worker.call(answer, unsent)  # type: ignore[arg-type]
            assert "\n" not in str(refused.value)
        unsent.close()  # type: ignore[attr-defined]
        assert worker.call(answer, "interrupt") == first, "a Ctrl-C is the parent's"
        assert worker.call(answer, "again") == first
        with pytest.raises(RuntimeError, match="ended with exit code 7"):
            worker.call(answer, "die")
        with pytest.raises(RuntimeError, match="ended with exit code 7"):
            worker.call(answer, "hello")
    assert not alive(first)


def test_a_killed_worker_is_one_line_that_says_what_to_do() -> None:
    with Worker() as worker:
        os.kill(worker.call(answer, "hello"), signal.SIGKILL)
        with pytest.raises(
            UserError, match=r"\Aa process of this run was killed by signal 9.*the same command again.*\Z"
        ):
            worker.call(answer, "hello")


TIDY = """
from test_processes import take_a_lock
from harness.processes import Worker

if __name__ == "__main__":
    with Worker() as worker:
        print(worker.call(take_a_lock, "now"))
"""
_locks: list[Any] = []


def take_a_lock(asked: str, say: Say) -> str:
    """Hold a lock between processes, as the progress bars of libraries do: the system keeps it until it is released."""
    _locks.append(multiprocessing.get_context("spawn").RLock())
    return asked


def test_a_child_that_has_nothing_to_do_leaves_nothing_behind(tmp_path: Path) -> None:
    script = tmp_path / "tidy.py"
    script.write_text(TIDY)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONWARNINGS": "default"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "now\n", "")


def test_the_parent_takes_the_last_observations_until_as_few_are_left_as_the_observer_has_at_hand(
    tmp_path: Path,
) -> None:
    names = ("a", "b", "c", "d", "e")
    wanted = tuple(Observation(stage=1, stage_name="one", kind="task", name=name) for name in names)
    view = SimpleNamespace(key=lambda weights, one: f"{weights}-{one.name}")
    session: Any = SimpleNamespace(view=view, store=SimpleNamespace(replies_file=tmp_path.joinpath))
    beside: Future[Any] = Future()
    taken = []
    for one in _last_ones(session, wanted, "w", beside):
        taken.append(one.name)
        (tmp_path / f"w-{one.name}").touch()
        (tmp_path / "w-a").touch()  # the observer is done with its first one meanwhile
    assert taken == ["e", "d"]
    (tmp_path / "w-e").unlink()
    beside.set_result([])
    assert list(_last_ones(session, wanted, "w", beside)) == [], "what it left undone is looked for once it has ended"


def in_child(job: Job) -> Trained:
    """Refuse, and say where."""
    raise UserError(f"refused in {os.getpid()}")


def breaks(job: Job) -> Trained:
    raise ValueError("a learner's own mistake")


@pytest.mark.usefixtures("fake_plugin")
def test_what_a_learner_raises_in_a_child_is_what_it_raises_in_place(tmp_path: Path, model: Path) -> None:
    with pytest.raises(UserError, match=r"\Arefused in \d+\Z") as refused:
        run(apart(fake_run(model, trained_by(in_child)), observers=0), tmp_path / "runs")
    assert str(refused.value) != f"refused in {os.getpid()}"
    with pytest.raises(RuntimeError, match=r"(?s)in breaks.*ValueError: a learner's own mistake"):
        run(apart(fake_run(model, trained_by(breaks)), observers=0), tmp_path / "runs")


@pytest.mark.usefixtures("fake_plugin")
def test_a_job_that_cannot_be_sent_is_one_line(tmp_path: Path, model: Path, fake_plugin: Any) -> None:
    coins = fake_plugin.COINS
    fake_plugin.COINS = replace(coins, twin=lambda split, index: coins.twin(split, index))
    with pytest.raises(UserError, match="this cannot be done in a process of its own") as refused:
        run(apart(fake_run(model), observers=0), tmp_path / "runs")
    assert "\n" not in str(refused.value)


PARENT = """
import sys
import test_processes
from harness.processes import Worker

if __name__ == "__main__":
    with Worker() as worker:
        worker.call(getattr(test_processes, sys.argv[1]), "now", lambda pid: print(pid, flush=True))
"""


def wait_for_ever(asked: str, say: Say) -> None:
    """Work that does not end by itself."""
    say(os.getpid())
    while asked:
        time.sleep(0.01)


def hold_the_lock(asked: str, say: Say) -> None:
    """Work that no other thread of its process can interrupt, as when a large library is loaded."""
    say(os.getpid())
    ctypes.PyDLL(None).sleep(20)


@pytest.fixture(params=["wait_for_ever", "hold_the_lock"])
def parent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process whose worker is in the middle of its work."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    made = subprocess.Popen(
        [sys.executable, str(script), request.param],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    yield made
    with contextlib.suppress(ProcessLookupError):
        os.killpg(made.pid, signal.SIGKILL)  # its session: itself, and the child where the law is broken
    made.communicate()


def kill_it(parent: subprocess.Popen[str]) -> None:
    parent.kill()


def interrupt_all(parent: subprocess.Popen[str]) -> None:
    """Ctrl-C goes to every process of the terminal."""
    os.killpg(parent.pid, signal.SIGINT)


@pytest.mark.parametrize("end", [kill_it, interrupt_all])
def test_a_child_dies_with_its_parent(
    parent: subprocess.Popen[str], end: Callable[[subprocess.Popen[str]], None]
) -> None:
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.3)  # until it is in the middle of its work
    assert alive(child)
    end(parent)
    ended = time.monotonic()
    while alive(child):
        assert time.monotonic() < ended + 1, "the child outlives its parent"
        time.sleep(0.01)
    _, faults = parent.communicate(timeout=10)
    assert faults.count("Traceback") == (1 if end is interrupt_all else 0), faults
