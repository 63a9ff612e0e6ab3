# SPDX-License-Identifier: AGPL-3.0-or-later
"""A running chat server, and what its clients and administrators do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tests.program import ROOT, Program
from tests.streams import events_in
from tests.waiting import until

TOKEN = "token-of-the-administrators"
UNLIMITED = "rate_limits: {ip_per_minute: 1000000, key_per_minute: 1000000}\n"
QUOTING = "llm:\n  extractive:\n"
NO_JUDGE = "safety:\n  enabled: false\n"
SAMPLES = ROOT / "samples" / "qa"


class ChatServer:
    """A running chat server."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def admin(self, method: str, path: str, body: Any = None, token: str | None = TOKEN) -> httpx.Response:
        """What an administrator calls below /admin."""
        headers = {} if token is None else {b"Authorization": f"Bearer {token}".encode()}
        return self.http.request(method, f"/admin{path}", json=body, headers=headers)

    def collection(self, name: str, pairs: Sequence[Mapping[str, str]] = ()) -> None:
        """Make a collection, and put pairs into it."""
        assert self.admin("POST", "/collections", {"name": name}).status_code == 200
        if pairs:
            until(lambda: self._waiting_after(name, pairs) == 0)

    def _waiting_after(self, name: str, pairs: Sequence[Mapping[str, str]]) -> int:
        """Put the pairs into it, which changes nothing the second time; how many are not searched yet."""
        answer = self.admin("POST", f"/collections/{name}/qa-pairs", list(pairs))
        assert (answer.status_code, answer.json()["rejected"]) == (200, []), answer.text
        return int(answer.json()["waiting"])

    def key(self, collection: str, **more: Any) -> str:
        """A new key."""
        answer = self.admin("POST", "/api-keys", {"collection_name": collection, "client_name": "tests", **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["api_key"])

    def chat(
        self, key: str | None, message: Any, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """POST /chat, whole where nothing else is said."""
        sent = ({} if key is None else {"X-API-Key": key}) | dict(headers or {})
        return self.http.post("/chat", json={"message": message, "stream": False, **more}, headers=sent)

    def records(self) -> list[dict[str, Any]]:
        """What was written down of the exchanges."""
        files = sorted((self.program.storage / "chat").glob("chat-*.log"))
        return [
            json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()
        ]


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """What a stream holds."""
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    return events_in(answer.text)


def sample() -> list[dict[str, str]]:
    """The pairs of the town."""
    pairs: list[dict[str, str]] = json.loads((SAMPLES / "town.json").read_text(encoding="utf-8"))
    return pairs


@contextmanager
def chatting(
    storage: Path,
    database_url: str | None,
    lines: str = QUOTING + NO_JUDGE,
    *,
    limits: str = UNLIMITED,
    **environment: str,
) -> Iterator[ChatServer]:
    """The program as a chat server, with further lines of its configuration."""
    port = free_port()
    general = "" if "general:" in lines else f"general:\n  host: 127.0.0.1\n  port: {port}\n"
    (storage / "config.yaml").write_text(f"{lines}{limits}{general}".replace("PORT", str(port)), encoding="utf-8")
    told = {"ADMIN_TOKEN": TOKEN} | ({} if database_url is None else {"CCB_DB_URL": database_url}) | environment
    with Program(storage, told, forked=True) as program:
        server = ChatServer(program, port)
        yield server
        server.http.close()
