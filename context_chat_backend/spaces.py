# SPDX-License-Identifier: AGPL-3.0-or-later
"""The live embedding spaces as this process sees them, each with the embedder of its own model.

Which space answers stands in the database, since another process may have changed it; it is looked up every second.
The configured model has its embedder; that of another space is built from what was written down with the space. Where
that fails (a file is gone, a secret is needed) the space has none, and words alone answer until the next one is filled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from context_chat_backend.errors import ContextChatError, DatabaseUnavailable, Unavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.ports import Embedder
from context_chat_backend.settings import ModelChoice
from context_chat_backend.store.spaces import ListedSpace, Spaces, SpaceState, StoredSpace

_SECONDS_BETWEEN = 1.0
_SECONDS_WITHOUT_MODEL = 30.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SpaceInUse:
    """A live space."""

    stored: StoredSpace
    embedder: Embedder | None
    """None: its model cannot be used here."""
    answers: bool
    complete: bool
    """False: there may be chunks without a vector in it."""


class SpacesInUse:
    """The live spaces; `refresh` is to be called once before anything else."""

    def __init__(
        self,
        spaces: Spaces,
        configured: Embedder,
        build: Callable[[ModelChoice], Embedder],
        *,
        patience: float = _SECONDS_WITHOUT_MODEL,
    ) -> None:
        """`configured` stays the caller's to close; `build` makes the embedder of another model, or raises.

        One that is down is tried again after `patience` seconds.
        """
        self._spaces = spaces
        self._configured = configured
        self._build = build
        self._patience = patience
        self._built: dict[int, Embedder | None] = {}
        self._try_again_at: dict[int, float] = {}
        self._live: tuple[SpaceInUse, ...] = ()
        self._refreshing = asyncio.Lock()

    @property
    def live(self) -> tuple[SpaceInUse, ...]:
        """What new chunks go to; the answering space first."""
        return self._live

    @property
    def answering(self) -> SpaceInUse:
        """What questions are asked in; a question looks once, so that its result is of one space."""
        return self._live[0]

    @property
    def filling(self) -> SpaceInUse | None:
        """What is to answer when it is filled."""
        return self._live[1] if len(self._live) > 1 else None

    async def refresh(self) -> None:
        """Look at the database again. Raises DatabaseUnavailable."""
        async with self._refreshing:
            listed = await self._spaces.all()
            live = [await self._in_use(space) for space in listed if space.state is not SpaceState.RETIRED]
            self._live = tuple(live)
            # Questions that began in a retired space end in it: its embedder is closed when the space is dropped.
            for id_ in self._built.keys() - {space.stored.id for space in listed}:
                await _close(self._built.pop(id_))

    async def keep_current(self) -> None:
        """Refresh until cancelled."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN)
            try:
                await self.refresh()
            except DatabaseUnavailable as error:
                _log.warning("embedding_spaces_wait_for_database", error=str(error))

    async def close(self) -> None:
        """Close the embedders that were built here."""
        while self._built:
            await _close(self._built.popitem()[1])

    async def _in_use(self, listed: ListedSpace) -> SpaceInUse:
        embedder = await self._embedder(listed)
        stored = listed.stored if embedder is None else StoredSpace(listed.stored.id, embedder.space)
        return SpaceInUse(stored, embedder, listed.state is SpaceState.ANSWERING, listed.complete)

    async def _embedder(self, listed: ListedSpace) -> Embedder | None:
        if _same(self._configured, listed.stored):
            return self._configured
        id_ = listed.stored.id
        if id_ not in self._built or time.monotonic() > self._try_again_at.get(id_, float("inf")):
            self._try_again_at.pop(id_, None)
            self._built[id_] = await self._try_to_build(listed)
        return self._built[id_]

    async def _try_to_build(self, listed: ListedSpace) -> Embedder | None:
        model = listed.stored.space.model
        if listed.model is None:
            _log.warning("embedder_not_known", model=model)
            return None
        try:
            embedder = self._build(listed.model)
        except Exception as error:  # whatever a library says to files that are gone: the program runs without
            _log.warning("embedder_cannot_be_built", model=model, error=type(error).__name__)
            return None
        try:
            await embedder.open()
        except ContextChatError as error:
            _log.warning("embedder_cannot_be_opened", model=model, error=str(error))
            await embedder.close()
            if isinstance(error, Unavailable):
                self._try_again_at[listed.stored.id] = time.monotonic() + self._patience
            return None
        if not _same(embedder, listed.stored):
            _log.warning("embedder_makes_other_vectors", model=model, now=embedder.space.model)
            await embedder.close()
            return None
        return embedder


def _same(embedder: Embedder, stored: StoredSpace) -> bool:
    return replace(embedder.space, languages=()) == replace(stored.space, languages=())


async def _close(embedder: Embedder | None) -> None:
    if embedder is not None:
        await embedder.close()
