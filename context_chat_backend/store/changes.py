# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many sources, each changed in its own way, by a handful of statements: what a backlog of actions comes to.

Sources that have one set of readers now and come to have the same one are a group, and a group is changed as one: its
set in place when nobody else uses it, else by pointing its sources to another set (found by its digest, or made).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from context_chat_backend.domain import FILES, Principal, SourceRef
from context_chat_backend.store.database import Connection, statement


@dataclass(frozen=True)
class Change:
    """What happens to one source, in this order: readers are added, readers are removed, the source is deleted."""

    add: frozenset[Principal] = frozenset()
    remove: frozenset[Principal] = frozenset()
    """None of these is in `add`."""
    replaces: bool = False
    """Those in `add` are to be the only readers; `remove` is empty then."""
    deleted: bool = False

    def steps(self) -> Iterable[tuple[str, frozenset[Principal]]]:
        """The actions it consists of, as they are remembered."""
        if self.replaces:
            yield "replace", self.add
        elif self.add:
            yield "allow", self.add
        if self.remove:
            yield "deny", self.remove
        if self.deleted:
            yield "delete", frozenset()


@dataclass
class _Group:
    """Sources of one set whose readers come to be the same."""

    old: int
    digest: Decimal
    change: Change
    """That of one of them; the others' may name more, to the same effect."""
    sources: list[int]


async def remember_each(connection: Connection, realm: str, changes: Mapping[SourceRef, Change]) -> None:
    """Keep changes for sources that are not known (yet), and for those delivered as they were composed."""
    steps = [
        (kind, str(ref), json.dumps(sorted(reader.name for reader in readers)), ref.provider != FILES)
        for ref, change in changes.items()
        for kind, readers in change.steps()
    ]
    kinds, refs, readers, composed = _columns(steps, 4)
    await connection.execute(
        statement("changes", "remember_each"),
        {"realm": realm, "kinds": kinds, "refs": refs, "readers": readers, "composed": composed},
    )


async def change_each(
    connection: Connection,
    realm: str,
    changes: Mapping[SourceRef, Change],
    ids: Mapping[Principal, int],
    *,
    emptied_to: int | None = None,
) -> None:
    """Carry the changes out; other actions and admissions are kept out by the caller.

    `ids` names the principals that are known, among them all that are added. Sources left without readers go, or come
    to have the set `emptied_to`.
    """
    kept: list[int] = []
    taken_from_all = {ref for ref, change in changes.items() if change.replaces and not change.add}
    emptied = {ref for ref, change in changes.items() if change.deleted}
    if emptied_to is None:
        emptied |= taken_from_all
    groups: dict[tuple[int, Decimal], _Group] = {}
    for id_, ref, old, digest in await _outcomes(connection, realm, changes, ids):
        source = SourceRef.parse(ref)
        if digest == 0 and emptied_to is not None and source not in emptied:
            kept.append(id_)
        elif digest == 0:
            emptied.add(source)
        elif source not in emptied:
            group = groups.setdefault((old, digest), _Group(old, digest, changes[source], []))
            group.sources.append(id_)
    # Before it is asked who else uses a set:
    if emptied:
        await connection.execute(
            statement("access", "bury_targets"),
            {"realm": realm, "provider": None, "refs": [str(ref) for ref in emptied]},
        )
    if taken := taken_from_all - emptied:
        await connection.execute(
            statement("access", "point_targets"),
            {"realm": realm, "provider": None, "refs": [str(ref) for ref in taken], "access_set_id": emptied_to},
        )
    if kept:
        await connection.execute(statement("changes", "point"), {"sources": kept, "access_set_id": emptied_to})
    if groups:
        await _regroup(connection, list(groups.values()), ids)


async def _outcomes(
    connection: Connection, realm: str, changes: Mapping[SourceRef, Change], ids: Mapping[Principal, int]
) -> list[tuple[int, str, int, Decimal]]:
    """Id, ref, set, and the digest of the readers it comes to have, of each known source that changes."""
    named = [
        (str(ref), change.replaces, ids[reader], adds)
        for ref, change in changes.items()
        for readers, adds in ((change.add, True), (change.remove, False))
        for reader in readers
        if reader in ids
    ]
    refs, replaces, principals, adds = _columns(named, 4)
    rows = await connection.execute(
        statement("changes", "outcomes"),
        {"realm": realm, "refs": refs, "replaces": replaces, "principals": principals, "adds": adds},
    )
    return await rows.fetchall()


async def _regroup(connection: Connection, groups: list[_Group], ids: Mapping[Principal, int]) -> None:
    in_place = await _changed_in_place(connection, groups)
    renamed = {group.old for group in in_place}
    await connection.execute(
        statement("access", "set_digests"),
        {"ids": [group.old for group in in_place], "digests": [group.digest for group in in_place]},
    )
    rows = await connection.execute(
        statement("changes", "create_sets"), {"digests": list({group.digest for group in groups})}
    )
    created = {digest for (digest,) in await rows.fetchall()}
    made = list({group.digest: group for group in groups if group.digest in created}.values())
    copies = [group for group in made if not group.change.replaces]
    await connection.execute(
        statement("changes", "copy_members"),
        {"olds": [group.old for group in copies], "digests": [group.digest for group in copies]},
    )
    for name, added in (("add_members", True), ("remove_members", False)):
        members = [
            (group.digest, ids[reader])
            for group in [*in_place, *made]
            for reader in (group.change.add if added else group.change.remove)
            if reader in ids
        ]
        digests, principals = _columns(members, 2)
        await connection.execute(statement("changes", name), {"digests": digests, "principals": principals})
    moved = [(id_, group.digest) for group in groups if group.old not in renamed for id_ in group.sources]
    sources, digests = _columns(moved, 2)
    await connection.execute(statement("changes", "repoint"), {"sources": sources, "digests": digests})


async def _changed_in_place(connection: Connection, groups: list[_Group]) -> list[_Group]:
    """Groups whose set itself changes: nobody else uses it, and what it is to be does not exist.

    Others may come to have the readers it had until now: sets are made and found after these have changed.
    """
    rows = await connection.execute(
        statement("changes", "used_by_others"),
        {"sets": [group.old for group in groups], "counts": [len(group.sources) for group in groups]},
    )
    shared = {id_ for (id_,) in await rows.fetchall()}
    rows = await connection.execute(
        statement("access", "existing_digests"), {"digests": [group.digest for group in groups]}
    )
    taken = {digest for (digest,) in await rows.fetchall()}
    chosen = []
    for group in groups:
        if group.old in shared or group.digest in taken or group.change.replaces:
            continue
        taken.add(group.digest)
        chosen.append(group)
    return chosen


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [[row[place] for row in rows] for place in range(width)]
