# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small HTTP server with the files of a model, which stalls, breaks and lies when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ModelServer:
    """What it has, how it misbehaves, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []
        self.break_after: list[int] = []
        """For each request in turn: close the connection after so many bytes of the body."""
        self.stall_after: list[int] = []
        """For each request in turn: say nothing more after so many bytes."""
        self.statuses: list[int] = []
        """For each request in turn: answer with this status."""
        self.knows_ranges = True
        self.released = threading.Event()


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """The server, at `url`, until the end of the block."""
    told = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.ranges.append(self.headers.get("Range"))
            body = told.files.get(self.path)
            status = told.statuses.pop(0) if told.statuses else 200 if body is not None else 404
            if status != 200 or body is None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            if told.knows_ranges and (wanted := self.headers.get("Range")):
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if told.break_after:
                self.wfile.write(body[start : start + told.break_after.pop(0)])
                return
            if told.stall_after:
                self.wfile.write(body[start : start + told.stall_after.pop(0)])
                self.wfile.flush()
                told.released.wait(20)
                return
            self.wfile.write(body[start:])

        def log_message(self, *_: Any) -> None:
            """Silence."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that hangs up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield told
    finally:
        told.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
