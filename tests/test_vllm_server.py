"""vLLM's server as a process of ours, here a fake: what it is told, how it ends, and each fault in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from test_kill import alive

from harness.asking.devices import Engines
from harness.asking.engines import open_engine, vllm
from harness.asking.engines.kinds import VLLM
from harness.asking.engines.vllm import VllmEngine, longest
from harness.core import Decoding, UserError, replace
from harness.scales import TWIN, model_folder
from harness.weights import weights_digest

ROOT = Path(__file__).resolve().parents[1]
BASE = model_folder(TWIN)
SCALE = replace(TWIN, name="served", engine="vllm")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where a fake vLLM is found, which serves; it writes what it was told and whom it started."""
    module = tmp_path / "vllm" / "entrypoints" / "openai" / "api_server.py"
    module.parent.mkdir(parents=True)
    for package in list(module.parents)[:3]:
        (package / "__init__.py").touch()  # before a real vLLM, where there is one
    shutil.copyfile(ROOT / "tests" / "fake_vllm_server.py", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FAKE_VLLM", "")
    monkeypatch.setenv("FAKE_VLLM_ROOM", str(tmp_path))
    monkeypatch.delenv(vllm.PYTHON, raising=False)
    monkeypatch.setattr(vllm, "GRACE", 5.0)
    return tmp_path


def started(fake: Path, seconds: float = 60) -> dict[str, list[str]]:
    """What the fake wrote when it began to serve."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (fake / "started.json").is_file() and (text := (fake / "started.json").read_text()):
            return dict(json.loads(text))
        time.sleep(0.05)
    raise AssertionError("the fake did not start")


def gone(pids: list[str], seconds: float = 30) -> bool:
    """Whether processes end within so many seconds."""
    until = time.monotonic() + seconds
    while any(alive(int(pid)) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(alive(int(pid)) for pid in pids)


def test_the_server_is_told_all_that_moves_a_reply_and_ends_with_its_workers(fake: Path) -> None:
    with open_engine(BASE, SCALE) as engine:
        assert isinstance(engine, VllmEngine)
        told = started(fake)
        options = dict(zip(told["argv"][::2], told["argv"][1::2], strict=False))
        assert options["--host"] == "127.0.0.1"
        assert engine.url == f"http://127.0.0.1:{options['--port']}/v1"
        assert options["--served-model-name"] == engine.serves == weights_digest(BASE)
        assert options["--generation-config"] == "vllm"
        assert options["--dtype"] == "float32"
        assert options["--load-format"] == "safetensors"
        assert options["--max-model-len"] == str(1536 + 32)
        assert json.loads(options["--mm-processor-kwargs"]) == {"size": {"shortest_edge": 2304, "longest_edge": 2304}}
        assert not any(word.startswith("--api-key") for word in told["argv"]), "other users read a command line"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(engine.url + "/models", timeout=10)
        assert (engine.name, engine.device_kind) == ("vllm", "cpu")
        room = Path(engine._room.name)
    assert gone(told["pids"])
    assert (fake / "tidied").exists(), "it was asked before it was ended"
    assert not room.exists()
    engine.close()


def test_a_server_is_told_no_more_places_than_the_model_has() -> None:
    assert longest(BASE, SCALE) == 1536 + 32
    assert longest(BASE, replace(SCALE, max_prompt_tokens=8192)) == 2048


FAULTS = {
    "dies": r"vLLM's server ended \(ValueError: no such architecture\)",
    "is full": r"vLLM has too little memory \(.*CUDA out of memory",
    "finds its port taken": r"vLLM's server ended \(OSError: .* Address already in use\)",
    "is of another version": r"vLLM is 0\.99\.0, replies are kept as those of 0\.31: run",
    "hangs": r"vLLM does not start within 2 s",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_does_not_come_is_one_line(fake: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setenv("FAKE_VLLM", fault)
    if fault == "hangs":
        monkeypatch.setattr(vllm, "START_SECONDS", 2.0)
        monkeypatch.setattr(vllm, "GRACE", 0.1)
    with pytest.raises(UserError, match=FAULTS[fault]) as refused:
        VllmEngine(BASE, SCALE)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_port_that_another_program_took_is_replaced(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", "finds it taken once")
    with VllmEngine(BASE, SCALE):
        assert started(fake)


def test_a_server_that_dies_while_it_is_asked_is_one_line(fake: Path) -> None:
    words = r"vLLM's server ended \(RuntimeError: engine core died\)"
    with VllmEngine(BASE, SCALE) as engine, pytest.raises(UserError, match=words):
        engine.generate([("What is it?", ())], Decoding(name="greedy-4", max_new_tokens=4))


def test_without_vllm_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(vllm.PYTHON, raising=False)
    monkeypatch.setattr(vllm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"vLLM is not installed: run `pip install .*CPT_HARNESS_VLLM_PYTHON"):
        VllmEngine(BASE, SCALE)
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setenv(vllm.PYTHON, str(bare))
    with pytest.raises(UserError, match="CPT_HARNESS_VLLM_PYTHON names a Python without vLLM"):
        VllmEngine(BASE, SCALE)


OWNER = """
import os, sys
from pathlib import Path
from harness.asking.engines.vllm import Server
words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *sys.argv[2:]]
server = Server(Path(sys.argv[1]), words, os.environ)
input()
"""


def test_a_server_and_its_workers_die_with_their_owner(fake: Path) -> None:
    room = fake / "room"
    room.mkdir()
    words = ["--host", "127.0.0.1", "--port", "0", "--served-model-name", "x"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{fake}", "VLLM_API_KEY": "k"}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(room), *words], stdin=subprocess.PIPE, env=environment
    ) as owner:
        pids = started(fake)["pids"]
        assert all(alive(int(pid)) for pid in pids)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert gone(pids)


def test_it_is_said_that_a_server_is_started_once_for_all_parts(fake: Path) -> None:
    said: list[str] = []
    with Engines(VLLM, BASE, SCALE, 8, said.append) as engines:
        urls = list(engines.each(lambda engine, part: (engine.url, part), [1, 2]))
    assert len({url for url, _ in urls}) == 1
    assert said == ["vLLM is started for these weights, which takes a minute or more"]
