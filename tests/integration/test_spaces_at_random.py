# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two processes index, fill, swap, drop and die while models and documents change and people search: all at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from context_chat_backend.domain import Chunk, Passage, Principal, Question, Realm, SourceRef
from context_chat_backend.errors import DatabaseUnavailable, SpaceGone
from context_chat_backend.indexing.preparing import embedded_text
from context_chat_backend.indexing.reembedding import Reembedding
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.store.chunks import Chunks
from context_chat_backend.store.database import Database
from context_chat_backend.store.leases import Leases
from context_chat_backend.store.spaces import Spaces
from context_chat_backend.store.tails import Tails
from tests.integration.test_spaces import BY_MEANING, NC, Process

MODELS = [HashingEmbedder(dimension) for dimension in (16, 24, 40)]
USERS = [Principal(Realm.NEXTCLOUD, name) for name in ("alice", "bob", "carol")]
ITEMS = [str(number) for number in range(60)]
SECONDS = 6.0
WORDS = ("harbour", "ferry", "lighthouse", "crew", "storm", "captain", "island", "anchor", "sail", "whale")


class Oracle:
    """Who may read what; and what a search may show that began a while ago."""

    def __init__(self) -> None:
        self.readers: dict[str, set[Principal]] = {}
        self._watched: list[tuple[Principal, set[str]]] = []

    def allow(self, item: str, readers: Collection[Principal]) -> None:
        """To be called before the action: it may be seen before it is acknowledged."""
        self.readers.setdefault(item, set()).update(readers)
        for user, seen in self._watched:
            if user in readers:
                seen.add(item)

    def keep(self, item: str, readers: Collection[Principal]) -> None:
        """To be called after the action: nobody else may read it in a search that begins from now on."""
        self.readers[item] = set(readers)

    def readable(self, user: Principal) -> set[str]:
        return {item for item, readers in self.readers.items() if user in readers}

    def watch(self, user: Principal) -> set[str]:
        self._watched.append((user, self.readable(user)))
        return self._watched[-1][1]


