# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two worlds that differ only in what alice may not read look the same to alice, byte for byte, whatever she asks.

That holds at every surface, for what a model's server is asked in her name, for what is logged and counted of her
requests, and for what is written down of them. `CCB_SEEDS=50` runs fifty seeds by hand.
"""

from __future__ import annotations

import json
import os
import random
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from context_chat_backend.answering.planner.catalogue_files import read_instances, read_packages
from context_chat_backend.domain import KeyScope
from context_chat_backend.store.conversations import Owner
from tests.model_double.client import ModelDouble, running_double
from tests.program import ROOT
from tests.waiting import soon
from tests.worlds import BOB, RANDOM, TOWN, WORDS, Story, World, live, story, world

SEEDS = int(os.environ.get("CCB_SEEDS", "8"))
SERVICES = ("chat", "gateway", "planner")
_TIMES = re.compile(r'"(?:\w+_ms|milliseconds|@?timestamp|masked)": ?(?:[\d.]+|null|"[^"]*")')


@dataclass(frozen=True)
class Asked:
    """A request in the name of alice, or of the collection `town`."""

    method: str
    path: str
    key: str | None = None
    more: dict[str, Any] = field(default_factory=dict)
    surface: str = "nextcloud"


def requests(told: Story) -> Iterator[Asked]:
    """What alice and programs in her name ask: questions, scopes that name secrets, ids that are guessed."""
    refs = [source.ref for source in told.secret]
    scopes: list[dict[str, Any]] = [
        {},
        {"scopeType": "source", "scopeList": [*refs, told.common[0].ref]},
        {"scopeType": "source", "scopeList": refs[-2:]},
        {"scopeType": "source", "scopeList": ["files__default: 400", "files__default: 500"]},
        {"scopeType": "provider", "scopeList": ["calendar__events"]},
        {"scopeType": "provider", "scopeList": ["mail__messages", "calendar__events"]},
    ]
    for number, question in enumerate(told.questions):
        for scope in scopes if number == 0 else [scopes[0], scopes[1 + number % 5]]:
            body = {"query": question, "userId": "alice", "ctxLimit": 1 + number * 3 % 20, **scope}
            yield Asked("POST", "/docSearch", None, {"json": body})
            yield Asked("POST", "/query", None, {"json": body})
        asked = {"messages": [{"role": "user", "content": question}], "retrieval": True}
        yield Asked("POST", "/v1/chat/completions", "chat", {"json": asked})
        yield Asked("POST", "/v1/chat/completions", "ingest", {"json": asked})
        yield Asked("POST", "/v1/chatqna", "chat", {"json": {"messages": question, "k": 20, "top_n": 20}})
    for collection in ("vault", "nowhere", "town", "lost", "gone"):
        asked = {"messages": [{"role": "user", "content": "What is old?"}], "retrieval": {"collections": [collection]}}
        for key in ("chat", "ingest"):
            yield Asked("POST", "/v1/chat/completions", key, {"json": asked})
            yield Asked("GET", f"/v1/documents/collection__{collection}: 1", key)
            yield Asked("DELETE", f"/v1/documents/collection__{collection}: 1", key)
            named = {"data": {"collection": collection}, "files": {"files": ("a.txt", b"")}}
            yield Asked("POST", "/v1/documents", key, named)
    for path in ("/v1/models", "/v1/conversations", "/v1/conversations/export", "/health?verbose=1", "/openapi.json"):
        yield Asked("GET", path, "chat")
    for path in ("/status", "/metrics"):
        yield Asked("GET", path, "chat")
    yield Asked("POST", "/v1/embeddings", "chat", {"json": {"input": [told.secret[0].text, told.common[0].text]}})


def service_requests(told: Story, chance: random.Random, count: int = 30) -> Iterator[Asked]:
    """What is asked of the chat server, the gateway and the planner, in an order nobody would think of."""
    for surface in SERVICES:
        yield Asked("GET", "/openapi.json", "town", surface=surface)
        yield Asked("GET", "/health", "town", surface=surface)
    for path in ("/v1/models", "/refact-caps", "/coding_assistant_caps.json", "/tokenizer/vault"):
        yield Asked("GET", path, "code", surface="gateway")
    for _ in range(count):
        made = chance.choice((_of_chat, _of_chat, _of_gateway, _of_gateway, _of_planner))
        yield made(chance.choice(told.questions), chance)


def _of_chat(question: str, chance: random.Random) -> Asked:
    session = chance.choice(["mine", "other", "of-bob"])
    told = {"session_id": session} if chance.random() < 0.6 else {}
    requests: list[tuple[str, str, dict[str, Any]]] = (
        [
            *[("POST", "/chat", {"json": {"message": question, "stream": streams, "top_k": 5, **told}})
              for streams in (True, False) for _ in range(3)],
            ("GET", f"/chat/sessions/{session}", {}),
            ("DELETE", f"/chat/sessions/{session}", {}),
            ("POST", "/chat/stop", {"json": {"request_id": "of-bob"}}),
            ("POST", "/chat/feedback", {"json": {"request_id": "of-bob", "rating": "up", "comment": "good"}}),
            ("POST", "/v1/chat/completions", {"json": {"messages": [{"role": "user", "content": question}]}}),
            ("GET", "/admin/collections", {}),
        ]
    )  # fmt: skip
    method, path, more = chance.choice(requests)
    return Asked(method, path, chance.choice(["town", "town", "code"]), more, "chat")


def _of_gateway(question: str, chance: random.Random) -> Asked:
    wanted = chance.choice(
        [True, True, {"collections": ["town"]}, {"collections": ["vault"]}, {"collections": ["gone"]}]
    )
    said: dict[str, Any] = {"retrieval": wanted, "stream": chance.random() < 0.5}
    messages = {"messages": [{"role": "user", "content": question}], **said}
    inputs = {"sources": {"a.py": f"# {question}\n"}, "cursor": {"file": "a.py", "line": 1, "character": 0}}
    path, body = chance.choice(
        [
            ("/api/refact/chat", messages),
            ("/api/refact/chat", {"prompt": question, **said}),
            ("/v1/completions", {"prompt": [question, "x"], **said}),
            ("/v1/code-completion", {"inputs": inputs, "rag_tokens_n": 2000, **said}),
            ("/v1/chat/completions", {**messages, "model": "echo"}),
        ]
    )
    return Asked("POST", path, chance.choice(["code", "town"]), {"json": body}, "gateway")


def _of_planner(question: str, chance: random.Random) -> Asked:
    conversation = chance.choice(["{plan}", "{plan}", "{plan of bob}"])
    asked = f"Deploy Llama 8B for inference on one GPU according to our documents about {question}"
    message = {"conversation_id": conversation, "message": asked}
    events = {"headers": {"Accept": "text/event-stream"}}
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/api/v1/chat/message", {"json": message}),
        ("POST", "/api/v1/chat/message", {"json": message} | events),
        ("POST", "/api/v1/tools/documents/search", {"json": {"query": question, "top_k": 20}}),
        ("POST", "/api/v1/tools/k8s/search", {"json": {"query": chance.choice(WORDS)}}),
        ("GET", "/api/v1/chat", {}),
        ("GET", f"/api/v1/chat/{conversation}", {}),
        ("PATCH", f"/api/v1/chat/{conversation}", {"json": {"title": question}}),
        ("DELETE", "/api/v1/chat/{plan of bob}", {}),
    ]
    method, path, more = chance.choice(requests)
    return Asked(method, path, "code", more, "planner")


async def conversation(there: World, told: Story) -> list[tuple[int, Any, str]]:
    """A conversation of alice, and what is left of it."""
    there.names["talk"] = await there.begin("/v1/conversations", "chat")
    seen = []
    for question in told.questions[:3]:
        body = {"messages": [{"role": "user", "content": question}], "retrieval": True, "conversation": "{talk}"}
        seen.append(await there.see("POST", "/v1/chat/completions", "chat", json=body))
    seen.append(await there.see("GET", "/v1/conversations/{talk}", "chat"))
    return seen


async def prepare(there: World, *, secretly: bool) -> None:
    """Catalogues for plans, a conversation of alice, and in one world others that she may guess the names of."""
    catalogues = there.backend.planner.place.catalogues
    samples = ROOT / "samples" / "catalogues"
    await catalogues.replace_instances(read_instances(samples / "cloud_instances.csv"))
    await catalogues.replace_packages(read_packages(samples / "k8s_packages.json"))
    there.names["plan"] = await there.begin("/api/v1/chat/start", "code", surface="planner")
    there.names["plan of bob"] = str(uuid.uuid4())
    if not secretly:
        return
    there.names["plan of bob"] = str((await there.backend.planning.begin(Owner(BOB, ""), "secret")).id)
    there.keys["bob"], _ = await there.backend.keys.add("bob", user=None, collections=[TOWN], scopes=[KeyScope.CHAT])
    sent = {"X-Request-ID": "of-bob"}
    said = {"message": "What is old?", "session_id": "of-bob", "stream": False}
    assert (await there.see("POST", "/chat", "bob", "chat", json=said, headers=sent))[0] == 200


@dataclass(frozen=True)
class Seen:
    """What became of a request, for her and for those who look on."""

    answer: tuple[int, Any, str]
    passed_on: list[Any]
    """What the model's server was asked."""
    logged: list[str]


