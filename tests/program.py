# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real program as a process, and Nextcloud's side of the push contract as a client: for tests and benchmarks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests import commands
from tests.ports import free_port
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[1]
SECRET = "a secret of the tests: ü"
BOUNDARY = "d3m0boundary"


def headers(secret: str = SECRET, user: str = "") -> dict[str, str]:
    """What AppAPI sends with every request."""
    return {
        "AA-VERSION": "5.0.2",
        "EX-APP-ID": "context_chat_backend",
        "EX-APP-VERSION": "5.3.1",
        "AUTHORIZATION-APP-API": b64encode(f"{user}:{secret}".encode()).decode(),
        "AA-REQUEST-ID": "CLI",
    }


def part(ref: str, body: bytes, users: str = "alice", **changes: str) -> bytes:
    """One part of /loadSources as the companion's HTTP client writes it: its headers first, raw UTF-8."""
    named = {
        "userIds": users, "title": f"files/{ref.partition(': ')[2]}.txt", "type": "text/plain",
        "modified": "1718000000", "provider": ref.partition(": ")[0],
    } | changes  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return (
        f'--{BOUNDARY}\r\n{head}Content-Disposition: form-data; name="sources"; filename="{ref}"\r\n'
        f"Content-Length: {len(body)}\r\nContent-Type: application/octet-stream\r\n\r\n"
    ).encode() + body + b"\r\n"  # fmt: skip


class Program:
    """`main.py` in a process of its own, on a free port, with its own storage.

    A `forked` one starts sooner; its environment and its command line are not those a system shows of it.
    """

    def __init__(
        self,
        storage: Path,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = ("main.py",),
        *,
        forked: bool = False,
    ) -> None:
        self.storage = storage
        self._is_forked = forked
        self._command = command
        self.port = free_port()
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "APP_SECRET": SECRET,
            "APP_PORT": str(self.port), "APP_PERSISTENT_STORAGE": str(storage), "CC_DOWNLOAD_MODELS_FROM_HF": "false",
            **(environment or {}),
        }  # fmt: skip
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers(), timeout=120)
        self.process: subprocess.Popen[bytes] | commands.Forked | None = None

    def __enter__(self) -> Program:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.client.close()

    def start(self, *, enable: bool = True) -> None:
        """Start, and wait until it is ready."""
        self.storage.mkdir(parents=True, exist_ok=True)
        with (self.storage / "output.log").open("ab") as output:
            if self._is_forked:
                self.process = commands.Forked(["serve"], self.environment, output, output)
            else:
                self.process = subprocess.Popen(
                    [sys.executable, *self._command], cwd=ROOT, env=self.environment, stdout=output, stderr=output
                )
        until(self._is_ready, 2 * PATIENCE, said=lambda: "the program did not become ready")
        if enable:
            assert self.client.put("/enabled?enabled=1").json() == {"error": ""}

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the program ended: {self.output()[-2000:]}"
        with suppress(httpx.TransportError):
            return self.client.get("/enabled").status_code == 200
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; returns the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self.process = None
        self._check_logs()
        return code

    def _check_logs(self) -> None:
        """Whatever a test did: no log shows the secret."""
        logs = [self.storage / "output.log", *(self.storage / "logs").glob("*")]
        forms = {SECRET.encode(), json.dumps(SECRET)[1:-1].encode(), b64encode(f":{SECRET}".encode())}
        leaking = [log.name for log in logs if any(form in log.read_bytes() for form in forms)]
        assert leaking == []

    def run_command(self, *arguments: str) -> str:
        """What a command of the command line prints beside the running program, with the same configuration."""
        done = commands.run(*arguments, environment=self.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def output(self) -> str:
        """What it has printed so far."""
        return (self.storage / "output.log").read_text(encoding="utf-8", errors="replace")

    def load(self, parts: Iterable[bytes]) -> httpx.Response:
        """PUT /loadSources."""
        body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.client.put("/loadSources", content=body, headers=kind)

    def load_slowly(self, source: bytes, meanwhile: Callable[[], object]) -> httpx.Response:
        """PUT /loadSources with one large part, and `meanwhile` once half of it lies with the program."""

        def body() -> Iterator[bytes]:
            yield source[: len(source) // 2]
            arrived = self.storage / "tmp"
            until(lambda: any(arrived.rglob("part-*")), said=lambda: "the first half did not arrive")
            meanwhile()
            yield source[len(source) // 2 :] + f"--{BOUNDARY}--\r\n".encode()

        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.client.put("/loadSources", content=body(), headers=kind)

    def post(self, path: str, body: object = None) -> Any:
        """POST JSON; the decoded answer of a success."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.json()

    def wait_for_indexed(self, count: int, seconds: float = 300) -> None:
        """Wait until so many sources are indexed."""

        def indexed() -> int:
            return sum(int(of_one) for of_one in self.post("/countIndexedDocuments").values())

        until(lambda: indexed() >= count, seconds, said=lambda: f"{indexed()} of {count}: {self.output()[-2000:]}")
        assert indexed() == count

    def search(self, user: str, query: str, limit: int = 5, **scope: object) -> list[str]:
        """The source ids of POST /docSearch."""
        found = self.post("/docSearch", {"query": query, "userId": user, "ctxLimit": limit, **scope})
        return [source["source_id"] for source in found]
