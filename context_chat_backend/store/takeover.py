# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sources of the reference become ours: row, readers, chunks, words and vectors in one transaction.

What is here already, because it was delivered meanwhile or an earlier run took it over, is left as it is, so that a
run that was cut off goes on where it stopped. Actions that came before a source did are applied to it as to a
delivered one (ruling 5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from context_chat_backend.domain import Chunk, ClaimedSource, Delivery, Principal
from context_chat_backend.store import access, access_sets
from context_chat_backend.store.chunks import IndexedSource, replace_chunks, words_of
from context_chat_backend.store.database import Connection, Database, statement
from context_chat_backend.store.spaces import StoredSpace, storing_vectors

PARSER = "reference"
"""What stands in the ledger as the parser of what was taken over."""

_FINISHED = "reference_taken_over_at"
"""When each index was taken over, by its digest."""


@dataclass(frozen=True, slots=True)
class TakenSource:
    """One source as it is to stand in the ledger."""

    delivery: Delivery
    chunks: Sequence[Chunk]
    vectors: NDArray[np.float32] | None
    """Shape (len(chunks), dimension), each of length 1; None: to be embedded later."""


@dataclass(frozen=True, slots=True)
class KnownSource:
    """What is here of a source."""

    taken: bool
    """It was taken over, and not delivered since."""
    chunks: int


class Takeover:
    """Writes what is taken over. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, realm: str, refs: Sequence[str]) -> dict[str, KnownSource]:
        """Which of these are here already."""
        async with self._database.transaction() as connection:
            parameters = {"realm": realm, "refs": list(refs), "parser": PARSER}
            rows = await (await connection.execute(statement("reference", "known"), parameters)).fetchall()
        return {ref: KnownSource(taken, chunks) for ref, taken, chunks in rows}

    async def count_chunks(self) -> int:
        """How many chunks are here already."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("reference", "count_chunks"))).fetchone()
        assert row is not None
        return int(row[0])

    async def finished(self) -> frozenset[str]:
        """The digests (OldCounts) of the old indexes that were taken over, each from its first source to its last."""
        async with self._database.transaction() as connection:
            return frozenset(await _finished(connection))

    async def note_finished(self, digest: str) -> None:
        """The index of this digest was, and was verified."""
        async with self._database.transaction() as connection:
            value = Jsonb(await _finished(connection) | {digest: datetime.now(UTC).isoformat()})
            await connection.execute(statement("database", "set_setting"), {"name": _FINISHED, "value": value})
            await connection.execute(statement("reference", "forget_batches"), {"digest": digest})

    async def batches(self, digest: str) -> list[tuple[str, str]]:
        """The first and the last source of each batch taken over in an unfinished run of this index, in order."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("reference", "batches"), {"digest": digest})
            return [(first, last) for first, last in await rows.fetchall()]

    async def put(
        self, sources: Sequence[TakenSource], space: StoredSpace | None, *, digest: str, into_tail: bool
    ) -> Counter[str]:
        """Take these over; returns how many were 'taken', 'known' already, or 'lost' to actions that came before.

        They are of the index of this `digest`.

        Vectors go to `space`, those that come one by one `into_tail`; a space that gets none is filled later. All are
        of one realm.
        """
        realm = sources[0].delivery.realm
        async with self._database.transaction(lasting=False) as connection:
            await access_sets.admitting(connection)
            live = await storing_vectors(connection)
            readers = await _readers(connection, realm, sources)
            left = [one for one in sources if readers[str(one.delivery.ref)]]
            ids = await _enter(connection, realm, left, readers)
            taken = [_indexed(one, ids[str(one.delivery.ref)], space) for one in left if str(one.delivery.ref) in ids]
            await connection.execute(statement("reference", "note_batch"), {"digest": digest, **_range(sources)})
            if taken:
                words = await words_of(connection, taken)
                await replace_chunks(connection, taken, words, live, into_tail=into_tail)
        return Counter(taken=len(taken), known=len(left) - len(taken), lost=len(sources) - len(left))

    async def same_texts(self, realm: str, texts: Sequence[tuple[str, int, str]]) -> int:
        """How many of these texts (source, place, text) are what lies there."""
        async with self._database.transaction() as connection:
            parameters = {
                "realm": realm,
                "refs": [ref for ref, _, _ in texts],
                "ordinals": [ordinal for _, ordinal, _ in texts],
                "texts": [text for _, _, text in texts],
            }
            row = await (await connection.execute(statement("reference", "same_texts"), parameters)).fetchone()
        assert row is not None
        return int(row[0])

    async def readers(self, realm: str, refs: Sequence[str]) -> dict[str, set[str]]:
        """Who may read these sources."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("reference", "readers"), {"realm": realm, "refs": list(refs)})
            return {ref: set(names) for ref, names in await rows.fetchall()}


async def _finished(connection: Connection) -> dict[str, str]:
    row = await (await connection.execute(statement("database", "setting"), {"name": _FINISHED})).fetchone()
    return {} if row is None else row[0]


def _range(sources: Sequence[TakenSource]) -> dict[str, object]:
    refs = [str(one.delivery.ref) for one in sources]
    return {"first": min(refs), "last": max(refs)}


async def _readers(
    connection: Connection, realm: str, sources: Sequence[TakenSource]
) -> dict[str, frozenset[Principal]]:
    """The readers of each source after the actions that are remembered of it."""
    refs = [str(one.delivery.ref) for one in sources]
    providers = [one.delivery.ref.provider for one in sources]
    named = {"realm": realm, "refs": refs, "providers": providers}
    rows = await connection.execute(statement("ledger", "unheard_of"), named)
    unheard_of = {row[0] for row in await rows.fetchall()}
    known = {row[0] for row in await (await connection.execute(
        statement("reference", "known"), {"realm": realm, "refs": refs, "parser": PARSER})).fetchall()}  # fmt: skip
    readers: dict[str, frozenset[Principal]] = {}
    for ref, one in zip(refs, sources, strict=True):
        if ref in unheard_of or ref in known:
            readers[ref] = one.delivery.readers
        else:
            readers[ref] = frozenset(await access.remembered_readers(connection, one.delivery))
    return readers


async def _enter(
    connection: Connection,
    realm: str,
    sources: Sequence[TakenSource],
    readers: Mapping[str, frozenset[Principal]],
) -> dict[str, int]:
    """The rows of the sources that are not here yet; returns their ids by ref."""
    sets = await access_sets.find_or_create_sets(connection, {readers[str(one.delivery.ref)] for one in sources})
    modified: list[datetime] = [one.delivery.modified_at for one in sources]
    rows = await connection.execute(
        statement("reference", "enter"),
        {
            "realm": realm,
            "refs": [str(one.delivery.ref) for one in sources],
            "providers": [one.delivery.ref.provider for one in sources],
            "titles": [one.delivery.title for one in sources],
            "media_types": [one.delivery.media_type for one in sources],
            "modified_ats": modified,
            "access_set_ids": [sets[readers[str(one.delivery.ref)]] for one in sources],
        },
    )
    return dict(await rows.fetchall())


def _indexed(one: TakenSource, id_: int, space: StoredSpace | None) -> IndexedSource:
    delivery = one.delivery
    source = ClaimedSource(
        id_, delivery.realm, delivery.ref, 1, delivery.title, delivery.media_type, delivery.modified_at, 0, False, 0
    )
    vectors = {} if space is None or one.vectors is None else {space: one.vectors}
    return IndexedSource(
        source, one.chunks, vectors, None, parser=PARSER, characters=sum(len(chunk.text) for chunk in one.chunks)
    )
