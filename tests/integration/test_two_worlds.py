# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two worlds that differ only in what alice may not read look the same to alice, byte for byte, whatever she asks.

Each seed makes two installations with the same sources, of which the second has more: secrets of others made of the
same words, copies of what she reads, things she lost, things that were deleted, and a collection she does not know of.
`CCB_SEEDS=50` runs fifty seeds by hand.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from context_chat_backend import config
from context_chat_backend.cli.index import index
from context_chat_backend.domain import Collection, KeyScope, Principal, Realm
from context_chat_backend.web.app import build_app
from context_chat_backend.wiring import Backend
from tests.program import BOUNDARY, SECRET, headers, part

SEEDS = int(os.environ.get("CCB_SEEDS", "8"))
WORDS = (  # noqa: SIM905 - a list of so many is not read more easily
    "heron windmill bridge harbour budget roof lantern ferry orchard tunnel archive violin kettle meadow anchor "
    "quarry saddle beacon thistle marble copper glacier walnut pigeon"
).split()
GERMAN = "Die Häuser der Gemeinde wurden im Herbst gestrichen, und die Brücken sind gesperrt, weil der Fluss steigt."
ALICE, BOB = Principal(Realm.LOCAL, "alice"), Principal(Realm.LOCAL, "bob")
TOWN, VAULT = Collection("town"), Collection("vault")
RANDOM = re.compile(r'chatcmpl-[0-9a-f]{24}|conv_[0-9a-f]{32}|"(?:created|created_at|updated_at)": ?\d+')


@dataclass
class Source:
    ref: str
    text: str
    readers: str
    title: str


@dataclass
class Story:
    """What happens in both worlds, what happens in the second alone, and what is asked then."""

    common: list[Source] = field(default_factory=list)
    secret: list[Source] = field(default_factory=list)
    town: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)


