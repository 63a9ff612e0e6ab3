# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keys are made, and replaced, with the rights they need: one of several collections is itself a reader of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from context_chat_backend.domain import ApiKey, Collection, KeyScope, Principal, Realm
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.store.collections import Collections
from context_chat_backend.store.keys import Keys


class CollectionMissing(InvalidRequest):
    """There is no collection of that name."""


@dataclass(frozen=True)
class KeyWanted:
    """A key as it is asked for."""

    client: str
    user: Principal | None = None
    """For whom it speaks; None: for its collections."""
    collections: Sequence[Collection] = ()
    scopes: frozenset[KeyScope] = field(default_factory=lambda: frozenset({KeyScope.CHAT}))
    expires_at: datetime | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None
    notes: str = ""
    models: Sequence[str] = ()


class KeyMaking:
    """Makes keys. All methods raise DatabaseUnavailable."""

    def __init__(self, keys: Keys, collections: Collections) -> None:
        self._keys = keys
        self._collections = collections

    async def make(self, wanted: KeyWanted) -> tuple[str, ApiKey]:
        """The key itself, which is told once, and what is known of it. Raises InvalidRequest, CollectionMissing."""
        if wanted.user is None and not wanted.collections and KeyScope.CHAT in wanted.scopes:
            raise InvalidRequest("collection: a key that may chat speaks for a user, or else for collections")
        known = await self._collections.known(wanted.collections)
        for missing in sorted(frozenset(wanted.collections) - known):
            raise CollectionMissing(f"collection: there is no collection {missing.name}")
        text, key = await self._keys.add(**vars(wanted))
        await self._let_read(key)
        return text, key

    async def rotate(self, id_: str, grace_seconds: float) -> tuple[str, ApiKey] | None:
        """A key in the place of one that holds, which ends after `grace_seconds`; None when there is none."""
        made = await self._keys.rotate(id_, grace_seconds)
        if made is not None:
            await self._let_read(made[1])
        return made

    async def _let_read(self, key: ApiKey) -> None:
        if key.asker.realm == Realm.KEY:
            for collection in key.collections:
                await self._collections.allow(collection, [key.asker])