def in_order(text: str) -> str:
    """An answer without signs of life; a plan's events of tools that were used at once stand in the order of names."""
    events = [event for event in text.split("\n\n") if event != ": ping"]
    places = [place for place, event in enumerate(events) if event.startswith("event: tool_result\n")]
    for place, event in zip(places, sorted(events[place] for place in places), strict=True):
        events[place] = event
    return "\n\n".join(events)


async def seen_in(there: World, asked: Asked, double: ModelDouble) -> Seen:
    double.script()
    with capture_logs() as lines:
        status, shown, text = await there.see(asked.method, asked.path, asked.key, asked.surface, **asked.more)
    # What an answer took is logged some time after it; the same is compared as it is written down.
    told = [json.dumps(line, default=str, sort_keys=True) for line in lines if line["event"] != "answered"]
    logged = [_TIMES.sub("*", RANDOM.sub("*", line)) for line in told]
    return Seen(
        (status, shown, in_order(text)), [(one["path"], one["body"]) for one in double.requests], sorted(logged)
    )


async def written_down(there: World, url: str) -> tuple[list[Any], list[str]]:
    """What was counted of her requests, and the records of the chat server."""
    await there.all_written()
    with psycopg.connect(url) as connection:
        counted = connection.execute(
            "SELECT surface, model, prompt_tokens, completion_tokens, status, cancelled FROM access.usage"
            " JOIN access.api_keys ON api_keys.id = key_id WHERE client_name <> 'bob' ORDER BY 1, 2, 3, 4, 5, 6"
        ).fetchall()
    files = sorted((there.backend.config.storage / "chat").glob("chat-*.log"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert counted
    assert lines
    hers = [line for line in lines if json.loads(line)["request_id"] != "of-bob"]
    return counted, sorted(_TIMES.sub("*", RANDOM.sub("*", line)) for line in hers)


@asynccontextmanager
async def two_worlds(told: Story, storage: Path, urls: tuple[str, str], double: ModelDouble) -> AsyncIterator[Any]:
    more = (
        "rate_limits: {ip_per_minute: 1000000, key_per_minute: 1000000}\n"
        "planner: {messages_per_minute: 1000000, tools_per_minute: 1000000, model_seconds: 600}\n"
        "gateway: {timeouts: {first: 600, idle: 600}}\n"  # a slow machine says nothing of a world
        f"models:\n  echo: {{provider: openai, base_url: '{double.root}', model: stub-echo, n_ctx: 16384}}\n"
        "roles: {completion: [echo], chat: [echo]}\nlisteners: [{port: 5000, surfaces: [chat]}]\n"
    )
    async with (
        world(storage / "one", urls[0], more, SERVICES) as one,
        world(storage / "other", urls[1], more, SERVICES) as other,
    ):
        for there in (one, other):
            await live(there, told, secretly=there is other)
            await prepare(there, secretly=there is other)
        yield one, other


async def compare(seed: int, storage: Path, urls: tuple[str, str], count: int = 30) -> None:
    told = story(seed)
    with running_double() as double:
        async with two_worlds(told, storage, urls, double) as (one, other):
            different = []
            answered = dict.fromkeys((*SERVICES, "nextcloud"), 0)
            for asked in [*requests(told), *service_requests(told, random.Random(seed), count)]:
                seen, seen_there = await seen_in(one, asked, double), await seen_in(other, asked, double)
                answered[asked.surface] += seen.answer[0] == 200
                if seen != seen_there:
                    different.append(f"{asked}\n  {seen}\n  {seen_there}")
            assert not different, "\n".join(different)
            assert answered["nextcloud"] > 40
            assert min(answered.values()) > 3
            assert await conversation(one, told) == await conversation(other, told)

            async def are_alike() -> bool:
                return await written_down(one, urls[0]) == await written_down(other, urls[1])

            with suppress(TimeoutError):  # what was used is written down some time after the answer
                await soon(are_alike)
            assert await written_down(one, urls[0]) == await written_down(other, urls[1])


@pytest.fixture
def urls(database_url: str, new_database_url: str) -> tuple[str, str]:
    return database_url, new_database_url


async def test_a_user_sees_nothing_of_what_he_may_not_read(storage: Path, urls: tuple[str, str]) -> None:
    await compare(0, storage, urls)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, SEEDS))
async def test_a_user_sees_nothing_of_it_in_many_worlds(storage: Path, urls: tuple[str, str], seed: int) -> None:
    await compare(seed, storage, urls, count=150)
