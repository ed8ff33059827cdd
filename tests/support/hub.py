"""A Hugging Face hub of one model on this machine, which counts what is downloaded from it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = "lab/generator"
COMMIT = "0" * 39 + "1"


class Hub(ThreadingHTTPServer):
    """Serves the files of ``directory`` as the repository MODEL. ``downloads``: whole files, by name."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {path.name: path for path in directory.iterdir() if path.is_file()}
        self.downloads: Counter[str] = Counter()
        self.unknown: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub(directory: Path) -> Iterator[Hub]:
    server = Hub(directory)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield server
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None: ...

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        files = self.server.files
        if path.startswith(f"{MODEL}/resolve/") and (name := path.rpartition("/")[2]) in files:
            if body:
                self.server.downloads[name] += 1
            content = files[name].read_bytes()
            self._send(200, content, body, etag=hashlib.sha256(content).hexdigest())
        elif path.startswith(f"api/models/{MODEL}/tree/"):
            entries = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                for name, file in files.items()
            ]
            self._send(200, json.dumps(entries).encode(), body)
        elif path == f"api/models/{MODEL}" or path.startswith(f"api/models/{MODEL}/revision/"):
            about = {"id": MODEL, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            self._send(200, json.dumps(about).encode(), body)
        else:
            self.server.unknown.append(self.path)
            self._send(404, b"", body)

    def _send(self, status: int, content: bytes, body: bool, *, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if body:
            self.wfile.write(content)
