# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sets of users who may read: each is stored once, and found by its digest.

A digest is the sum of its members' hashes, so that adding or removing a user is arithmetic on it. Whoever changes sets
and whoever writes sources that use them keep each other out by one advisory lock, bound to the transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from decimal import Decimal

from context_chat_backend.domain import Principal
from context_chat_backend.store.database import Connection, statement

_LOCK = 5_004_000_002


async def admitting(connection: Connection) -> None:
    """Keep actions out until the end of this transaction; other admissions may go on."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_LOCK,))


async def exclude_others(connection: Connection) -> None:
    """Keep admissions and other actions out until the end of this transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


async def principal_ids(connection: Connection, readers: Iterable[Principal]) -> list[int]:
    """Ids of the principals, which are made known where they are not."""
    unique = sorted(set(readers))
    await connection.execute(
        statement("access", "ensure_principals"),
        {
            "realms": [reader.realm for reader in unique],
            "names": [reader.name for reader in unique],
            "hashes": [_hash(reader) for reader in unique],
        },
    )
    return await known_ids(connection, unique)


async def find_or_create_set(connection: Connection, ids: Collection[int]) -> int:
    """The id of the access set with exactly these members (at least one)."""
    parameters = {"ids": sorted(ids)}
    # Two statements: the second sees a set that another transaction has just committed.
    await connection.execute(statement("access", "create_set"), parameters)
    row = await (await connection.execute(statement("access", "find_set"), parameters)).fetchone()
    if row is None:
        raise ValueError("an access set needs at least one member")
    return int(row[0])


async def find_or_create_sets(
    connection: Connection, groups: Collection[frozenset[Principal]]
) -> dict[frozenset[Principal], int]:
    """The ids of the access sets with exactly these members.

    Names first, then sets, both in one order for all, so that two transactions do not wait for each other.
    """
    await principal_ids(connection, frozenset[Principal]().union(*groups))
    return {
        group: await find_or_create_set(connection, await known_ids(connection, group))
        for group in sorted(groups, key=sorted)
    }


async def known_ids(connection: Connection, readers: Iterable[Principal]) -> list[int]:
    """Ids of those of the readers that are known."""
    return list((await known(connection, readers)).values())


async def known(connection: Connection, readers: Iterable[Principal]) -> dict[Principal, int]:
    """Those of the readers that are known, with their ids."""
    unique = sorted(set(readers))
    rows = await connection.execute(
        statement("access", "known_principals"),
        {"realms": [reader.realm for reader in unique], "names": [reader.name for reader in unique]},
    )
    return {Principal(realm, name): id_ for id_, realm, name in await rows.fetchall()}


def _hash(principal: Principal) -> Decimal:
    """A number of 256 bits; sums of these do not collide by accident nor, in practice, on purpose."""
    material = f"{principal.realm}\x00{principal.name}".encode()
    return Decimal(int.from_bytes(hashlib.sha256(material).digest(), "big") | 1)
