# SPDX-License-Identifier: AGPL-3.0-or-later
"""Actions in bulk do what they would have done one by one, and late ones undo nothing newer."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from typing import cast

import pytest

from context_chat_backend.domain import Principal, Realm, SourceRef
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.indexing.actions import Actions
from context_chat_backend.indexing.numbered_action import Action, Kind
from context_chat_backend.store.access import Access, Targets
from context_chat_backend.store.applied import Applied, AppliedAction
from context_chat_backend.store.changes import Change
from context_chat_backend.store.queued import Queued

REFS = [SourceRef("files__default", str(n)) for n in range(6)] + [SourceRef("deck__cards", str(n)) for n in range(3)]
KEEPER = "keeper"


def users(*names: str) -> frozenset[Principal]:
    return frozenset(Principal(Realm.NEXTCLOUD, name) for name in names)


class Readers:
    """Readers by source, in the shape of store.access.Access; counts what it is asked to do."""

    def __init__(self) -> None:
        self.of = {ref: {KEEPER, "alice"} for ref in REFS}
        self.calls = 0

    def _chosen(self, targets: Targets) -> list[SourceRef]:
        self.calls += 1
        return [ref for ref in self.of if (ref.provider == targets if isinstance(targets, str) else ref in targets)]

    async def allow(self, realm: str, targets: Targets, readers: Collection[Principal]) -> None:
        for ref in self._chosen(targets):
            self.of[ref] |= {reader.name for reader in readers}

    async def deny(self, realm: str, targets: Targets, readers: Collection[Principal], *, keep_emptied: bool) -> None:
        for ref in self._chosen(targets):
            self.of[ref] -= {reader.name for reader in readers}

    async def change_each(self, realm: str, changes: Mapping[SourceRef, Change], *, keep_emptied: bool) -> None:
        for ref in self._chosen(list(changes)):
            change = changes[ref]
            added = {reader.name for reader in change.add}
            self.of[ref] = added if change.replaces else self.of[ref] | added
            self.of[ref] -= {reader.name for reader in change.remove}
            if change.deleted:
                del self.of[ref]

    async def delete_provider(self, realm: str, provider: str) -> None:
        for ref in self._chosen(provider):
            del self.of[ref]

    async def delete_user(self, user: Principal, *, keep_emptied: bool) -> None:
        self.calls += 1
        for readers in self.of.values():
            readers.discard(user.name)


class Log:
    """What was applied, in the shape of store.applied.Applied and, for settling, of store.queued.Queued."""

    def __init__(self, readers: Readers) -> None:
        self._entries: list[AppliedAction] = []
        self._listed: dict[str, int] = {}
        self._readers = readers
        self.dies = False

    async def highest(self) -> int:
        return max((entry.id for entry in self._entries), default=0)

    async def newer(self, targets: Collection[str], than: int) -> list[AppliedAction]:
        return [entry for entry in self._entries if entry.target in targets and entry.id > than]

    async def listed(self, targets: Collection[str]) -> dict[str, int]:
        return {target: self._listed[target] for target in targets if target in self._listed}

    async def note_listed(self, refs: Collection[SourceRef]) -> None:
        self._listed |= dict.fromkeys(map(str, refs), await self.highest())

    async def sources_of(self, realm: str, provider: str) -> list[SourceRef]:
        return [ref for ref in self._readers.of if ref.provider == provider]

    async def settle(self, rows: Collection[tuple[str, int]], applied: Collection[AppliedAction]) -> None:
        if self.dies:
            self.dies = False
            raise DatabaseUnavailable("the database does not answer")
        self._entries += applied


class Batches(Actions):
    """Actions without the rows they came in."""

    def __init__(self, readers: Readers) -> None:
        self.log = Log(readers)
        super().__init__(cast(Access, readers), cast(Queued, self.log), cast(Applied, self.log))

    async def take(self, actions: list[Action]) -> None:
        await self.apply(actions, [])


def build() -> tuple[Readers, Batches]:
    readers = Readers()
    return readers, Batches(readers)


def any_action(chance: random.Random, id_: int) -> Action:
    named = users(*chance.sample(["alice", "bob", "carol", "dave"], chance.randint(1, 2)))
    kinds = [Kind.ALLOW, Kind.DENY, Kind.REPLACE, Kind.ALLOW, Kind.DENY, Kind.DELETE, Kind.DELETE_USER]
    kind = chance.choices(kinds, [6, 6, 2, 6, 6, 1, 1])[0]
    if kind is Kind.DELETE_USER:
        return Action(id_, kind, readers=users(chance.choice(["alice", "bob"])))
    if kind is Kind.REPLACE:
        return Action(id_, kind, (chance.choice(REFS),), named | users(KEEPER))
    if kind is not Kind.DELETE and chance.random() < 0.2:
        return Action(id_, kind, "deck__cards", named)
    return Action(id_, kind, (chance.choice(REFS),), frozenset() if kind is Kind.DELETE else named)


@pytest.mark.parametrize("seed", range(200))
async def test_a_batch_does_what_its_actions_do_one_by_one(seed: int) -> None:
    chance = random.Random(seed)
    actions = [any_action(chance, id_) for id_ in range(1, 40)]
    one_by_one, single = build()
    for action in actions:
        await single.take([action])
    at_once, bulk = build()

    await bulk.take(chance.sample(actions, len(actions)))

    assert at_once.of == one_by_one.of


@pytest.mark.parametrize("seed", range(50))
async def test_a_batch_that_was_applied_and_not_settled_is_applied_again_to_the_same_effect(seed: int) -> None:
    chance = random.Random(seed)
    actions = [any_action(chance, id_) for id_ in range(1, 20)]
    readers, bulk = build()
    bulk.log.dies = True
    with pytest.raises(DatabaseUnavailable):
        await bulk.take(actions)
    before = {ref: set(of) for ref, of in readers.of.items()}

    await bulk.take(actions)

    assert readers.of == before


@pytest.mark.parametrize("seed", range(300))
async def test_actions_that_come_late_do_what_they_would_have_done_in_time(seed: int) -> None:
    chance = random.Random(seed)
    # Users and providers that are deleted late are deleted whatever came since.
    actions = [action for id_ in range(1, 60) if (action := any_action(chance, id_)).kind is not Kind.DELETE_USER]
    in_time, single = build()
    for action in actions:
        await single.take([action])
    readers, bulk = build()
    begin = chance.randrange(30)
    lost = actions[begin : begin + chance.randint(1, 20)]

    await bulk.take(actions[:begin])
    for action in actions[begin + len(lost) :]:
        await bulk.take([action])
    for start in range(0, len(lost), 7):
        await bulk.take(lost[start : start + 7])

    assert readers.of == in_time.of


@pytest.mark.parametrize(
    "newer",
    [
        Action(9, Kind.DENY, (REFS[6],), users("bob")),
        Action(9, Kind.DENY, "deck__cards", users("bob")),
        Action(9, Kind.REPLACE, (REFS[6],), users(KEEPER)),
        Action(9, Kind.DELETE_USER, readers=users("bob")),
        Action(9, Kind.DELETE, (REFS[6],)),
    ],
)
@pytest.mark.parametrize("wide", [False, True])
async def test_a_late_grant_opens_nothing_that_was_closed_since(newer: Action, wide: bool) -> None:
    readers, bulk = build()
    await bulk.take([newer])

    await bulk.take([Action(5, Kind.ALLOW, "deck__cards" if wide else (REFS[6],), users("bob"))])

    assert "bob" not in readers.of.get(REFS[6], set())


async def test_a_late_grant_of_a_provider_reaches_what_nothing_newer_was_done_to() -> None:
    readers, bulk = build()
    await bulk.take([Action(9, Kind.DENY, (REFS[6],), users("bob"))])

    await bulk.take([Action(5, Kind.ALLOW, "deck__cards", users("bob"))])

    assert ["bob" in readers.of[ref] for ref in REFS[6:]] == [False, True, True]


async def test_a_late_action_is_older_than_readers_that_were_listed_since() -> None:
    readers, bulk = build()
    await bulk.take([Action(9, Kind.ALLOW, (REFS[0],), users("carol"))])
    await bulk.log.note_listed([REFS[1]])

    await bulk.take([Action(5, Kind.ALLOW, (REFS[1],), users("bob"))])
    await bulk.take([Action(6, Kind.DELETE, (REFS[1],))])

    assert readers.of[REFS[1]] == {KEEPER, "alice"}


async def test_many_actions_alike_are_few_changes() -> None:
    readers, bulk = build()

    await bulk.take([Action(id_, Kind.ALLOW, (REFS[id_ % 9],), users("bob")) for id_ in range(1, 4000)])

    assert readers.calls == 1
