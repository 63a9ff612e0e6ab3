# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sources that are put into a collection: its readers read them, also those that come or go meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from context_chat_backend.domain import PAIR, Admission, Collection, Delivery, Realm, Reason, SourceRef, clean_title
from context_chat_backend.errors import InvalidRequest, SourceRejected
from context_chat_backend.indexing.admission import Admissions
from context_chat_backend.store.access import Access
from context_chat_backend.store.collections import CollectionReaders, Collections

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with its answer."""

    question: str
    answer: str

    def ref(self, collection: Collection) -> SourceRef:
        """Its name: that of its question, however it is spaced."""
        digest = hashlib.sha256(" ".join(self.question.split()).casefold().encode()).hexdigest()
        return SourceRef(collection.provider, f"{PAIR}{digest[:32]}")


@dataclass(frozen=True, slots=True)
class PairsAdmitted:
    """What became of some pairs."""

    refs: tuple[SourceRef, ...]
    """Those that are, or will be, found."""
    new: int
    """How many of them were not there before."""
    refused: Mapping[SourceRef, Reason]


class Collecting:
    """Puts sources into collections."""

    def __init__(self, collections: Collections, admissions: Admissions, actions: Access) -> None:
        self._collections = collections
        self._admissions = admissions
        self._actions = actions

    async def admit(
        self,
        collection: Collection,
        item: str,
        title: str,
        media_type: str,
        body: Path | bytes,
        *,
        modified_at: datetime | None = None,
    ) -> Admission:
        """Put `body`, a file or the bytes themselves, into the collection, as its source `item`.

        Without `modified_at` it is newer than what was put there before.

        Raises InvalidRequest when there is no such collection, and what Admissions.admit raises.
        """
        found = await self._readers(collection)
        ref = SourceRef(collection.provider, item)
        delivery = _delivery(ref, title, media_type, modified_at, found)
        size = len(body) if isinstance(body, bytes) else body.stat().st_size  # noqa: ASYNC240 - a look at a local file
        admission = await self._admissions.admit(delivery, body, size)
        await self._settle(collection, [ref], found)
        return admission

    async def admit_pairs(self, collection: Collection, pairs: Sequence[Pair]) -> PairsAdmitted:
        """Put questions with their answers into the collection; one with the same question is replaced.

        Raises InvalidRequest when there is no such collection, WaitingListFull, DatabaseUnavailable.
        """
        found = await self._readers(collection)
        wanted = {pair.ref(collection): pair for pair in pairs}  # of equal questions the last counts
        deliveries = [
            (_delivery(ref, pair.question, "text/plain", None, found), pair.answer.encode())
            for ref, pair in wanted.items()
        ]
        refused: dict[SourceRef, Reason] = {}
        new: set[str] = set()
        for start in range(0, len(deliveries), _AT_ONCE):
            new |= await self._admissions.admit_new(deliveries[start : start + _AT_ONCE])
        for delivery, body in deliveries:
            if str(delivery.ref) not in new:
                try:
                    await self._admissions.admit(delivery, body, len(body))
                except SourceRejected as rejection:
                    refused[delivery.ref] = rejection.reason
        refs = [ref for ref in wanted if ref not in refused]
        await self._settle(collection, refs, found)
        return PairsAdmitted(tuple(refs), len(new), refused)

    async def _readers(self, collection: Collection) -> CollectionReaders:
        found = await self._collections.readers(collection)
        if found is None:
            raise InvalidRequest(f"collection: there is no collection {collection.name}")
        return found

    async def _settle(self, collection: Collection, refs: Sequence[SourceRef], found: CollectionReaders) -> None:
        """Give sources that were just admitted the readers of now."""
        # A grant is not remembered for sources that arrive later; who was let in while this one arrived reads it too.
        now = await self._collections.readers(collection)
        if now is None:  # the collection was deleted while this one arrived
            await self._actions.delete_sources(Realm.LOCAL, refs)
            raise InvalidRequest(f"collection: there is no collection {collection.name}")
        if let_in := now.readers - found.readers:
            await self._actions.allow(Realm.LOCAL, refs, let_in)


def _delivery(
    ref: SourceRef, title: str, media_type: str, modified_at: datetime | None, found: CollectionReaders
) -> Delivery:
    return Delivery(
        realm=Realm.LOCAL,
        ref=ref,
        title=clean_title(title),
        media_type=media_type,
        modified_at=modified_at or found.known_at,  # by the one clock that all processes and machines share
        readers=found.readers,
        readers_since=found.known_at,
    )
