# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was used is counted: by key and day, by asker and minute."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import pytest

from context_chat_backend.domain import KeyScope, Principal
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.store.access import Access
from context_chat_backend.store.database import Connection, Database
from context_chat_backend.store.feedback import Feedback
from context_chat_backend.store.kept import Kept
from context_chat_backend.store.keys import Keys
from context_chat_backend.store.uses import Use, Uses

ALICE, BOB = Principal("local", "alice"), Principal("local", "bob")


def use(key_id: str | None, tokens: int) -> Use:
    return Use(key_id, ALICE, "chatqna", "m", tokens, 1, 20, 90, 200)


async def booked(database: Database) -> list[int]:
    async with database.transaction() as connection:
        rows = await (await connection.execute("SELECT prompt_tokens FROM access.usage ORDER BY id")).fetchall()
    return [tokens for (tokens,) in rows]


class Away(Database):
    """A database that cannot be reached for a while."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_away = True

    @asynccontextmanager
    async def transaction(self, *, lasting: bool = True) -> AsyncIterator[Connection]:
        if self.is_away:
            raise DatabaseUnavailable("away")
        async with self._database.transaction(lasting=lasting) as connection:
            yield connection


async def minute(database: Database) -> datetime:
    async with database.transaction() as connection:
        row = await (await connection.execute("SELECT date_trunc('minute', now())")).fetchone()
    assert row is not None
    return datetime.fromisoformat(str(row[0]))


async def test_a_key_is_used_up_by_its_tokens_of_today_and_not_by_others(database: Database) -> None:
    keys, uses = Keys(database), Uses(database)
    text, key = await keys.add("a", user=ALICE, collections=[], scopes=[KeyScope.CHAT], tokens_per_day=10)
    other, _ = await keys.add("b", user=ALICE, collections=[], scopes=[KeyScope.CHAT], tokens_per_day=10)
    await uses.book(use(key.id, 8))
    before = await keys.use(text)
    await uses.book(use(key.id, 0))
    after, beside = await keys.use(text), await keys.use(other)

    assert before is not None
    assert after is not None
    assert beside is not None
    assert [before.is_used_up, after.is_used_up, beside.is_used_up] == [False, True, False]


async def test_yesterday_is_forgotten(database: Database) -> None:
    keys, uses = Keys(database), Uses(database)
    text, key = await keys.add("a", user=ALICE, collections=[], scopes=[KeyScope.CHAT], requests_per_day=1)
    await keys.use(text)
    await uses.book(use(key.id, 100))
    async with database.transaction() as connection:
        await connection.execute("UPDATE access.api_keys SET day = day - 1")
    again, once_more = await keys.use(text), await keys.use(text)

    assert again is not None
    assert once_more is not None
    assert [again.is_used_up, once_more.is_used_up] == [False, True]


async def test_a_use_is_a_row_without_anything_that_was_asked(database: Database) -> None:
    await Uses(database).book(use(None, 8))
    async with database.transaction() as connection:
        rows = await (
            await connection.execute(
                "SELECT key_id, principal, surface, model, prompt_tokens, completion_tokens, first_byte_ms, total_ms, "
                "status, cancelled FROM access.usage"
            )
        ).fetchall()

    assert rows == [(None, "local:alice", "chatqna", "m", 8, 1, 20, 90, 200, False)]


async def test_askers_are_counted_by_themselves_in_each_minute(database: Database) -> None:
    uses = Uses(database)
    while True:  # once more when a minute ends in between
        begun = await minute(database)
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM access.askers")
        counted = [(await uses.asked(asker))[0] for asker in (ALICE, ALICE, BOB)]
        if await minute(database) == begun:
            break

    assert counted == [1, 2, 1]
    async with database.transaction() as connection:
        await connection.execute("UPDATE access.askers SET minute = minute - interval '1 minute'")
    assert (await uses.asked(ALICE))[0] == 1


async def test_uses_that_come_at_once_are_all_written_down(database: Database) -> None:
    keys, uses = Keys(database), Uses(database)
    text, key = await keys.add("a", user=ALICE, collections=[], scopes=[KeyScope.CHAT], tokens_per_day=100)
    await asyncio.gather(*(uses.book(use(key.id, 2)) for _ in range(50)))
    found = await keys.use(text)

    assert await booked(database) == [2] * 50
    assert found is not None
    assert found.is_used_up


async def test_what_could_not_be_written_is_written_with_the_next(database: Database) -> None:
    away = Away(database)
    uses = Uses(away)
    with pytest.raises(DatabaseUnavailable):
        await uses.book(use(None, 1))
    away.is_away = False
    await uses.book(use(None, 2))

    assert await booked(database) == [1, 2]


async def test_more_tokens_than_can_be_are_written_as_the_most_there_can_be(database: Database) -> None:
    await Uses(database).book(use(None, 10**12))

    assert await booked(database) == [2**31 - 1]


async def test_who_is_deleted_leaves_nothing_of_what_he_used(database: Database) -> None:
    uses = Uses(database)
    for asker in (ALICE, BOB):
        await uses.asked(asker)
        await uses.book(replace(use(None, 8), asker=asker))
        await uses.asked(Principal(f"planner messages:{asker.realm}", asker.name))
    assert (await Kept(database).about(ALICE))["access.askers"] == 2
    await Access(database).delete_user(ALICE)
    async with database.transaction() as connection:
        usage = await (await connection.execute("SELECT principal FROM access.usage")).fetchall()
        askers = await (await connection.execute("SELECT realm, name FROM access.askers")).fetchall()

    assert usage == [("local:bob",)]
    assert sorted(askers) == [("local", "bob"), ("planner messages:local", "bob")]


async def test_what_was_thought_of_answers_goes_with_the_key(database: Database) -> None:
    feedback, keys, kept = Feedback(database), Keys(database), Kept(database)
    of: dict[str, str] = {}
    for name in ("kept", "deleted"):
        _, key = await keys.add("tests", user=ALICE, collections=[], scopes=[KeyScope.CHAT])
        of[name] = key.id
        await feedback.give(f"of-{name}", key.id, up=False, comment=f"The answer about {name} was wrong")

    await keys.delete(of["deleted"])

    assert await kept.holding("The answer about deleted") == {}
    assert await kept.holding("The answer about kept") == {"chat.feedback": 1}
    assert not await keys.holds(of["deleted"])
    assert await keys.holds(of["kept"])


async def test_what_was_thought_of_answers_goes_with_its_age(database: Database) -> None:
    for days in (89, 91):
        await Feedback(database).give(f"of-{days}", str(uuid.uuid4()), up=True, comment=f"{days} days")
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE chat.feedback SET at = now() - make_interval(days => %s) WHERE request_id = %s",
                (days, f"of-{days}"),
            )
    sweeping = asyncio.create_task(Uses(database).keep_swept())
    try:
        async with asyncio.timeout(60):
            while await Kept(database).holding("91 days"):
                await asyncio.sleep(0.02)
    finally:
        sweeping.cancel()
    assert await Kept(database).holding("89 days") == {"chat.feedback": 1}


async def test_what_a_server_of_models_calls_itself_is_booked_whatever_it_is(database: Database) -> None:
    await Uses(database).book(replace(use(None, 3), model="a\0b – ü"))

    assert await booked(database) == [3]


async def test_uses_wait_while_only_a_standby_answers(database: Database, database_url: str) -> None:
    standby = Database(
        f"{database_url}{'&' if '?' in database_url else '?'}options=-cdefault_transaction_read_only%3Don"
    )
    await standby.open()
    try:
        with pytest.raises(DatabaseUnavailable):
            await Uses(standby).book(use(None, 3))
    finally:
        await standby.close()

    assert await booked(database) == []
