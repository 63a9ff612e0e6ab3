# SPDX-License-Identifier: AGPL-3.0-or-later
"""Embedding across sources: batches are filled from all that wait, and what is the same is embedded once.

A source of three chunks does not wait for one of ten thousand: who has the fewest chunks comes first, yet everybody
comes on, since what has been embedded in the meantime counts against those who came later. A batch the model refuses
is halved until the refused text stands alone; the others are none the worse for it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from context_chat_backend.errors import DatabaseUnavailable, ModelUnavailable, SpaceGone, TextRefused
from context_chat_backend.metrics import CHUNKS
from context_chat_backend.ports import Embedder, Vectors
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.chunks import Chunks
from context_chat_backend.store.spaces import StoredSpace

BATCH = 32
"""Chunks a call: few, so that a question that is to be embedded comes in between."""
_LOOKED_UP = 4 * BATCH
"""Texts whose vectors may be known are looked for so many at a time."""
_CALLS = 2
"""Calls at once: while the model computes one, the next is prepared."""


class Embedding:
    """The vectors of sources in all live spaces."""

    def __init__(self, spaces: SpacesInUse, chunks: Chunks) -> None:
        """`chunks` knows the vectors of texts that were embedded before."""
        self._spaces = spaces
        self._chunks = chunks
        self._queues: dict[int, _Queue] = {}

    async def vectors(self, texts: Sequence[str], contents: Sequence[UUID]) -> dict[StoredSpace, Vectors]:
        """Vectors of `texts` in the live spaces; those are left out whose model is down or refuses a text that another
        takes, for they are filled later.

        `contents` says which texts are the same. Raises ModelUnavailable or SpaceGone when nothing answers, TextRefused
        when all that answer refuse, DatabaseUnavailable.
        """
        found: dict[StoredSpace, Vectors] = {}
        missing: ModelUnavailable | SpaceGone | TextRefused | None = None
        for space in self._spaces.live:
            if space.embedder is None:
                continue
            try:
                found[space.stored] = await self._queue(space.stored, space.embedder).vectors(texts, contents)
            except TextRefused as error:
                missing = missing or error
            except (ModelUnavailable, SpaceGone) as error:
                missing = error  # it may take what the others refuse
        if not found:
            raise missing or ModelUnavailable("the embedding model that answers cannot be used here")
        return found

    async def close(self) -> None:
        """Stop what is under way."""
        for queue in self._queues.values():
            await queue.close()

    def _queue(self, stored: StoredSpace, embedder: Embedder) -> _Queue:
        queue = self._queues.get(stored.id)
        if queue is None or queue.embedder is not embedder:
            queue = self._queues[stored.id] = _Queue(embedder, stored, self._chunks)
        return queue


@dataclass(eq=False)
class _Source:
    """The texts of one source on their way."""

    vectors: list[Vectors | None]
    missing: int
    done: asyncio.Future[None]
    todo: list[UUID] = field(default_factory=list)

    def fill(self, place: int, vector: Vectors) -> None:
        self.vectors[place] = vector
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(eq=False)
class _Text:
    """One text, and where its vector is wanted."""

    text: str
    wanted: list[tuple[_Source, int]]


class _Queue:
    """What waits to be embedded in one space."""

    def __init__(self, embedder: Embedder, stored: StoredSpace, chunks: Chunks) -> None:
        self.embedder = embedder
        self._stored = stored
        self._chunks = chunks
        self._texts: dict[UUID, _Text] = {}
        self._sources: list[tuple[int, int, _Source]] = []
        self._turns = itertools.count()
        self._embedded = 0
        self._calls: set[asyncio.Task[None]] = set()

    async def vectors(self, texts: Sequence[str], contents: Sequence[UUID]) -> Vectors:
        source = _Source([None] * len(texts), len(texts), asyncio.get_running_loop().create_future())
        for place, (text, content) in enumerate(zip(texts, contents, strict=True)):
            waiting = self._texts.get(content)
            if waiting is None:
                waiting = self._texts[content] = _Text(text, [])
                source.todo.append(content)
            waiting.wanted.append((source, place))
        if source.todo:
            source.todo.reverse()  # taken from the end
            heapq.heappush(self._sources, (self._embedded + len(source.todo), next(self._turns), source))
        self._call()
        await source.done
        return np.stack([vector for vector in source.vectors if vector is not None])

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _call(self) -> None:
        if self._sources and len(self._calls) < _CALLS:
            call = asyncio.create_task(self._embed_waiting())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _embed_waiting(self) -> None:
        while batch := self._next_batch():
            self._embedded += len(batch)
            try:
                await self._embed_unknown(batch)
            except Exception as error:  # each source decides by itself what its error means
                self._fail(batch, error)
            except BaseException:
                self._fail(batch, ModelUnavailable("the program stops"))
                raise

    def _next_batch(self) -> list[UUID]:
        """The next texts to embed, of the sources whose turn it is; those nobody waits for any more are dropped."""
        batch: list[UUID] = []
        while self._sources and len(batch) < _LOOKED_UP:
            todo = self._sources[0][2].todo
            if not todo:
                heapq.heappop(self._sources)
                continue
            content = todo.pop()
            if all(source.done.done() for source, _ in self._texts[content].wanted):
                del self._texts[content]
            else:
                batch.append(content)
        return batch

    async def _embed_unknown(self, batch: list[UUID]) -> None:
        known = await self._chunks.known_vectors(batch, self._stored)
        CHUNKS.labels("known").inc(len(known))
        for content, vector in known.items():
            self._deliver(content, vector)
        unknown = [content for content in batch if content not in known]
        for start in range(0, len(unknown), BATCH):
            await self._embed(unknown[start : start + BATCH])

    async def _embed(self, batch: list[UUID]) -> None:
        try:
            vectors = await self.embedder.embed_passages([self._texts[content].text for content in batch])
        except (ModelUnavailable, DatabaseUnavailable):
            raise
        except Exception as error:
            if len(batch) == 1:
                self._fail(batch, error)
                return
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                await self._embed(half)
            return
        CHUNKS.labels("model").inc(len(batch))
        for content, vector in zip(batch, vectors, strict=True):
            self._deliver(content, vector)

    def _deliver(self, content: UUID, vector: Vectors) -> None:
        for source, place in self._texts.pop(content).wanted:
            source.fill(place, vector)

    def _fail(self, batch: list[UUID], error: Exception) -> None:
        for content in batch:
            if (text := self._texts.pop(content, None)) is not None:
                for source, _ in text.wanted:
                    source.fail(error)
