# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may read what: access sets, and every action that changes them.

An action works on the *distinct sets* of the sources it concerns (access_sets.py): a set nobody else uses is changed in
place, otherwise its sources are pointed to another (found or copied). Actions exclude each other and admissions for the
length of a transaction, which is what makes changing a set in place safe; searches are never held up. Actions on
sources that are not known yet are remembered (ruling 5).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from context_chat_backend.domain import FILES, Delivery, Principal, Reason, SourceRef
from context_chat_backend.store.access_sets import (
    exclude_others,
    find_or_create_set,
    known,
    known_ids,
    principal_ids,
)
from context_chat_backend.store.changes import Change, change_each, remember_each
from context_chat_backend.store.database import Connection, Database, statement

Targets = Sequence[SourceRef] | str
"""What an action concerns: some sources, or all of the provider of that key."""

_NOBODY = Principal("nobody", "nobody")
"""Of no realm that anybody asks in: the one reader of sources that are kept though all others were taken away."""
_SWEEP_BATCH = 500
_UNOPENED = [str(Reason.NOT_FOUND), str(Reason.UNREADABLE)]
"""In the names of those who were known to read it: of others Nextcloud may say something else."""


@dataclass(frozen=True)
class _Change:
    """What happens to one access set: `old` becomes a set with `digest`."""

    old: int
    digest: Decimal
    shared: bool
    """Whether sources beside those of the action use it."""


class Access:
    """The actions on readers and sources."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def allow(self, realm: str, targets: Targets, readers: Collection[Principal]) -> None:
        """Let `readers` read the targets too. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            await exclude_others(connection)
            await _remember(connection, "allow", realm, targets, readers)
            ids = await principal_ids(connection, readers)
            await _change(connection, realm, targets, add=ids, remove=[])
            await _seek_again(connection, realm, targets)

    async def deny(
        self, realm: str, targets: Targets, readers: Collection[Principal], *, keep_emptied: bool = False
    ) -> None:
        """Take the targets from `readers`; sources left without readers go, or are kept until `let_emptied_go`.

        Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            await exclude_others(connection)
            await _remember(connection, "deny", realm, targets, readers)
            kept = await _nobodys_set(connection) if keep_emptied else None
            remove = await known_ids(connection, readers)
            await _change(connection, realm, targets, add=[], remove=remove, emptied_to=kept)

    async def replace(self, realm: str, targets: Targets, readers: Collection[Principal]) -> None:
        """Let exactly `readers` read the targets; with no readers the sources go. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            await exclude_others(connection)
            await _remember(connection, "replace", realm, targets, readers)
            selection = _selection(realm, targets)
            if not readers:
                await connection.execute(statement("access", "bury_targets"), selection)
                return
            access_set = await find_or_create_set(connection, await principal_ids(connection, readers))
            await connection.execute(statement("access", "point_targets"), selection | {"access_set_id": access_set})
            await _seek_again(connection, realm, targets)

    async def change_each(self, realm: str, changes: Mapping[SourceRef, Change], *, keep_emptied: bool = False) -> None:
        """Change each of these sources in its own way, all in one transaction; `keep_emptied` as in `deny`.

        Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            await exclude_others(connection)
            await remember_each(connection, realm, changes)
            await principal_ids(connection, [reader for change in changes.values() for reader in change.add])
            named = {reader for change in changes.values() for reader in change.add | change.remove}
            kept = await _nobodys_set(connection) if keep_emptied else None
            await change_each(connection, realm, changes, await known(connection, named), emptied_to=kept)
            await _seek_again(connection, realm, [ref for ref, change in changes.items() if change.add])

    async def delete_sources(self, realm: str, refs: Sequence[SourceRef]) -> None:
        """Delete the sources, whoever reads them. Raises DatabaseUnavailable."""
        await self._delete(realm, refs)

    async def delete_provider(self, realm: str, provider: str) -> None:
        """Delete all sources of a provider. Raises DatabaseUnavailable."""
        await self._delete(realm, provider)

    async def delete_user(self, user: Principal, *, keep_emptied: bool = False) -> None:
        """Take the user from all sets; sources left without readers go, or are kept until `let_emptied_go`.

        He is forgotten, and so are his conversations and his uses.

        Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            await exclude_others(connection)
            await connection.execute(
                statement("access", "remember_user"), {"realm": user.realm, "readers": [user.name]}
            )
            ids = await known_ids(connection, [user])
            kept = await _nobodys_set(connection) if keep_emptied else None
            await _change(connection, user.realm, None, add=[], remove=ids, emptied_to=kept)
            await connection.execute(statement("access", "drop_sets_of"), {"ids": ids})
            await connection.execute(statement("access", "forget_principals"), {"ids": ids})
            for name in ("forget_conversations", "forget_uses", "forget_asker"):
                await connection.execute(statement("access", name), {"realm": user.realm, "name": user.name})

    async def let_emptied_go(self, realm: str) -> None:
        """Delete sources that were kept though nobody may read them. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            nobody = await known_ids(connection, [_NOBODY])
            rows = await connection.execute(statement("access", "kept"), {"realm": realm, "nobody": nobody})
            if refs := [SourceRef.parse(row[0]) for row in await rows.fetchall()]:
                await exclude_others(connection)
                await _change(connection, realm, refs, add=[], remove=nobody)

    async def sweep_sources(self) -> int:
        """Remove the rows of deleted sources, in batches; returns how many. Raises DatabaseUnavailable."""
        swept = 0
        while True:
            async with self._database.transaction() as connection:
                rows = await connection.execute(statement("access", "sweep_sources"), {"limit": _SWEEP_BATCH})
            swept += rows.rowcount
            if rows.rowcount < _SWEEP_BATCH:
                return swept

    async def sweep_sets(self) -> None:
        """Remove sets and names no source needs, and remembered actions older than 48 hours.

        Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            await exclude_others(connection)
            for name in ("sweep_sets", "sweep_principals", "forget_actions"):
                await connection.execute(statement("access", name))

    async def _delete(self, realm: str, targets: Targets) -> None:
        async with self._database.transaction() as connection:
            await exclude_others(connection)
            await _remember(connection, "delete", realm, targets, [])
            await connection.execute(statement("access", "bury_targets"), _selection(realm, targets))


