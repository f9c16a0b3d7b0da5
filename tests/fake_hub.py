"""A hub on this machine: data sets from folders, over http, as far as a snapshot needs one."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = 1000  # bytes, from which on a file is one of LFS


class Hub(ThreadingHTTPServer):
    """Serves ``files`` (name to bytes) of one data set at one revision; ``asked`` are the requests that came."""

    daemon_threads = True

    def __init__(self, name: str, revision: str, files: dict[str, bytes], slow: float = 0.0) -> None:
        """Take a free port."""
        super().__init__(("127.0.0.1", 0), Answer)
        self.name, self.revision, self.files, self.slow = name, revision, files, slow
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Headers alone."""
        self.answer(body=False)

    def do_GET(self) -> None:
        """The whole answer."""
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        """Find what is asked for."""
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        if found := re.fullmatch(rf"/datasets/{hub.name}/resolve/([^/]+)/(.+)", path):
            if found[1] in (hub.revision, "main") and found[2] in hub.files:
                return self.file(hub.files[found[2]], body)
        elif found := re.fullmatch(rf"/api/datasets/{hub.name}(?:/revision/([^/]+))?", path):
            if found[1] in (None, "main", hub.revision):
                return self.json(self.info())
            return self.json({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif found := re.fullmatch(rf"/api/datasets/{hub.name}/tree/([^/]+)/?", path):
            return self.json([self.entry(name) for name in sorted(hub.files)])
        elif path.startswith("/site/") and path.removeprefix("/site/") in hub.files:
            return self.file(hub.files[path.removeprefix("/site/")], body)
        return self.json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def entry(self, name: str) -> dict[str, object]:
        """What the hub says of a file."""
        content = self.server.files[name]
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        found: dict[str, object] = {"type": "file", "path": name, "rfilename": name, "size": len(content), "oid": blob}
        if len(content) >= LARGE:
            sha256 = hashlib.sha256(content).hexdigest()
            found["lfs"] = {"oid": sha256, "sha256": sha256, "size": len(content), "pointerSize": 130}
        return found

    def info(self) -> dict[str, object]:
        """What the hub says of the data set."""
        hub = self.server
        siblings = [self.entry(name) for name in sorted(hub.files)]
        return {"_id": "1", "id": hub.name, "sha": hub.revision, "private": False, "gated": False, "disabled": False,
                "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}  # fmt: skip

    def json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with JSON."""
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def file(self, content: bytes, body: bool) -> None:
        """Answer with a file, or the rest of it."""
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{sha256}"', "X-Repo-Commit": self.server.revision, "Accept-Ranges": "bytes"}
        begun = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        part = content[int(begun[1]) :] if begun else content
        if begun:
            headers["Content-Range"] = f"bytes {begun[1]}-{len(content) - 1}/{len(content)}"
        self.send(part, 206 if begun else 200, headers, body)

    def send(self, content: bytes, status: int, headers: dict[str, str], body: bool = True) -> None:
        """Write an answer, slowly if asked."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        step = 2**14 if self.server.slow else max(1, len(content))
        for start in range(0, len(content) if body and self.command == "GET" else 0, step):
            with suppress(ConnectionError):  # of a client that was killed
                self.wfile.write(content[start : start + step])
            time.sleep(self.server.slow)


@contextmanager
def serving(name: str, files: dict[str, bytes], revision: str = "a" * 40, slow: float = 0.0) -> Iterator[Hub]:
    """A hub that serves as long as the block lasts."""
    hub = Hub(name, revision, files, slow)
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def folder_files(folder: Path) -> dict[str, bytes]:
    """The files of a folder by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
