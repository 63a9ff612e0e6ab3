# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two installations that differ only in what alice may not read, and what is told of them.

Each seed makes a story: sources both have, and of which the second has more: secrets of others made of the same words,
copies of what she reads, things she lost, things that were deleted, and a collection she does not know of.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from context_chat_backend import config
from context_chat_backend.cli.index import index
from context_chat_backend.domain import Collection, KeyScope, Principal, Realm
from context_chat_backend.web.app import build_app
from context_chat_backend.wiring import Backend
from tests.program import BOUNDARY, SECRET, headers, part

WORDS = (  # noqa: SIM905 - a list of so many is not read more easily
    "heron windmill bridge harbour budget roof lantern ferry orchard tunnel archive violin kettle meadow anchor "
    "quarry saddle beacon thistle marble copper glacier walnut pigeon"
).split()
GERMAN = "Die Häuser der Gemeinde wurden im Herbst gestrichen, und die Brücken sind gesperrt, weil der Fluss steigt."
ALICE, BOB = Principal(Realm.LOCAL, "alice"), Principal(Realm.LOCAL, "bob")
TOWN, VAULT, LOST, GONE = Collection("town"), Collection("vault"), Collection("lost"), Collection("gone")
RANDOM = re.compile(
    r"chatcmpl-[0-9a-f]{24}|cmpl-[0-9a-f]{24}|conv_[0-9a-f]{32}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r'|"(?:created|created_at|updated_at)": ?(?:\d+|"[^"]*")|"request_id": ?"[^"]*"'
)
SURFACES = ("nextcloud", "openai", "chatqna")


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

    def __init__(self, backend: Backend, clients: Mapping[str, httpx.AsyncClient], folder: Path) -> None:
        self.backend = backend
        self.clients = clients
        """By the surface they ask; those of SURFACES are one application."""
        self._client = clients["nextcloud"]
        self._folder = folder
        self.keys: dict[str, str] = {}
        self.names: dict[str, str] = {}
        """What stands for `{name}` in a path or a body: ids this installation has given."""

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
        chat, code = [KeyScope.CHAT, KeyScope.EMBEDDING], [KeyScope.CHAT, KeyScope.COMPLETION]
        made: list[tuple[str, Principal | None, list[Collection], list[KeyScope]]] = [
            ("chat", ALICE, [], chat),
            ("ingest", None, [TOWN], [KeyScope.INGEST, KeyScope.CHAT]),
            ("code", ALICE, [], code),
            ("town", None, [TOWN], code),
        ]
        for name, user, collections, scopes in made:
            self.keys[name], _ = await self.backend.keys.add("tests", user=user, collections=collections, scopes=scopes)

    async def see(
        self, method: str, path: str, key: str | None = None, surface: str = "nextcloud", **more: Any
    ) -> tuple[int, Any, str]:
        """All of an answer that a caller sees, but for what is random or a time."""
        sent = headers() if key is None else {"Authorization": f"Bearer {self.keys[key]}"}
        sent |= more.pop("headers", {})
        if "json" in more:
            more["json"] = json.loads(self.named(json.dumps(more["json"])))
        answer = await self.clients[surface].request(method, self.named(path), headers=sent, **more)
        shown = sorted((name, value) for name, value in answer.headers.items() if name != "x-request-id")
        return answer.status_code, shown, RANDOM.sub("*", answer.text)

    async def begin(self, path: str, key: str, surface: str = "nextcloud") -> str:
        """The id of a conversation that is begun now."""
        begun = await self.clients[surface].post(path, headers={"Authorization": f"Bearer {self.keys[key]}"})
        told = begun.json()
        return str(told.get("id") or told["conversation_id"])

    async def all_written(self) -> None:
        """Wait until what was used and said is written down."""
        for client in self.clients.values():
            await asyncio.gather(*client._transport.app.state.writing)  # type: ignore[attr-defined]

    def named(self, text: str) -> str:
        """`text` with the ids of this installation in the places of their names."""
        for name, id_ in self.names.items():
            text = text.replace(f"{{{name}}}", id_)
        return text


@asynccontextmanager
async def world(
    storage: Path, url: str, more: str = "", surfaces: Sequence[str] = (), llm: str = "  extractive:\n"
) -> AsyncIterator[World]:
    """An installation; `more` are lines of its configuration, `surfaces` applications of their own."""
    storage.mkdir(exist_ok=True)
    (storage / "config.yaml").write_text(
        f"embedding:\n  hashing:\nllm:\n{llm}chatqna:\n  requests_per_minute: 100000\n{more}",
        encoding="utf-8",
    )
    environment = {"APP_PERSISTENT_STORAGE": str(storage), "CCB_DB_URL": url, "APP_SECRET": SECRET}
    backend = Backend(config.load(environment, cores=1))
    await backend.start()
    try:
        await backend.switch.set_enabled(True)
        async with AsyncExitStack() as stack:
            clients = {}
            for served in (SURFACES, *((surface,) for surface in surfaces)):
                transport = httpx.ASGITransport(build_app(backend, surfaces=served))
                client = httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60)
                clients[served[0]] = await stack.enter_async_context(client)
            yield World(backend, clients, storage.parent)
    finally:
        await backend.close()


async def live(there: World, told: Story, *, secretly: bool) -> None:
    """Both worlds are made by the same calls, with the same pauses; secrets come before, between and after."""
    half = len(told.secret) // 2
    if secretly:
        await there.deliver(told.secret[:half])
        await there.collect(VAULT, BOB, [source.text for source in told.secret[:3]])
        for hidden in (LOST, GONE):
            await there.collect(hidden, ALICE, [source.text for source in told.secret[3:5]])
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
        await there.backend.collections.deny(LOST, [ALICE])
        assert await there.backend.collections.delete(GONE)
        await there.act("/query", query="What is old?", userId="bob")
    await there.make_keys()
