# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every limit on requests: read from the configuration, named in its documentation, and kept."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import fields
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from context_chat_backend.domain import Answer, FoundSource, Question, Reason
from context_chat_backend.errors import ConfigurationError, SourceRejected
from context_chat_backend.limits import Limits
from context_chat_backend.parsing import limits as file_limits
from context_chat_backend.parsing.parse import parse
from context_chat_backend.settings.limits import read_limits
from context_chat_backend.web.app import build_app
from context_chat_backend.web.bodies import bounded, is_deeper
from context_chat_backend.web.errors import Refusal
from tests import hostile
from tests.fakes import FakeBackend
from tests.hostile import paragraph, word
from tests.program import BOUNDARY, headers, part

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3cret-demo"
NAMES = [field.name for field in fields(Limits)]
ASKED = {"query": "x", "userId": "alice"}
MAIL = "message/rfc822"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class SlowBackend(FakeBackend):
    """Searches take until they are let go."""

    def __init__(self, storage: Path) -> None:
        super().__init__(storage)
        self.going = asyncio.Event()

    async def find_sources(self, question: Question) -> list[FoundSource]:
        await self.going.wait()
        return []

    async def answer(self, question: Question) -> Answer:
        await self.going.wait()
        return Answer("I found nothing.")


@asynccontextmanager
async def connected(storage: Path, **limits: int) -> AsyncIterator[tuple[httpx.AsyncClient, SlowBackend]]:
    backend = SlowBackend(storage)
    backend.config.limits = Limits(**limits)
    transport = httpx.ASGITransport(build_app(backend))  # type: ignore[arg-type]  # in the shape of one
    async with httpx.AsyncClient(transport=transport, base_url="http://backend", headers=headers(SECRET)) as client:
        yield client, backend


async def _in_work(client: httpx.AsyncClient, users: Iterable[str]) -> list[asyncio.Task[httpx.Response]]:
    """Searches that wait for their answers."""
    asked = [asyncio.create_task(client.post("/docSearch", json=ASKED | {"userId": user})) for user in users]
    for _ in range(100):  # turns of the loop, so that each has reached the backend
        await asyncio.sleep(0)
    return asked


# What the configuration says


def test_limits_have_defaults() -> None:
    assert read_limits(None) == read_limits({}) == Limits()


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_can_be_set(name: str) -> None:
    assert getattr(read_limits({name: 2**30}), name) == 2**30


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", None, [], 2**70])
def test_a_limit_that_is_no_number_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"limits.{name}: expected a whole number of at least"):
        read_limits({name: value})


def test_an_unknown_limit_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"'limits\.header_byte'; did you mean 'header_bytes'"):
        read_limits({"header_byte": 1000})
    with pytest.raises(ConfigurationError, match="limits: expected options"):
        read_limits([1])


@pytest.mark.parametrize("name", NAMES)
def test_every_limit_is_documented_with_its_default_and_has_a_test(name: str) -> None:
    lines = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"| `limits.{name}` |")]
    assert f"| {getattr(Limits, name)} |" in line

    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    assert any(f"{name}=" in text or f"{name}: " in text for text in tests)


# Bodies


async def test_a_body_of_nextcloud_has_a_length(tmp_path: Path) -> None:
    async with connected(tmp_path, nextcloud_body_bytes=100) as (client, _):
        answer = await client.post("/docSearch", json=ASKED | {"scopeList": ["x" * 100]})
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


async def test_a_push_has_a_length(tmp_path: Path) -> None:
    async with connected(tmp_path, push_body_bytes=100) as (client, _):
        body = part("files__default: 5", b"x" * 100) + f"--{BOUNDARY}--\r\n".encode()
        answer = await client.put("/loadSources", content=body, headers=MULTIPART)
    assert answer.status_code == 413


async def test_a_push_has_so_many_parts(tmp_path: Path) -> None:
    async with connected(tmp_path, parts=2) as (client, _):
        body = part("files__default: 5", b"x") * 3 + f"--{BOUNDARY}--\r\n".encode()
        answer = await client.put("/loadSources", content=body, headers=MULTIPART)
    assert (answer.status_code, "more than 2 parts" in answer.text) == (400, True)


async def test_a_part_has_so_many_headers(tmp_path: Path) -> None:
    async with connected(tmp_path, part_headers=8) as (client, _):
        changed = {f"x-{number}": "y" for number in range(8)}
        body = part("files__default: 5", b"x", **changed) + f"--{BOUNDARY}--\r\n".encode()
        answer = await client.put("/loadSources", content=body, headers=MULTIPART)
    assert answer.status_code == 400


async def test_json_is_nested_so_deeply(tmp_path: Path) -> None:
    async with connected(tmp_path, json_depth=8) as (client, backend):
        backend.going.set()
        deep: Any = []
        for _ in range(8):
            deep = [deep]
        refused = await client.post("/docSearch", json=ASKED | {"further": deep})
        taken = await client.post("/docSearch", json=ASKED | {"further": deep[0][0]})
    assert (refused.status_code, refused.json()) == (400, {"error": "the body is nested more than 8 levels deep"})
    assert taken.status_code == 200


