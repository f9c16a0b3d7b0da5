"""What stands where vLLM's server module stands: it starts a worker and serves, or is at fault as FAKE_VLLM says."""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
fault, room = os.environ["FAKE_VLLM"], Path(os.environ["FAKE_VLLM_ROOM"])


def end(line: str) -> None:
    """Say why, and end."""
    print("Traceback (most recent call last):\n  ...\n" + line + "\n[rank0]: leaving", flush=True)
    sys.exit(1)


class Handler(BaseHTTPRequestHandler):
    """Lists the model; answers nothing."""

    def do_GET(self) -> None:
        """The list, to who has the key."""
        version = "0.99.0" if fault == "is of another version" else "0.31.0"
        said = json.dumps({"data": [{"id": options["--served-model-name"]}], "version": version}).encode()
        allowed = self.headers.get("Authorization") == "Bearer " + os.environ["VLLM_API_KEY"]
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def do_POST(self) -> None:
        """The end, in the middle of an answer."""
        print("RuntimeError: engine core died", flush=True)
        os._exit(1)

    def log_message(self, *words: object) -> None:
        """Nothing."""


if fault == "dies":
    end("ValueError: no such architecture")
if fault == "is full":
    end("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")
if fault == "finds its port taken" or (fault == "finds it taken once" and not (room / "once").exists()):
    (room / "once").touch()
    end("OSError: [Errno 98] Address already in use")
if fault == "hangs":
    time.sleep(600)
worker = subprocess.Popen(["sleep", "600"], start_new_session=True)
(room / "started.json").write_text(json.dumps({"pids": [os.getpid(), worker.pid], "argv": sys.argv[1:]}))


def tidy(*given: object) -> None:
    """Say that it was asked to end."""
    (room / "tidied").touch()
    os._exit(0)


signal.signal(signal.SIGTERM, tidy)
ThreadingHTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
