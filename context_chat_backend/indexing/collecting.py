# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sources that are put into a collection: its readers read them, also those that come or go meanwhile."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from context_chat_backend.domain import Admission, Collection, Delivery, Realm, SourceRef, clean_title
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.indexing.admission import Admissions
from context_chat_backend.store.access import Access
from context_chat_backend.store.collections import Collections


class Collecting:
    """Puts sources into collections."""

    def __init__(self, collections: Collections, admissions: Admissions, actions: Access) -> None:
        self._collections = collections
        self._admissions = admissions
        self._actions = actions

    async def admit(
        self, collection: Collection, item: str, title: str, media_type: str, modified_at: datetime, body: Path | bytes
    ) -> Admission:
        """Put `body`, a file or the bytes themselves, into the collection, as its source `item`.

        Raises InvalidRequest when there is no such collection, and what Admissions.admit raises.
        """
        found = await self._collections.readers(collection)
        if found is None:
            raise InvalidRequest(f"collection: there is no collection {collection.name}")
        ref = SourceRef(collection.provider, item)
        delivery = Delivery(
            realm=Realm.LOCAL,
            ref=ref,
            title=clean_title(title),
            media_type=media_type,
            modified_at=modified_at,
            readers=found.readers,
            readers_since=found.known_at,
        )
        size = len(body) if isinstance(body, bytes) else body.stat().st_size  # noqa: ASYNC240 - a look at a local file
        admission = await self._admissions.admit(delivery, body, size)
        # A grant is not remembered for sources that arrive later; who was let in while this one arrived reads it too.
        now = await self._collections.readers(collection)
        if now is not None and (let_in := now.readers - found.readers):
            await self._actions.allow(Realm.LOCAL, [ref], let_in)
        return admission
