"""A small OpenAI-compatible server in this process: it answers by transformers, or is at fault as a test wishes."""

from __future__ import annotations

import base64
import copy
import io
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def pictures_of(body: dict[str, Any]) -> list[Any]:
    """The pictures of a request, as a server opens them."""
    from PIL import Image

    parts = [part for turn in body["messages"] for part in turn["content"] if part["type"] == "image_url"]
    urls = [part["image_url"]["url"].removeprefix("data:image/png;base64,") for part in parts]
    return [Image.open(io.BytesIO(base64.b64decode(url))) for url in urls]


def answered(text: str, tokens: int = 1, length: int = 0, finish: str = "stop") -> dict[str, Any]:
    """A completion as the API writes it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"completion_tokens": tokens, "prompt_tokens": length}}


def by_transformers(folder: Path, scale: Any) -> Answer:
    """What a server would answer that uses nothing of ours but the model: its template, its processor, its settings."""
    import torch

    from harness.asking.engines.transformers import load_model, load_processor

    processor, model, turn = load_processor(folder, scale), load_model(folder, "float32").eval(), threading.Lock()

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        pictures = pictures_of(body)
        chat = copy.deepcopy(body["messages"])  # which transformers may rewrite
        text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        inputs = processor(text=[text], images=pictures or None, return_tensors="pt")
        length = inputs["input_ids"].shape[1]
        free = body["temperature"] > 0
        how = {"do_sample": True, "top_p": body["top_p"], "top_k": 0} if free else {"do_sample": False}
        with turn, torch.inference_mode():
            torch.manual_seed(body["seed"])
            ids = model.generate(
                **inputs,
                **how,
                max_new_tokens=body["max_tokens"],
                suppress_tokens=[int(number) for number in body["logit_bias"]],
                eos_token_id=body["stop_token_ids"],
            )[0, length:].tolist()
        ends = ids[-1] in body["stop_token_ids"]
        text = processor.tokenizer.decode(ids[:-1] if ends else ids, skip_special_tokens=True)
        return answered(text, len(ids), length, "stop" if ends else "length")

    return answer


class FakeServer:
    """It serves ``serves`` and answers by ``answer``; ``requests`` keeps what it was asked, with the headers."""

    def __init__(self, serves: str, answer: Answer, key: str = "", fault: str = "") -> None:
        """Listen on a free port of the loopback."""
        self.requests: list[tuple[dict[str, Any], dict[str, str]]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(200, {"object": "list", "data": [{"id": serves, "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.requests.append((body, dict(self.headers)))
                if fault == "fails":
                    self._say(500, {"error": {"message": "no\nluck"}})
                elif fault == "goes":
                    self.close_connection = True
                elif fault == "babbles":
                    self._say(200, "<html>")
                else:
                    self._say(200, {} if fault == "says nothing" else answer(body))

            def _say(self, code: int, said: Any) -> None:
                if key and self.headers.get("Authorization") != f"Bearer {key}":
                    code, said = 401, {"error": "Unauthorized"}
                if fault == "sends elsewhere":
                    code = 302
                content = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                if code == 302:
                    self.send_header("Location", "http://127.0.0.1:9/v1/models")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *words: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> FakeServer:
        """Use it for a block."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close it."""
        self.close()
