# SPDX-License-Identifier: AGPL-3.0-or-later
"""Collections of sources without Nextcloud, and who reads them.

Readers of a collection are written into the access sets of its sources, so that a search knows nothing of collections:
at their admission, and by an action on the provider of the collection when the readers change.
"""

from __future__ import annotations

from collections.abc import Collection as Some
from dataclasses import dataclass
from datetime import datetime

from context_chat_backend.domain import Collection, Principal, Realm
from context_chat_backend.store.access import Access
from context_chat_backend.store.database import Database, statement


@dataclass(frozen=True, slots=True)
class CollectionReaders:
    """Who reads what is put into a collection."""

    readers: frozenset[Principal]
    """With the collection itself."""
    known_at: datetime
    """When it was so: later changes are made to what is admitted meanwhile."""


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """A collection as it stands."""

    name: str
    readers: tuple[str, ...]
    sources: int
    """Those that answer."""
    title: str
    created_at: datetime
    public: bool
    """Whether who asks without a name reads it."""


class Collections:
    """The collections of this installation. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database, actions: Access) -> None:
        self._database = database
        self._actions = actions

    async def ensure(self, collection: Collection) -> None:
        """Make the collection known; nothing happens when it is."""
        await self._send("ensure", collection)

    async def known(self, collections: Some[Collection]) -> frozenset[Collection]:
        """Those of the collections there are."""
        names = [collection.name for collection in collections]
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("collections", "known"), {"names": names})
            return frozenset(Collection(name) for (name,) in await rows.fetchall())

    async def all(self) -> list[CollectionReport]:
        """Every collection, by name."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("collections", "all"))
            return [CollectionReport(name, tuple(readers), *rest) for name, readers, *rest in await rows.fetchall()]

    async def entitle(self, collection: Collection, title: str) -> None:
        """Give the collection a title for people."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("collections", "entitle"), {"name": collection.name, "title": title})

    async def delete(self, collection: Collection) -> bool:
        """Delete it with all that lies in it; False when there is none. Its keys stay, and reach nothing."""
        async with self._database.transaction() as connection:
            done = await connection.execute(statement("collections", "forget"), {"name": collection.name})
        # Also where it is gone: an interrupted deletion is to be said again.
        await self._actions.delete_provider(Realm.LOCAL, collection.provider)
        return done.rowcount > 0

    async def readers(self, collection: Collection) -> CollectionReaders | None:
        """Who reads what is put into the collection now; None when there is no such collection."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("collections", "readers"), {"name": collection.name})
            found = await rows.fetchall()
        if not found:
            return None
        named = frozenset(Principal(realm, name) for realm, name, _ in found if name is not None)
        return CollectionReaders(named | {collection.itself}, found[0][2])

    async def is_read_by(self, collection: Collection, asker: Principal) -> bool:
        """Whether there is such a collection, and `asker` reads what is put into it."""
        parameters = {
            "collection": collection.name,
            "is_itself": asker == collection.itself,
            "realm": asker.realm,
            "name": asker.name,
        }
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("collections", "is_read_by"), parameters)).fetchone()
        assert row is not None
        return bool(row[0])

    async def allow(self, collection: Collection, readers: Some[Principal]) -> None:
        """Let `readers` read the collection; interrupted, it is to be said again."""
        await self._send("add_readers", collection, readers)
        await self._actions.allow(Realm.LOCAL, collection.provider, readers)

    async def deny(self, collection: Collection, readers: Some[Principal]) -> None:
        """Take the collection from `readers`; interrupted, it is to be said again."""
        await self._send("remove_readers", collection, readers)
        await self._actions.deny(Realm.LOCAL, collection.provider, readers)

    async def _send(self, name: str, collection: Collection, readers: Some[Principal] = ()) -> None:
        parameters = {
            "name": collection.name,
            "realms": [reader.realm for reader in readers],
            "names": [reader.name for reader in readers],
        }
        async with self._database.transaction() as connection:
            await connection.execute(statement("collections", name), parameters)
