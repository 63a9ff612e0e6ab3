# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small HTTP server that speaks OpenAI's protocol for embeddings, and misbehaves when it is told to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from context_chat_backend.inference.embedding.hashing import HashingEmbedder

DIMENSION = 64


@dataclass(frozen=True)
class Answer:
    """What the server says instead of vectors."""

    status: int
    body: bytes = b'{"error": {"message": "no"}}'
    headers: dict[str, str] = field(default_factory=dict)


Trouble = Callable[[list[str]], Answer | None]
"""Looks at the texts of a request; None lets it pass."""


class EmbeddingServer:
    """Gives vectors of hashed words; keeps the requests it got."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.trouble: Trouble = lambda texts: None
        self.dimension = DIMENSION
        self.order = 1
        self.url = ""
        self._lock = threading.Lock()

    @property
    def batches(self) -> list[list[str]]:
        return [request["input"] for request in self.requests]

    def answer(self, request: dict[str, Any], authorization: str | None) -> Answer:
        with self._lock:
            self.requests.append(request)
            self.authorizations.append(authorization)
            trouble = self.trouble(request["input"])
        if trouble is not None:
            return trouble
        vectors = asyncio.run(HashingEmbedder(self.dimension).embed_passages(request["input"])) * 3  # not of length one
        data = [{"index": index, "embedding": vector.tolist()} for index, vector in enumerate(vectors)]
        return Answer(200, json.dumps({"object": "list", "data": data[:: self.order]}).encode())


@contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    """The server, at `url`, until the end of the block."""
    told = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/embeddings":
                answer = Answer(404)
            else:
                answer = told.answer(request, self.headers.get("Authorization"))
            if answer.status == 0:  # hang up
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            """Silence."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that hangs up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
