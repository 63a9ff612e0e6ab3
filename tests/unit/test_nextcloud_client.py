# SPDX-License-Identifier: AGPL-3.0-or-later
"""Our reports to Nextcloud: contract appapi 2.2, 4 and 11."""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64decode
from collections.abc import AsyncIterator

import pytest

from context_chat_backend.nextcloud.client import NextcloudClient
from tests.listening import listening

OK = b'{"ocs":{"meta":{"status":"ok","statuscode":100},"data":[]}}'
FAILURE = b'{"ocs":{"meta":{"status":"failure","statuscode":996},"data":[]}}'


class Nextcloud:
    """Gives one answer to everything and keeps the requests."""

    def __init__(self) -> None:
        self.status, self.body = 200, OK
        self.requests: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        self.requests.append(head + await reader.readexactly(length))
        writer.write(
            b"HTTP/1.1 %d x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (self.status, len(self.body))
        )
        writer.write(self.body)
        await writer.drain()
        writer.close()


@pytest.fixture
async def nextcloud() -> AsyncIterator[Nextcloud]:
    running = Nextcloud()
    async with listening(running.answer) as running.port:
        yield running


async def report(port: int, percent: int = 100) -> bool:
    client = NextcloudClient(f"http://127.0.0.1:{port}", "context_chat_backend", "5.4.0", "s3cret: ü")
    try:
        return await client.report_progress(percent)
    finally:
        await client.close()


async def test_progress_is_reported_as_appapi_wants_it(nextcloud: Nextcloud) -> None:
    assert await report(nextcloud.port, 37)

    head, _, body = nextcloud.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert first == "PUT /ocs/v1.php/apps/app_api/ex-app/status?format=json HTTP/1.1"
    assert json.loads(body) == {"progress": 37, "error": ""}
    assert b64decode(headers["authorization-app-api"]).decode() == ":s3cret: ü"
    assert headers["ex-app-id"] == "context_chat_backend"
    assert headers["ex-app-version"] == "5.4.0"
    assert headers["ocs-apirequest"] == "true"
    assert headers["accept"] == headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, FAILURE), (401, FAILURE), (412, b'{"message":"ExApp required"}'), (429, b""), (503, b"<html>"), (200, b"[]"),
     (200, b'{"ocs":[]}'), (200, b"")],
)  # fmt: skip
async def test_whatever_is_no_success_is_no_success(nextcloud: Nextcloud, status: int, body: bytes) -> None:
    nextcloud.status, nextcloud.body = status, body
    assert not await report(nextcloud.port)


async def test_an_unreachable_nextcloud_is_no_error(unused_port: int) -> None:
    assert not await report(unused_port)


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    return port


OF_NC_PY_API = """
import os, sys, warnings
warnings.simplefilter("ignore")
os.environ |= {"NEXTCLOUD_URL": sys.argv[1], "APP_ID": "context_chat_backend", "APP_VERSION": "5.4.0",
    "APP_SECRET": "s3cret: ü", "AA_VERSION": "5.0.2"}
from nc_py_api import NextcloudApp
NextcloudApp(user="alice").ocs("PUT", "/ocs/v1.php/apps/app_api/ex-app/status", json={"progress": 37, "error": ""})
"""


async def test_a_call_is_signed_as_the_library_of_nextcloud_signs_it(nextcloud: Nextcloud) -> None:
    url = f"http://127.0.0.1:{nextcloud.port}"
    client = NextcloudClient(url, "context_chat_backend", "5.4.0", "s3cret: ü")
    body = {"progress": 37, "error": ""}
    await client.call("PUT", "/ocs/v1.php/apps/app_api/ex-app/status", json=body, user="alice")
    await client.close()
    library = await asyncio.create_subprocess_exec(sys.executable, "-c", OF_NC_PY_API, url)
    assert await library.wait() == 0

    ours, theirs = (_parts(request) for request in nextcloud.requests[-2:])
    assert ours["line"] == theirs["line"]
    assert json.loads(ours["body"]) == json.loads(theirs["body"])
    signing = ("authorization-app-api", "ex-app-id", "ex-app-version", "ocs-apirequest", "accept")
    assert {name: ours[name] for name in signing} == {name: theirs[name] for name in signing}


def _parts(request: bytes) -> dict[str, str]:
    head, _, body = request.decode().partition("\r\n\r\n")
    line, *named = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in named)}
    return headers | {"line": line, "body": body}