class Sea:
    """All that happens at once."""

    def __init__(self, database: Database, folder: Path, seed: int) -> None:
        self.database, self.folder, self.random = database, folder, random.Random(seed)
        self.oracle = Oracle()
        self.processes: list[Process] = []
        self.modified = 0
        self.spaces_seen: set[int] = set()
        self.searches = self.changes = self.kills = 0
        self.over = False

    async def start(self, configured: HashingEmbedder) -> Process:
        process = await Process.start(self.database, self.folder, configured, *MODELS)
        process.reembedding = Reembedding(
            Spaces(self.database), process.spaces, Chunks(self.database), Leases(self.database),
            process.build_index, grace=timedelta(seconds=0.2),
        )  # fmt: skip
        return process

    async def again_and_again(self, step: Callable[[], Awaitable[None]], pause: float) -> None:
        while not self.over:
            await step()
            await asyncio.sleep(self.random.uniform(0, pause))

    @property
    def one(self) -> Process:
        return self.random.choice(self.processes)

    def some(self) -> set[Principal]:
        return set(self.random.sample(USERS, self.random.randint(1, 3)))

    async def edit(self) -> None:
        item = self.random.choice(ITEMS)
        ref = SourceRef("files__default", item)
        match self.random.choice(("deliver", "deliver", "deliver", "delete", "allow", "deny")):
            case "deliver":
                readers = self.some()
                self.oracle.allow(item, readers)
                self.modified += 1
                said = [" ".join(self.random.choices(WORDS, k=8)) for _ in range(self.random.randint(1, 60))]
                await self.one.admit(item, f"{item}: " + ". ".join(said), self.modified, sorted(readers, key=str))
                self.oracle.keep(item, readers)
            case "delete" if item in self.oracle.readers:
                await self.one.actions.delete_sources(NC, [ref])
                self.oracle.readers.pop(item, None)
            case "allow" if item in self.oracle.readers:
                readers = self.some()
                self.oracle.allow(item, readers)
                await self.one.actions.allow(NC, [ref], readers)
            case "deny" if item in self.oracle.readers:
                readers = self.some()
                await self.one.actions.deny(NC, [ref], readers)
                self.oracle.keep(item, self.oracle.readers[item] - readers)
                if not self.oracle.readers[item]:
                    del self.oracle.readers[item]

    async def settle(self) -> None:
        process = self.one
        for source in await process.ledger.claim(2, timedelta(minutes=5)):
            await process.indexer.settle(source)

    async def search(self) -> None:
        user, process = self.random.choice(USERS), self.one
        allowed = self.oracle.watch(user)
        text = " ".join(self.random.choices(WORDS, k=3))
        passages = await process.retriever.passages(Question(text, user, limit=30), BY_MEANING)
        assert {passage.source.item for passage in passages} <= allowed
        self.spaces_seen |= await _spaces_of(text, passages)
        self.searches += 1

    async def refresh(self) -> None:
        await self.one.spaces.refresh()

    async def sweep(self) -> None:
        await self.one.actions.sweep_sources()

    async def drop(self) -> None:
        await self.one.reembedding.drop_retired()

    async def index_tail(self) -> None:
        process = self.one
        for space in process.spaces.live:
            with suppress(SpaceGone):  # as of a process that has not looked for long
                await Tails(self.database).index(space.stored, 50)

    async def fill(self) -> None:
        """One process fills; now and then it is killed, and its lease ends."""
        work = asyncio.create_task(self.one.reembedding.work())
        if self.random.random() < 0.4:
            await asyncio.wait([work], timeout=self.random.uniform(0, 0.5))
            if work.cancel():
                self.kills += 1
            await asyncio.wait([work])
            return
        with suppress(DatabaseUnavailable):  # two changes crossed: it is tried again, as the program does
            await work

    async def change(self) -> None:
        """One process starts anew, with a model of its own."""
        await asyncio.sleep(self.random.uniform(0.1, 1.0))
        self.processes[self.random.randrange(2)] = await self.start(self.random.choice(MODELS))
        self.changes += 1

    async def storm(self) -> None:
        self.processes = [await self.start(MODELS[0]), await self.start(MODELS[0])]
        steps = [
            (self.edit, 0.02), (self.settle, 0.02), (self.settle, 0.02), (self.search, 0.01), (self.search, 0.01),
            (self.refresh, 0.3), (self.sweep, 0.3), (self.drop, 0.3), (self.fill, 0.1), (self.fill, 0.1),
            (self.change, 0.5), (self.index_tail, 0.2),
        ]  # fmt: skip
        running = [asyncio.create_task(self.again_and_again(step, pause)) for step, pause in steps]
        await asyncio.wait(running, timeout=SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        self.over = True
        await asyncio.gather(*running)

    async def calm(self) -> Process:
        """Nothing changes any more; one process does what is left."""
        async with self.database.transaction() as connection:
            await connection.execute("UPDATE source SET next_attempt_at = now(), leased_until = NULL")
            await connection.execute("UPDATE lease SET until = now() - interval '1 second'")
        process = await self.start(MODELS[1])
        await process.settle()
        await process.actions.sweep_sources()
        await process.reembedding.work()
        await asyncio.sleep(0.3)
        await process.reembedding.drop_retired()
        return process


async def _spaces_of(text: str, passages: list[Passage]) -> set[int]:
    """The one space all these similarities come from. Fails where there is none."""
    if not passages:
        return set()
    found = set()
    for model in MODELS:
        question = await model.embed_question(text)
        vectors = await model.embed_passages([embedded_text(p.title, Chunk(0, p.text)) for p in passages])
        if np.allclose(vectors @ question, [p.similarity for p in passages], atol=4e-3):
            found.add(model.space.dimension)
    assert found, [p.similarity for p in passages]
    return found if len(found) == 1 else set()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_at_once_rights_hold_no_result_is_mixed_and_nothing_is_lost(
    database: Database, tmp_path: Path, seed: int
) -> None:
    sea = Sea(database, tmp_path, seed)
    await sea.storm()
    process = await sea.calm()

    assert sea.searches > 20
    assert sea.changes > 2
    assert (process.spaces.filling, process.answering) == (None, 24)
    async with database.transaction() as connection:
        rows = await connection.execute("SELECT state FROM embedding_space")
        assert await rows.fetchall() == [("answering",)]
        table = f"embedding_{process.spaces.answering.stored.id}"
        rows = await connection.execute(
            f"SELECT count(*), count(chunk.id), count(words.chunk_id), count({table}.chunk_id) FROM chunk "
            f"FULL JOIN words ON words.chunk_id = chunk.id FULL JOIN {table} ON {table}.chunk_id = chunk.id".encode()
        )
        ((most, *each),) = await rows.fetchall()
        assert each == [most] * 3
    for user in USERS:
        found = await process.retriever.passages(Question("storm", user, limit=400), BY_MEANING)
        assert {passage.source.item for passage in found} == sea.oracle.readable(user)
