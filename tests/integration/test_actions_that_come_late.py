# SPDX-License-Identifier: AGPL-3.0-or-later
"""Actions whose lease was lost come a day late; in the end everybody reads what he would read had they come in time."""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest

from context_chat_backend.domain import Delivery, Principal, Realm, SourceRef
from context_chat_backend.indexing.actions import Actions
from context_chat_backend.indexing.numbered_action import Action, Kind
from context_chat_backend.store.access import Access
from context_chat_backend.store.applied import Applied
from context_chat_backend.store.database import Database
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.queued import Queued
from tests.who_reads import readers_of_all

NC = Realm.NEXTCLOUD
REFS = [SourceRef("files__default", str(n)) for n in range(1, 41)]
_START = datetime(2024, 1, 1, tzinfo=UTC)
USERS = [Principal(NC, f"user{n}") for n in range(14)]


class Intake:
    """What applies actions, over the real store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._access = Access(database)
        self._applied = Applied(database)
        self._actions = Actions(self._access, Queued(database), self._applied)
        self._minutes = 0

    async def deliver(self, ref: SourceRef, readers: Collection[Principal]) -> None:
        delivery = Delivery(NC, ref, "note.txt", "text/plain", _START, frozenset(readers))
        assert await Ledger(self._database).admit_new([(delivery, b"a garden")])

    async def list(self, ref: SourceRef, readers: Collection[Principal]) -> None:
        """The file has changed: its row names those who may read it now."""
        self._minutes += 1
        delivery = Delivery(
            NC, ref, "note.txt", "text/plain", _START + timedelta(minutes=self._minutes), frozenset(readers),
            readers_since=await Queued(self._database).now(), remote=True,
        )  # fmt: skip
        await Ledger(self._database).admit(delivery, b"", 8)
        await self._applied.note_listed([ref])

    async def take(self, *actions: Action) -> None:
        await self._actions.apply(actions, [])

    async def all_came_back(self) -> None:
        await self._access.let_emptied_go(NC)


class Oracle:
    """Who reads what after actions that come in time, with which what nobody reads is over."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._users = list(USERS)
        self.of = {ref: self._some() for ref in REFS}

    def next(self, id_: int) -> Action:
        """Anything that can happen to what somebody reads."""
        named = self._some()
        ref = self._chance.choice([ref for ref, readers in self.of.items() if readers])
        kind = self._chance.choices([Kind.ALLOW, Kind.DENY, Kind.REPLACE, Kind.DELETE_USER], [10, 10, 3, 1])[0]
        if kind is Kind.DELETE_USER and len(self._users) > 3:
            gone = self._users.pop()
            for readers in self.of.values():
                readers.discard(gone)
            return Action(id_, kind, readers=frozenset({gone}))
        if kind is Kind.REPLACE:
            self.of[ref] = set(named)
        elif kind is Kind.ALLOW:
            self.of[ref] |= named
        else:
            kind = Kind.DENY
            self.of[ref] -= named
        return Action(id_, kind, (ref,), frozenset(named))

    def copy(self) -> dict[SourceRef, set[Principal]]:
        """Who reads what at this moment."""
        return {ref: set(readers) for ref, readers in self.of.items()}

    def is_over(self) -> bool:
        return not any(self.of.values())

    def _some(self) -> set[Principal]:
        return set(self._chance.sample(self._users, self._chance.randint(1, 2)))


@pytest.mark.parametrize("seed", range(8))
async def test_everybody_reads_in_the_end_what_he_would_had_all_come_in_time(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    oracle, intake = Oracle(chance), Intake(database)
    for ref, readers in oracle.of.items():
        await intake.deliver(ref, readers)
    actions: list[Action] = []
    readers_after = [oracle.copy()]
    while len(actions) < 200 and not oracle.is_over():
        actions.append(oracle.next(len(actions) + 1))
        readers_after.append(oracle.copy())
    begin = chance.randrange(len(actions) // 2)
    lost = actions[begin : begin + chance.randint(10, 60)]
    in_time = [action for action in actions if action not in lost]

    while in_time:
        size = chance.randint(1, 20)
        await intake.take(*in_time[:size])
        last, in_time = in_time[size - 1 : size] or in_time[-1:], in_time[size:]
        listed = readers_after[min(len(actions), last[0].id + chance.randint(0, 3))]
        if readers := listed[ref := chance.choice(REFS)]:
            await intake.list(ref, readers)
    await intake.take(*lost)
    await intake.all_came_back()

    expected = {ref: {reader.name for reader in readers} for ref, readers in oracle.of.items() if readers}
    assert await readers_of_all(database) == expected


@pytest.mark.parametrize(
    "emptying",
    [
        [Action(2, Kind.DENY, (REFS[0],), frozenset(USERS[:1]))],
        [Action(2, Kind.DENY, "files__default", frozenset(USERS[:1]))],
        [Action(2, Kind.DELETE_USER, readers=frozenset(USERS[:1]))],
        [Action(2, Kind.REPLACE, (REFS[0],))],
        [
            Action(2, Kind.REPLACE, (REFS[0],), frozenset(USERS[:1])),
            Action(4, Kind.DENY, (REFS[0],), frozenset(USERS[:1])),
        ],
    ],
)
async def test_what_is_taken_from_its_last_reader_waits_for_a_grant_that_comes_later(
    database: Database, emptying: list[Action]
) -> None:
    intake = Intake(database)
    await intake.deliver(REFS[0], USERS[:1])

    await intake.take(*emptying)
    nobody = await readers_of_all(database)
    await intake.take(Action(3, Kind.ALLOW, (REFS[0],), frozenset(USERS[1:2])))
    await intake.all_came_back()

    assert not nobody[REFS[0]] & {reader.name for reader in USERS}
    assert await readers_of_all(database) == {REFS[0]: {USERS[1].name}}


async def test_what_nobody_reads_goes_once_all_came_back(database: Database) -> None:
    intake = Intake(database)
    for ref in REFS[:3]:
        await intake.deliver(ref, USERS[:1])

    await intake.take(Action(1, Kind.REPLACE, (REFS[0],)), Action(2, Kind.DELETE, (REFS[1],)))
    before = set(await readers_of_all(database))
    await intake.take(Action(3, Kind.DELETE_USER, readers=frozenset(USERS[:1])))
    await intake.all_came_back()

    assert before == {REFS[0], REFS[2]}
    assert await readers_of_all(database) == {}