def story(seed: int) -> Story:
    chance = random.Random(seed)

    def text(words: Sequence[str], least: int = 4, most: int = 40) -> str:
        sentences = [
            f"The {' '.join(chance.choices(words, k=chance.randint(2, 6)))} is old."
            for _ in range(chance.randint(1, max(1, most // least)))
        ]
        return " ".join(sentences)

    def source(number: int, readers: str, words: Sequence[str]) -> Source:
        provider = chance.choice(["files__default", "mail__messages"])
        return Source(f"{provider}: {number}", text(words), readers, f"{chance.choice(WORDS)} {number}.txt")

    told = Story()
    told.common = [source(n, chance.choice(["alice", "alice,bob", "bob"]), WORDS) for n in range(1, 15)]
    few = chance.sample(WORDS, 3)  # of which secrets are full: so that these words are rare in one world alone
    told.secret = [source(100 + n, chance.choice(["bob", "carol", "bob,carol"]), few) for n in range(12)]
    for n, copied in enumerate(chance.sample(told.common, 3)):
        told.secret.append(Source(f"files__default: {200 + n}", copied.text, "bob", copied.title))
    told.secret.append(Source("files__default: 300", GERMAN, "bob", "Brücken.txt"))
    told.secret.append(Source("calendar__events: 301", text(few), "carol", "only here.txt"))
    told.town = [text(WORDS) for _ in range(3)]
    told.questions = [
        " ".join(chance.choices([*WORDS, *few], k=chance.randint(1, 6))) + chance.choice(["", "?"]) for _ in range(8)
    ]
    told.questions += ["Which houses are painted?", few[0], " ".join(few), "Brücken Häuser", "only here"]
    return told


class World:
    """One installation, and what its users do."""

    def __init__(self, backend: Backend, client: httpx.AsyncClient, folder: Path) -> None:
        self.backend = backend
        self._client = client
        self._folder = folder
        self.keys: dict[str, str] = {}

    async def deliver(self, sources: Sequence[Source]) -> None:
        """One after the other, for what is alike is given in the order in which it was indexed."""
        sent = headers() | {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        for one in sources:
            body = part(one.ref, one.text.encode(), one.readers, title=one.title) + f"--{BOUNDARY}--\r\n".encode()
            answer = await self._client.put("/loadSources", content=body, headers=sent)
            assert answer.json()["loaded_sources"] == [one.ref]
            await self.rest()

    async def rest(self) -> None:
        """Wait until nothing waits."""
        while (await self.backend.ledger.count_states()).get("waiting"):
            await asyncio.sleep(0.02)

    async def act(self, path: str, **body: Any) -> None:
        answer = await self._client.post(path, json=body, headers=headers())
        assert answer.status_code == 200, answer.text

    async def collect(self, collection: Collection, reader: Principal, texts: Sequence[str]) -> None:
        for number, text in enumerate(texts):
            file = self._folder / f"{collection.name}-{number}.txt"  # the same in both worlds: its id is made of it
            file.write_text(text, encoding="utf-8")
            readers = frozenset({reader})
            outcome = await index(
                self.backend, [file], readers, lambda *_: None, base=self._folder, collection=collection
            )
            assert outcome.rejected == 0

    async def make_keys(self) -> None:
        scopes = {"chat": [KeyScope.CHAT, KeyScope.EMBEDDING], "ingest": [KeyScope.INGEST, KeyScope.CHAT]}
        for name, user, collections in (("chat", ALICE, []), ("ingest", None, [TOWN])):
            self.keys[name], _ = await self.backend.keys.add(
                "tests", user=user, collections=collections, scopes=scopes[name]
            )

    async def see(self, method: str, path: str, key: str | None = None, **more: Any) -> tuple[int, Any, str]:
        """All of an answer that a caller sees, but for what is random or a time."""
        sent = headers() if key is None else {"Authorization": f"Bearer {self.keys[key]}"}
        answer = await self._client.request(method, path, headers=sent, **more)
        shown = sorted((name, value) for name, value in answer.headers.items() if name != "x-request-id")
        body = RANDOM.sub("*", answer.text)
        return answer.status_code, shown, re.sub(r'"request_id":"[^"]*"', '"request_id":"*"', body)


@asynccontextmanager
async def world(storage: Path, url: str) -> AsyncIterator[World]:
    storage.mkdir(exist_ok=True)
    (storage / "config.yaml").write_text(
        "embedding:\n  hashing:\nllm:\n  extractive:\nchatqna:\n  requests_per_minute: 100000\n", encoding="utf-8"
    )
    environment = {"APP_PERSISTENT_STORAGE": str(storage), "CCB_DB_URL": url, "APP_SECRET": SECRET}
    backend = Backend(config.load(environment, cores=1))
    await backend.start()
    try:
        await backend.switch.set_enabled(True)
        transport = httpx.ASGITransport(build_app(backend, surfaces=("nextcloud", "openai", "chatqna")))
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
            yield World(backend, client, storage.parent)
    finally:
        await backend.close()


async def live(there: World, told: Story, *, secretly: bool) -> None:
    """Both worlds are made by the same calls, with the same pauses; secrets come before, between and after."""
    half = len(told.secret) // 2
    if secretly:
        await there.deliver(told.secret[:half])
        await there.collect(VAULT, BOB, [source.text for source in told.secret[:3]])
    await there.deliver(told.common)
    await there.collect(TOWN, ALICE, told.town)
    if secretly:
        await there.deliver(told.secret[half:])
        for number, gone in enumerate(told.common[:2]):  # she read these for a while
            lost = Source(f"files__default: {400 + number}", gone.text, "alice,bob", "lost.txt")
            deleted = Source(f"files__default: {500 + number}", gone.text, "alice", "deleted.txt")
            await there.deliver([lost, deleted])
            await there.act("/updateAccess", op="deny", userIds=["alice"], sourceId=lost.ref)
            await there.act("/deleteSources", sourceIds=[deleted.ref])
        await there.act("/query", query="What is old?", userId="bob")
    await there.make_keys()


def requests(told: Story) -> Iterator[tuple[str, str, str | None, dict[str, Any]]]:
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
            yield "POST", "/docSearch", None, {"json": body}
            yield "POST", "/query", None, {"json": body}
        asked = {"messages": [{"role": "user", "content": question}], "retrieval": True}
        yield "POST", "/v1/chat/completions", "chat", {"json": asked}
        yield "POST", "/v1/chat/completions", "ingest", {"json": asked}
        yield "POST", "/v1/chatqna", "chat", {"json": {"messages": question, "k": 20, "top_n": 20}}
    for collection in ("vault", "nowhere", "town"):
        asked = {"messages": [{"role": "user", "content": "What is old?"}], "retrieval": {"collections": [collection]}}
        for key in ("chat", "ingest"):
            yield "POST", "/v1/chat/completions", key, {"json": asked}
            yield "GET", f"/v1/documents/collection__{collection}: 1", key, {}
            yield "DELETE", f"/v1/documents/collection__{collection}: 1", key, {}
            named = {"data": {"collection": collection}, "files": {"files": ("a.txt", b"")}}
            yield "POST", "/v1/documents", key, named
    for path in ("/v1/models", "/v1/conversations", "/v1/conversations/export", "/health?verbose=1", "/openapi.json"):
        yield "GET", path, "chat", {}
    for path in ("/status", "/metrics"):
        yield "GET", path, "chat", {}
    yield "POST", "/v1/embeddings", "chat", {"json": {"input": [told.secret[0].text, told.common[0].text]}}


async def conversation(there: World, told: Story) -> list[tuple[int, Any, str]]:
    """A conversation of alice, and what is left of it."""
    begun = await there._client.post(
        "/v1/conversations", json={}, headers={"Authorization": f"Bearer {there.keys['chat']}"}
    )
    id_ = begun.json()["id"]
    seen = []
    for question in told.questions[:3]:
        body = {"messages": [{"role": "user", "content": question}], "retrieval": True, "conversation": id_}
        seen.append(await there.see("POST", "/v1/chat/completions", "chat", json=body))
    seen.append(await there.see("GET", f"/v1/conversations/{id_}", "chat"))
    return seen


async def compare(seed: int, storage: Path, urls: tuple[str, str]) -> None:
    told = story(seed)
    async with world(storage / "one", urls[0]) as one, world(storage / "other", urls[1]) as other:
        await live(one, told, secretly=False)
        await live(other, told, secretly=True)
        different = []
        answered = 0
        for method, path, key, more in requests(told):
            seen, seen_there = await one.see(method, path, key, **more), await other.see(method, path, key, **more)
            answered += seen[0] == 200
            if seen != seen_there:
                different.append(f"{method} {path} {json.dumps(more, default=str)}\n  {seen}\n  {seen_there}")
        assert different == []
        assert answered > 40
        assert await conversation(one, told) == await conversation(other, told)


@pytest.fixture
def urls(database_url: str, new_database_url: str) -> tuple[str, str]:
    return database_url, new_database_url


async def test_a_user_sees_nothing_of_what_he_may_not_read(storage: Path, urls: tuple[str, str]) -> None:
    await compare(0, storage, urls)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, SEEDS))
async def test_a_user_sees_nothing_of_it_in_many_worlds(storage: Path, urls: tuple[str, str], seed: int) -> None:
    await compare(seed, storage, urls)
