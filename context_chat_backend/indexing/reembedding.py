# SPDX-License-Identifier: AGPL-3.0-or-later
"""Give every chunk a vector in every live space, from its stored text: how a changed model comes to answer.

One process at a time does it, under a lease. What is done stands in the table of the space, so a killed run goes on
where it stopped: the next chunks without a vector, by id, are embedded and stored. When none is left, the index on the
vectors is built in one go, and the space answers from one transaction on. The space it replaces is dropped a while
later. Meanwhile questions and deliveries go on; they share the machine with this work, which rests half of the time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from context_chat_backend.domain import Chunk
from context_chat_backend.errors import DatabaseUnavailable, ModelUnavailable, TextRefused
from context_chat_backend.indexing.chunking import MAX_HEADER_CHARACTERS
from context_chat_backend.indexing.preparing import embedded_text
from context_chat_backend.logs import get_logger
from context_chat_backend.ports import Embedder, Vectors
from context_chat_backend.spaces import SpaceInUse, SpacesInUse
from context_chat_backend.store.chunks import Chunks
from context_chat_backend.store.leases import Leases
from context_chat_backend.store.spaces import Progress, Spaces, StoredSpace

GRACE = timedelta(seconds=60)
"""How long a retired space stays, for searches of processes that have not looked since: sixty times what they need."""

_LEASE_NAME = "re-embedding"
_LEASE = timedelta(seconds=15)
_BATCH = 16
_REST = 1.0
"""So many times as long as it worked it rests."""
_SMOOTHING = 0.1
_SECONDS_BETWEEN = 2.0
_SECONDS_BETWEEN_DROPS = 10.0
"""Longer, for an attempt in vain holds up searches for a tenth of a second: a backup may forbid it for an hour."""
_SECONDS_AFTER_FAULT = 10.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Filling:
    """A model that is to answer, on its way."""

    model: str
    progress: Progress
    at_work: bool
    """Whether some process embeds, or builds the index; False while none runs."""


class Reembedding:
    """Fills the live spaces, lets the wanted one answer, drops retired ones."""

    def __init__(
        self,
        spaces: Spaces,
        in_use: SpacesInUse,
        chunks: Chunks,
        leases: Leases,
        build_index: Callable[[StoredSpace], Awaitable[None]],
        *,
        grace: timedelta = GRACE,
    ) -> None:
        """`build_index` builds what is missing of the index on the vectors of a space; `grace`: see GRACE."""
        self._spaces = spaces
        self._in_use = in_use
        self._chunks = chunks
        self._leases = leases
        self._build_index = build_index
        self._grace = grace

    async def progress(self) -> Filling | None:
        """How far the wanted space is from answering; None when it answers. Raises DatabaseUnavailable."""
        space = self._in_use.filling
        progress = None if space is None else await self._spaces.progress(space.stored)
        if space is None or progress is None:
            return None
        return Filling(space.stored.space.model, progress, at_work=await self._leases.is_held(_LEASE_NAME))

    async def run(self) -> None:
        """Look for work until cancelled."""
        await self._again_and_again(self.work, _SECONDS_BETWEEN)

    async def keep_clean(self) -> None:
        """Drop retired spaces until cancelled, also while another one is being filled."""
        await self._again_and_again(self.drop_retired, _SECONDS_BETWEEN_DROPS)

    async def work(self) -> None:
        """Do what is to be done now, unless another process does it. Raises DatabaseUnavailable, ModelUnavailable."""
        await self._in_use.refresh()
        to_do = [
            (space, space.embedder)
            for space in self._in_use.live
            if space.embedder is not None and not (space.complete and space.answers)
        ]
        if not to_do:
            return
        async with self._leases.hold(_LEASE_NAME, _LEASE) as is_ours:
            if not is_ours:
                return
            down: ModelUnavailable | None = None
            for space, embedder in to_do:
                try:
                    await self._fill(space, embedder)
                except ModelUnavailable as error:  # the other one does not wait for it
                    down = error
            await self._in_use.refresh()
            if down is not None:
                raise down

    async def drop_retired(self) -> None:
        """Drop what was retired long enough ago. Raises DatabaseUnavailable."""
        if dropped := await self._spaces.drop_retired(self._grace):
            _log.info("embedding_spaces_dropped", count=dropped)

    async def _again_and_again(self, work: Callable[[], Awaitable[None]], seconds_between: float) -> None:
        while True:
            pause = seconds_between
            try:
                await work()
            except (DatabaseUnavailable, ModelUnavailable) as error:
                _log.warning("reembedding_waits", error=str(error))
                pause = _SECONDS_AFTER_FAULT
            except Exception as error:  # a fault of ours must not stop searches and deliveries; it is tried again
                _log.error("reembedding_failed", error=type(error).__name__)
                pause = _SECONDS_AFTER_FAULT
            await asyncio.sleep(pause)

    async def _fill(self, space: SpaceInUse, embedder: Embedder) -> None:
        stored, model = space.stored, space.stored.space.model
        if not await self._embed_missing(stored, embedder):
            return
        if not space.answers:
            await self._build_index(stored)
        if await self._spaces.complete(stored):
            _log.info("embedding_space_complete", model=model, answers_anew=not space.answers)

    async def _embed_missing(self, stored: StoredSpace, embedder: Embedder) -> bool:
        """Embed chunk after chunk until none is left; False when the space is not wanted any more."""

        async def embed(chunks: Sequence[tuple[str, Chunk]]) -> Vectors:
            try:
                return await embedder.embed_passages([embedded_text(title, chunk) for title, chunk in chunks])
            except TextRefused:
                return np.concatenate([await _embed_alone(embedder, title, chunk) for title, chunk in chunks])

        after, rate = 0, None
        while True:
            started = time.monotonic()
            done = await self._chunks.embed_missing(stored, embed, after=after, limit=_BATCH)
            if done is None:
                return False
            if not done.chunks:
                if after == 0 or not await self._spaces.lacks_vectors(stored):
                    return True
                after = 0  # stored with smaller ids meanwhile by a process that could not embed them
                continue
            after = done.last
            await asyncio.sleep(_REST * (time.monotonic() - started))
            now = done.chunks / (time.monotonic() - started)
            rate = now if rate is None else rate + _SMOOTHING * (now - rate)
            await self._spaces.note_rate(stored, rate)


async def _embed_alone(embedder: Embedder, title: str, chunk: Chunk) -> Vectors:
    """The vector of one chunk. One the model refuses gets that of its title: it is indexed, and words find its text."""
    try:
        return await embedder.embed_passages([embedded_text(title, chunk)])
    except TextRefused as error:
        _log.warning("embedding_refused", error=str(error))
        return await embedder.embed_passages([title or chunk.text[:MAX_HEADER_CHARACTERS]])
