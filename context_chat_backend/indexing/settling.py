# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sources that are ready are put together: a transaction costs as much for one as for twenty.

Nobody waits to fill one up: what became ready while the last transaction ran goes with the next.
"""

from __future__ import annotations

import asyncio
from collections import deque

from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.steps import Step, step
from context_chat_backend.store.chunks import Chunks, IndexedSource

_AT_ONCE = 2
_MAX_SOURCES = 64
_MAX_CHUNKS = 1000
"""A transaction holds rows that an action may wait for, so it is to be short."""


class Settling:
    """Puts sources."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._ready: deque[tuple[IndexedSource, asyncio.Future[bool]]] = deque()
        self._putting: set[asyncio.Task[None]] = set()

    async def put(self, indexed: IndexedSource) -> bool:
        """Settle a source as indexed; False when its version was replaced or deleted meanwhile.

        Raises DatabaseUnavailable.
        """
        settled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._ready.append((indexed, settled))
        if len(self._putting) < _AT_ONCE:
            task = asyncio.create_task(self._put_ready())
            self._putting.add(task)
            task.add_done_callback(self._putting.discard)
        return await settled

    async def close(self) -> None:
        """Let transactions that have begun end."""
        self._ready.clear()
        await asyncio.gather(*self._putting, return_exceptions=True)

    async def _put_ready(self) -> None:
        while batch := self._next_batch():
            try:
                await self._put(batch)
            except Exception as error:  # each source decides by itself what its error means
                for _, settled in batch:
                    if not settled.done():
                        settled.set_exception(error)

    def _next_batch(self) -> list[tuple[IndexedSource, asyncio.Future[bool]]]:
        batch: list[tuple[IndexedSource, asyncio.Future[bool]]] = []
        chunks = 0
        while self._ready and len(batch) < _MAX_SOURCES:
            chunks += len(self._ready[0][0].chunks)
            if batch and chunks > _MAX_CHUNKS:
                break
            batch.append(self._ready.popleft())
        return batch

    async def _put(self, batch: list[tuple[IndexedSource, asyncio.Future[bool]]]) -> None:
        try:
            with step(Step.PUT):
                ids = await self._chunks.put([indexed for indexed, _ in batch])
        except DatabaseUnavailable:
            raise
        except Exception:
            if len(batch) == 1:
                raise
            for one in batch:  # one of them cannot be stored; the others can
                try:
                    await self._put([one])
                except Exception as error:
                    if not one[1].done():
                        one[1].set_exception(error)
            return
        for indexed, settled in batch:
            if not settled.done():
                settled.set_result(indexed.source.id in ids)
