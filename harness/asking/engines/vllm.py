"""vLLM as a server of ours: one process for the weights of one folder, on this machine's loopback alone."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.asking.engines.endpoint import Endpoint
from harness.asking.engines.kinds import VLLM
from harness.asking.engines.prompts import picture_size
from harness.asking.engines.transformers import load_processor
from harness.asking.engines.whole import whole_model
from harness.core import Scale, UserError
from harness.outside import Outside
from harness.values import cut
from harness.weights import weights_digest

PYTHON = "CPT_HARNESS_VLLM_PYTHON"  # a Python that has vLLM; this one where it is not set
INSTALL = 'pip install -c constraints-gpu.txt -e ".[vllm]"'
RELEASE = "0.31"  # of vLLM; raise the version of the kind VLLM with it
START_SECONDS = 1800.0
TRIES = 3  # another program may take a free port before the server does
GRACE = 30.0  # seconds in which it gives back what it shares with its workers
CLOSING = 3.0  # seconds
PICTURES = 16  # of a prompt, at most
GPU_SHARE = 0.85  # what is left is for this process, which may hold a model's context
FULL = ("out of memory", "OutOfMemory", "No available memory", "Free memory on device", "KV cache is needed")
# Nothing is fetched or reported.
FIXED = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false", "VLLM_LOGGING_LEVEL": "WARNING",
}  # fmt: skip
# What torch's launcher tells a training process, and vLLM would take for its own.
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")


class Server:
    """A running server with a folder of its own for its log; it and its workers end with this process."""

    def __init__(self, room: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it."""
        self._log = room / "log.txt"
        self._process = Outside(command, log=self._log, lock=room / "lock", folder=room, environment=environment)

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether it has ended, or does so within so many seconds."""
        return self._process.wait(seconds) is not None

    def lines(self) -> list[str]:
        """What it said."""
        said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line.strip() for line in said if line.strip()]

    def last_words(self) -> str:
        """Its last line that names an error, or else its last line."""
        lines = self.lines()
        errors = [line for line in lines if "Error" in line or "error:" in line]
        return cut((errors or lines or ["it said nothing"])[-1], 200)

    def close(self) -> None:
        """End it and its workers; closing again changes nothing."""
        self._process.close(GRACE)


class VllmEngine(Endpoint):
    """A model from a folder, served by vLLM in a process of its own. It is an ``Engine``."""

    name = VLLM.name
    version = VLLM.version

    def __init__(self, folder: Path, scale: Scale) -> None:
        """Start the server, which takes about a minute, and wait for it.

        Raises:
            UserError: where vLLM is not installed, does not start, or has too little memory.
        """
        self._server: Server | None = None
        self.device_kind, devices = _device()
        python = os.environ.get(PYTHON) or sys.executable
        if python == sys.executable and importlib.util.find_spec("vllm") is None:
            raise UserError(f"vLLM is not installed: run `{INSTALL}`, or name a Python that has it in {PYTHON}")
        serves, key = weights_digest(folder), secrets.token_hex(16)
        environment = {name: value for name, value in os.environ.items() if name not in RANKS}
        environment |= {**FIXED, "VLLM_API_KEY": key}
        environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        self._room = tempfile.TemporaryDirectory(prefix="vllm-")
        try:
            model = whole_model(folder, scale, Path(self._room.name) / "model")
            for left in reversed(range(TRIES)):
                port = _free_port()
                # The module, not the command `vllm`: that of the build for CPUs asks for another package's metadata.
                words = [python, "-m", "vllm.entrypoints.openai.api_server"]
                words += options(model.absolute(), scale, serves, port, devices)
                self._server = Server(Path(self._room.name), words, environment)
                if self._listens(port, left > 0):
                    break
                self._server.close()
            super().__init__(f"http://127.0.0.1:{port}/v1", folder, scale, key, serves)
            self._refuse_other_version(self._send(f"http://127.0.0.1:{port}/version", None))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the server; closing again changes nothing."""
        if self._server is not None:
            self._server.close()
        self._room.cleanup()

    def _listens(self, port: int, again: bool) -> bool:
        """Wait until the server listens; False where another program has its port and it is to be tried again."""
        server, until = self._opened(), time.monotonic() + START_SECONDS
        while not server.ended():
            if time.monotonic() > until:
                raise UserError(f"vLLM does not start within {START_SECONDS:.0f} s ({server.last_words()})")
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return True
            time.sleep(0.2)
        if again and any("already in use" in line for line in server.lines()):
            return False
        raise self._gone("")

    def _refuse_other_version(self, said: Any) -> None:
        found = str(said.get("version")) if isinstance(said, dict) else "none"
        if not found.startswith(f"{RELEASE}."):
            raise UserError(f"vLLM is {cut(found, 20)}, replies are kept as those of {RELEASE}: run `{INSTALL}`")

    def _opened(self) -> Server:
        if self._server is None:
            raise RuntimeError("the engine is closed")
        return self._server

    def _gone(self, reason: str) -> UserError:
        server = self._opened()
        if not server.ended(CLOSING):  # a connection is seen to close before a process is seen to end
            return UserError(f"vLLM's server does not answer ({cut(reason, 100)}; its log: {server.last_words()})")
        lines = server.lines()
        if full := next((line for line in lines if any(word in line for word in FULL)), None):
            return UserError(f"vLLM has too little memory ({cut(full, 200)}): free some, or use a larger device")
        if any("No module named 'vllm" in line for line in lines):
            return UserError(f"{PYTHON} names a Python without vLLM: run `{INSTALL}` there")
        return UserError(f"vLLM's server ended ({server.last_words()}): see that it can serve this model")


def options(folder: Path, scale: Scale, serves: str, port: int, devices: int) -> list[str]:
    """The server's options: nothing that moves a reply is left to the model's folder or to vLLM."""
    size = picture_size(load_processor(folder, scale), scale)
    given = {
        "--model": str(folder), "--served-model-name": serves, "--host": "127.0.0.1", "--port": str(port),
        "--dtype": scale.precision, "--max-model-len": str(longest(folder, scale)), "--seed": "0",
        "--load-format": "safetensors", "--generation-config": "vllm", "--chat-template-content-format": "openai",
        "--mm-processor-kwargs": json.dumps(size),
        "--limit-mm-per-prompt": json.dumps({"image": PICTURES, "video": 0}),
        "--uvicorn-log-level": "warning",
    }  # fmt: skip
    more = ["--gpu-memory-utilization", str(GPU_SHARE)] if devices else ["--enforce-eager"]
    more += ["--data-parallel-size", str(devices)] if devices > 1 else []
    return [*(word for pair in given.items() for word in pair), *more]


def longest(folder: Path, scale: Scale) -> int:
    """The tokens of the longest prompt and reply of a scale, or those that the model has places for."""
    from transformers import AutoConfig

    wanted = scale.max_prompt_tokens + max(decoding.max_new_tokens for decoding in scale.decodings.values())
    config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    return min(wanted, int(getattr(config, "max_position_embeddings", None) or wanted))


def _device() -> tuple[str, int]:
    """The kind of device that models run on here, and how many GPUs there are."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return (torch.cuda.get_device_name(0), count) if count else ("cpu", 0)


def _free_port() -> int:
    """A port of the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


__all__ = ["Server", "VllmEngine", "options"]
