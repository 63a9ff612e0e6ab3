# SPDX-License-Identifier: AGPL-3.0-or-later
"""The push surface in a process of its own, bytes on a real socket: samples, memory, callers that hang up."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.program import BOUNDARY, ROOT, headers, part
from tests.waiting import until

SAMPLES = ROOT.parent / "shared" / "contract" / "samples"
SECRET = "s3cret-demo"
MIB = 1024 * 1024
SERVER = """
import socket, sys
from pathlib import Path
import uvicorn
from context_chat_backend.domain import Admission
from context_chat_backend.web.app import build_app
from tests.fakes import FakeAdmissions, FakeBackend

class Measuring(FakeAdmissions):
    async def admit_new(self, deliveries):
        return set()

    async def admit(self, delivery, body, size):
        if size < 1024**2:
            return await super().admit(delivery, body, size)
        kept, right = body.stat().st_size, int(delivery.media_type)
        assert size == right and kept == min(size, backend.config.indexing.max_source_bytes + 1)
        return Admission.ADMITTED

backend = FakeBackend(Path(sys.argv[1]))
backend.admission = Measuring()
backend.config.indexing.max_source_bytes = 110 * 1024**2
listener = socket.socket(fileno=int(sys.argv[2]))
uvicorn.Server(uvicorn.Config(build_app(backend), log_config=None, lifespan="off")).run(sockets=[listener])
"""


class Server:
    """Only the push surface, around a backend that remembers."""

    def __init__(self, storage: Path) -> None:
        self.spool = storage / "tmp"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
            number = listener.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(storage), str(number)], cwd=ROOT, pass_fds=[number]
            )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers(SECRET), timeout=120)

    def resident_bytes(self) -> int:
        """Memory of the process right now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def peak_bytes(self) -> int:
        """The most memory the process ever had."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("storage"))
    yield running
    running.client.close()
    running.process.terminate()
    running.process.wait(60)


def sample(name: str) -> dict[str, Any]:
    file = SAMPLES / f"{name}.json"
    if not file.exists():
        pytest.skip("the contract's samples are not beside the project")
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize("name", ["push-load-sources", "push-beta4-load-sources"])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_bytes_of_the_samples_are_understood(server: Server, name: str, chunked: bool) -> None:
    read = sample(name)
    request = read["requests"][0]
    body = "\r\n".join(request["body_lines_crlf"]).encode()

    pieces = (body[n : n + 50] for n in range(0, len(body), 50))
    answer = server.client.put("/loadSources", content=pieces if chunked else body, headers=request["headers"])

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    if name == "push-load-sources":
        assert answer.json() == read["responses"][0]["body"]


@pytest.mark.parametrize(
    "name",
    ["push-beta4-delete-by-provider", "push-beta4-delete-sources", "push-count-indexed-documents",
     "push-delete-provider", "push-delete-sources", "push-delete-user", "push-doc-search", "push-enabled-get",
     "push-query", "push-update-access", "push-update-access-declarative", "push-update-access-provider",
     "appapi-heartbeat", "appapi-init", "appapi-trigger", "appapi-download-logs", "appapi-enabled"],
)  # fmt: skip
def test_the_requests_of_the_samples_have_the_answers_of_the_samples(server: Server, name: str) -> None:
    read = sample(name)
    expected = read["responses"][0]
    for request in reversed(read["requests"]):
        body = b"" if request["body"] is None else json.dumps(request["body"]).encode()
        answer = httpx.request(
            request["method"], f"http://127.0.0.1:{server.port}{request['path']}", content=body,
            headers=request["headers"], params=request.get("query"), timeout=60,
        )  # fmt: skip
        assert answer.status_code == expected["status"], answer.text
        for header, value in expected["headers"].items():
            assert answer.headers[header] == value
        if expected["body"] is not None:
            assert type(answer.json()) is type(expected["body"])
            if isinstance(expected["body"], dict) and not name.startswith("push-count"):
                assert set(answer.json()) == set(expected["body"])


def test_memory_stays_flat_with_230_mb(server: Server) -> None:
    server.client.get("/heartbeat")
    before = server.resident_bytes()
    almost_a_boundary = b"\r\n--d3m0" * (MIB // 8)

    def body() -> Iterator[bytes]:
        for number, size in enumerate((100 * MIB, 130 * MIB)):
            yield part(f"files__default: {number}", b"", type=str(size)).replace(b"Content-Length: 0\r\n", b"")[:-2]
            for _ in range(size // MIB):
                yield almost_a_boundary
            yield b"\r\n"
        yield part("files__default: 9", b"small") + f"--{BOUNDARY}--\r\n".encode()

    answer = server.client.put(
        "/loadSources", content=body(), headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    )

    loaded = [f"files__default: {number}" for number in (0, 1, 9)]
    assert answer.json() == {"loaded_sources": loaded, "sources_to_retry": []}
    assert server.peak_bytes() - before < 32 * MIB
    assert list(server.spool.iterdir()) == []


def test_a_caller_that_hangs_up_leaves_no_file_and_no_harm(server: Server) -> None:
    assert server.client.get("/enabled").json() == {"enabled": True}  # it has started
    head = "".join(f"{name}: {value}\r\n" for name, value in headers(SECRET).items())
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.sendall(
            f"PUT /loadSources HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 1000000\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode()
            + part("files__default: 1", b"whole")
            + part("files__default: 2", b"cut off" * 20_000)[:-100]
        )
        until(lambda: any(server.spool.iterdir()))
    until(lambda: not any(server.spool.iterdir()))
    assert server.client.get("/enabled").json() == {"enabled": True}


def test_a_stranger_is_refused_before_his_body_is_read(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as caller:
        caller.sendall(b"PUT /loadSources HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 401 ")