async def remembered_readers(connection: Connection, delivery: Delivery) -> set[Principal]:
    """Readers of a not yet known source after the remembered actions that concern it, oldest first.

    A deletion counts when it came after the delivery did: a file that was deleted, restored and delivered again is
    indexed.
    """
    left = set(delivery.readers)
    for kind, named in await _remembered(connection, delivery):
        match kind:
            case "allow":
                left |= named
            case "deny":
                left -= named
            case "replace":
                left = named
            case "delete":
                left = set()
    await connection.execute(
        statement("access", "forget_remembered"), {"realm": delivery.realm, "ref": str(delivery.ref)}
    )
    return left


async def readers_left(connection: Connection, delivery: Delivery) -> set[Principal]:
    """Readers of a delivery of a known source, without those an action took it from after it may have been composed.

    Nobody is added: whether it was composed before or after a grant cannot be told.
    """
    left = set(delivery.readers)
    for kind, named in await _remembered(connection, delivery):
        match kind:
            case "allow":
                left |= named & delivery.readers
            case "deny":
                left -= named
            case "replace":
                left = named & delivery.readers
    return left


async def _remembered(connection: Connection, delivery: Delivery) -> list[tuple[str, set[Principal]]]:
    rows = await connection.execute(
        statement("access", "remembered"),
        {
            "realm": delivery.realm,
            "ref": str(delivery.ref),
            "provider": delivery.ref.provider,
            "received_at": delivery.received_at,
            "readers_since": delivery.readers_since,
        },
    )
    return [(kind, {Principal(delivery.realm, name) for name in names}) for kind, names in await rows.fetchall()]