@pytest.mark.parametrize("depth", [1, 2, 5, 64])
def test_depth_is_counted_as_json_has_it(depth: int) -> None:
    nested: Any = {}
    for number in range(depth - 1):
        nested = [nested, {}, "[" * 90, '\\"{'] if number % 2 else {"]}": nested, "\\": [], "[": {"a": 1}}
    text = json.dumps([nested, *([[]] * 100)]).encode()
    assert not is_deeper(text, depth + 2)
    assert is_deeper(text, depth - 1) if depth > 1 else not is_deeper(b"[]", 1)


async def test_a_question_has_so_many_characters(tmp_path: Path) -> None:
    async with connected(tmp_path, question_characters=10) as (client, backend):
        backend.going.set()
        assert (await client.post("/query", json=ASKED | {"query": "x" * 10})).status_code == 200
        assert (await client.post("/query", json=ASKED | {"query": "x" * 11})).status_code == 400


@pytest.mark.parametrize("packed", ["gzip", "br", "deflate, gzip", "x"])
async def test_a_packed_body_is_refused_unread(tmp_path: Path, packed: str) -> None:
    async with connected(tmp_path) as (client, backend):
        content = gzip.compress(b" " * 10_000_000)
        answer = await client.post("/docSearch", content=content, headers={"Content-Encoding": packed})
    assert answer.status_code == 415
    assert backend.questions == []


async def test_a_body_that_trickles_is_not_waited_for_and_one_nobody_reads_yet_is(monkeypatch: Any) -> None:
    limits = Limits(body_seconds=10, body_bytes_per_second=100)
    clock = asyncio.get_running_loop()
    now = clock.time()
    monkeypatch.setattr(clock, "time", lambda: now)
    pause = 0.0

    async def receive() -> dict[str, Any]:
        nonlocal now
        now += pause
        return {"type": "http.request", "body": bytes(500), "more_body": True}

    fast, slow = (bounded(receive, 10**9, limits) for _ in range(2))
    for _ in range(100):
        pause = 5.0
        await fast()
        now += 1000  # while what came is worked on
    pause = 5.5
    with pytest.raises(Refusal, match="too slowly"):
        await asyncio.gather(*(slow() for _ in range(100)))


# Files

DEEP = b"[" * 5 + b"]" * 5
FILES = {
    "pages": (Limits(file_pages=2), hostile.long_pdf(3), "application/pdf", Reason.TOO_MANY_PARTS),
    "attachments": (Limits(file_attachments=2), hostile.mail_with_attachments(9), MAIL, Reason.TOO_MANY_PARTS),
    "depth": (Limits(file_depth=4), DEEP, "application/json", Reason.TOO_DEEP),
    "parts": (Limits(file_parts=3), b"# one\n\na\n\n# two\n\nb\n\n# three\n\nc\n\n# four\n\nd\n", "text/markdown",
              Reason.TOO_MANY_PARTS),
    "characters": (Limits(file_characters=10), b"eleven chars", "text/plain", Reason.TOO_MUCH_TEXT),
    "entries": (Limits(file_entries=20), word("", entries=map(str, range(20))), hostile.WORD, Reason.TOO_MANY_PARTS),
    "size": (Limits(file_expanded_bytes=1000), word(paragraph("x" * 1000)), hostile.WORD, Reason.EXPANDS),
    "ratio": (Limits(file_expanded_ratio=2), word(paragraph("x" * 2**24)), hostile.WORD, Reason.EXPANDS),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_what_exceeds_a_limit_of_files_is_rejected(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    held, content, media_type, reason = FILES[kind]
    monkeypatch.setattr(file_limits, "held", held)
    with pytest.raises(SourceRejected) as rejection:
        parse(content, media_type)
    assert rejection.value.reason is reason


def test_files_in_files_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    mail = EmailMessage()
    mail.set_content("See attached.")
    mail.add_attachment(b"The roof is repaired.", maintype="text", subtype="plain", filename="roof.txt")

    def read() -> str:
        return "".join(part.text for part in parse(mail.as_bytes(), MAIL).parts)

    assert "roof is repaired" in read()
    monkeypatch.setattr(file_limits, "held", Limits(file_nested_files=1))
    assert "roof is repaired" not in read()


# Requests at once, and their time


async def test_a_request_too_many_is_told_to_come_back_and_is_answered_later(tmp_path: Path) -> None:
    async with connected(tmp_path, requests_at_once=2) as (client, backend):
        asked = await _in_work(client, ["alice", "bob"])
        refused = await client.post("/docSearch", json=ASKED)
        health = await client.get("/heartbeat")
        backend.going.set()
        answered = await asyncio.gather(*asked)
        later = await client.post("/docSearch", json=ASKED)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert health.status_code == 200
    assert [answer.status_code for answer in (*answered, later)] == [200, 200, 200]


async def test_a_user_has_so_many_requests_at_once_and_others_theirs(tmp_path: Path) -> None:
    async with connected(tmp_path, requests_at_once_per_asker=2) as (client, backend):
        asked = await _in_work(client, ["alice", "alice", "bob"])
        refused = await client.post("/query", json=ASKED)
        (bob,) = await _in_work(client, ["bob"])
        backend.going.set()
        answered = await asyncio.gather(*asked, bob)
        later = await client.post("/docSearch", json=ASKED)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert [answer.status_code for answer in (*answered, later)] == [200] * 5


async def test_a_request_has_an_end(tmp_path: Path) -> None:
    async with connected(tmp_path, request_seconds=1) as (client, _):
        answer = await client.post("/docSearch", json=ASKED)
    assert (answer.status_code, answer.headers["connection"]) == (503, "close")