async def _change(
    connection: Connection,
    realm: str,
    targets: Targets | None,
    *,
    add: list[int],
    remove: list[int],
    emptied_to: int | None = None,
) -> None:
    """Add and remove principals in the sets of the targets (None: of the whole realm).

    Sources that are left without readers go, or come to have the set `emptied_to`.
    """
    selection = _selection(realm, targets) | {"add": add, "remove": remove}
    rows = await connection.execute(statement("access", "changes"), selection)
    changes = [_Change(old, digest, shared) for old, digest, shared in await rows.fetchall()]
    emptied = [change.old for change in changes if change.digest == 0]
    name, of_emptied = "bury_sets", selection | {"emptied": emptied}
    if emptied_to is not None:
        name, of_emptied = "point_sets", of_emptied | {"access_set_id": emptied_to}
    await connection.execute(statement("access", name), of_emptied)
    changes = [change for change in changes if change.digest != 0]
    in_place, moved = await _plan(connection, changes)
    await connection.execute(
        statement("access", "set_digests"),
        {"ids": [c.old for c in in_place], "digests": [c.digest for c in in_place]},
    )
    await connection.execute(statement("access", "add_members"), selection | {"sets": [c.old for c in in_place]})
    await connection.execute(statement("access", "remove_members"), selection | {"sets": [c.old for c in in_place]})
    copies = list({c.digest: c for c in moved}.values())
    await connection.execute(
        statement("access", "copy_sets"),
        selection | {"olds": [c.old for c in copies], "digests": [c.digest for c in copies]},
    )
    await connection.execute(
        statement("access", "copy_members"),
        selection | {"olds": [c.old for c in copies], "digests": [c.digest for c in copies]},
    )
    await connection.execute(
        statement("access", "repoint"),
        selection | {"olds": [c.old for c in moved], "digests": [c.digest for c in moved]},
    )


async def _plan(connection: Connection, changes: list[_Change]) -> tuple[list[_Change], list[_Change]]:
    """Which sets are changed in place, and which have their sources pointed to another.

    A digest gets at most one set: the existing one, else the first that nobody else uses, else a copy. A set that is
    the target of one change is itself never changed by the same action: its members already hold what is added
    (or lack what is removed).
    """
    rows = await connection.execute(
        statement("access", "existing_digests"), {"digests": [change.digest for change in changes]}
    )
    taken = {digest for (digest,) in await rows.fetchall()}
    in_place: list[_Change] = []
    moved: list[_Change] = []
    for change in changes:
        if not change.shared and change.digest not in taken:
            taken.add(change.digest)
            in_place.append(change)
        else:
            moved.append(change)
    return in_place, moved


async def _nobodys_set(connection: Connection) -> int:
    return await find_or_create_set(connection, await principal_ids(connection, [_NOBODY]))


async def _seek_again(connection: Connection, realm: str, targets: Targets) -> None:
    """A download is made in the names of those who are known to read a file: now there are others."""
    if not targets:
        return
    await connection.execute(statement("access", "seek_again"), _selection(realm, targets) | {"reasons": _UNOPENED})


async def _remember(
    connection: Connection, kind: str, realm: str, targets: Targets, readers: Collection[Principal]
) -> None:
    """Keep an action for sources that arrive later. A grant of a whole provider is not kept: it would open sources to
    readers whom nobody named for them (docs/decisions/remembered-actions.md)."""
    if isinstance(targets, str) and kind not in ("deny", "delete"):
        return
    parameters = _selection(realm, targets) | {"kind": kind, "readers": sorted(reader.name for reader in readers)}
    if isinstance(targets, str):
        await connection.execute(statement("access", "remember_provider"), parameters)
        return
    # A file's readers are read when it is listed; content of apps lies in a queue with those it had when submitted.
    composed = [str(ref) for ref in targets if ref.provider != FILES]
    await connection.execute(statement("access", "remember_sources"), parameters | {"composed": composed})


def _selection(realm: str, targets: Targets | None) -> dict[str, object]:
    return {
        "realm": realm,
        "provider": targets if isinstance(targets, str) else None,
        "refs": None if targets is None or isinstance(targets, str) else [str(ref) for ref in targets],
    }
