# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations in the store: their owner alone has them, and only while he may read what they were written from."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from context_chat_backend.domain import Delivery, Principal, Realm, SourceRef
from context_chat_backend.store.access import Access
from context_chat_backend.store.conversations import Conversations, KeptMessage, Owner, Remembered
from context_chat_backend.store.database import Database
from context_chat_backend.store.forgetting import Forgetting
from context_chat_backend.store.ledger import Ledger

ALICE, BOB = Principal(Realm.LOCAL, "alice"), Principal(Realm.LOCAL, "bob")
HERS, HIS = Owner(ALICE, ""), Owner(BOB, "")
ROOF, CELLAR = SourceRef("files__default", "1"), SourceRef("files__default", "2")
SQL = Path(__file__).parents[2] / "context_chat_backend" / "store" / "sql" / "conversations.sql"


@pytest.fixture
async def access(database: Database) -> Access:
    """Both sources are alice's and bob's."""
    ledger = Ledger(database)
    for ref in (ROOF, CELLAR):
        delivery = Delivery(
            Realm.LOCAL, ref, f"{ref}.txt", "text/plain", datetime(2024, 1, 1, tzinfo=UTC), frozenset({ALICE, BOB})
        )
        await ledger.admit(delivery, b"text", 4)
    return Access(database)


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)


async def told(conversations: Conversations, owner: Owner, id_: uuid.UUID, *refs: SourceRef, n: int = 1) -> None:
    await conversations.add(owner, id_, f"question {n}?", f"answer {n}", refs=refs, inherited=())


async def texts(conversations: Conversations, owner: Owner, id_: uuid.UUID) -> list[str | None]:
    return [message.text for message in await conversations.messages(owner, id_)]


async def used(conversations: Conversations, id_: uuid.UUID) -> list[str]:
    return [message.text for message in (await conversations.history(HERS, id_)).messages]


async def test_a_conversation_has_its_turns_in_order_and_is_called_as_it_began(
    conversations: Conversations, access: Access
) -> None:
    begun = await conversations.begin(HERS)
    for n in (1, 2):
        await told(conversations, HERS, begun.id, ROOF, n=n)

    assert await texts(conversations, HERS, begun.id) == ["question 1?", "answer 1", "question 2?", "answer 2"]
    (listed,) = await conversations.all(HERS, limit=10)
    assert (listed.id, listed.title, listed.messages) == (begun.id, "question 1?", 4)
    assert listed == await conversations.one(HERS, begun.id)


async def test_nobody_else_reads_continues_or_deletes_it(conversations: Conversations, access: Access) -> None:
    begun = await conversations.begin(HERS)
    await told(conversations, HERS, begun.id, ROOF)

    for other in (HIS, Owner(ALICE, "a key kept to town"), Owner(Principal(Realm.NEXTCLOUD, "alice"), None)):
        assert await conversations.all(other, limit=10) == []
        assert await conversations.one(other, begun.id) is None
        assert await conversations.messages(other, begun.id) == []
        assert (await conversations.history(other, begun.id)).messages == ()
        await told(conversations, other, begun.id, n=2)
        await conversations.sum_up(other, begun.id, Remembered("lies", "assistant", 2, ()))
        assert not await conversations.delete(other, begun.id)
        assert await conversations.delete_all(other) == 0

    assert await texts(conversations, HERS, begun.id) == ["question 1?", "answer 1"]
    assert (await conversations.history(HERS, begun.id)).summary is None


def test_the_owner_stands_in_every_statement() -> None:
    statements = SQL.read_text(encoding="utf-8").split("-- name: ")[1:]

    assert len(statements) > 8
    for text in statements:
        assert all(f"%({owner})s" in text for owner in ("realm", "name", "key")), text


async def test_the_second_wall_hides_conversations_from_statements_without_an_owner(
    conversations: Conversations, access: Access, database: Database
) -> None:
    begun = await conversations.begin(HERS)
    await told(conversations, HERS, begun.id, ROOF)

    for asker, seen in ((ALICE, 2), (BOB, 0), (Principal(Realm.LOCAL, "nobody"), 0)):
        async with database.reading_as(asker) as connection:
            rows = await connection.execute("SELECT count(*) FROM chat.messages")
            assert await rows.fetchone() == (seen,)


async def test_what_was_written_from_a_source_is_hidden_while_it_may_not_be_read(
    conversations: Conversations, access: Access
) -> None:
    begun = await conversations.begin(HERS)
    await told(conversations, HERS, begun.id, ROOF, n=1)
    await told(conversations, HERS, begun.id, CELLAR, n=2)
    first, *_ = (await conversations.history(HERS, begun.id)).messages
    await conversations.add(HERS, begun.id, "question 3?", "answer 3", refs=[CELLAR], inherited=first.sources)

    await access.deny(Realm.LOCAL, [ROOF], [ALICE])

    assert await texts(conversations, HERS, begun.id) == [None, None, "question 2?", "answer 2", None, None]
    assert await used(conversations, begun.id) == ["question 2?", "answer 2"]

    await access.allow(Realm.LOCAL, [ROOF], [ALICE])

    assert len(await used(conversations, begun.id)) == 6


async def test_a_summary_stands_for_what_came_before_while_all_of_it_may_be_read(
    conversations: Conversations, access: Access
) -> None:
    begun = await conversations.begin(HERS)
    await told(conversations, HERS, begun.id, ROOF, n=1)
    await told(conversations, HERS, begun.id, CELLAR, n=2)
    sources = (await conversations.history(HERS, begun.id)).messages[0].sources
    await conversations.sum_up(HERS, begun.id, Remembered("the roof", "assistant", 2, sources))

    history = await conversations.history(HERS, begun.id)
    assert history.summary is not None
    assert history.summary.text == "the roof"
    assert [message.text for message in history.messages] == ["question 2?", "answer 2"]

    await access.deny(Realm.LOCAL, [ROOF], [ALICE])

    history = await conversations.history(HERS, begun.id)
    assert history.summary is None
    assert [message.text for message in history.messages] == ["question 2?", "answer 2"]


async def test_what_was_written_from_a_deleted_source_is_erased(
    conversations: Conversations, access: Access, database_url: str
) -> None:
    begun = await conversations.begin(HERS)
    await told(conversations, HERS, begun.id, ROOF, n=1)
    await told(conversations, HERS, begun.id, CELLAR, n=2)
    sources = (await conversations.history(HERS, begun.id)).messages[0].sources
    await conversations.sum_up(HERS, begun.id, Remembered("the roof", "assistant", 2, sources))

    await access.delete_sources(Realm.LOCAL, [ROOF])
    assert await used(conversations, begun.id) == ["question 2?", "answer 2"]
    await access.sweep_sources()

    assert await texts(conversations, HERS, begun.id) == ["question 2?", "answer 2"]
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("SELECT set_config('context_chat.principals', '{0}', true)")
        rows = await connection.execute("SELECT summary, summary_sources FROM chat.conversations")
        assert await rows.fetchall() == [("", [])]


async def test_an_answer_from_a_source_that_went_meanwhile_is_never_shown(
    conversations: Conversations, access: Access
) -> None:
    begun = await conversations.begin(HERS)
    await access.delete_sources(Realm.LOCAL, [ROOF])

    await told(conversations, HERS, begun.id, ROOF)

    assert await texts(conversations, HERS, begun.id) == [None, None]


async def test_deleting_one_all_and_a_user(conversations: Conversations, access: Access) -> None:
    begun = [await conversations.begin(HERS, f"{n}") for n in range(3)]
    his = await conversations.begin(HIS)
    of_a_key = await conversations.begin(Owner(ALICE, "k"))

    assert await conversations.delete(HERS, begun[0].id)
    assert not await conversations.delete(HERS, begun[0].id)
    assert [one.title for one in await conversations.all(HERS, limit=10)] == ["2", "1"]
    assert await conversations.delete_all(HERS) == 2
    assert [one.id for one in await conversations.all(Owner(ALICE, None), limit=10)] == [of_a_key.id]

    await access.delete_user(ALICE)

    assert await conversations.all(Owner(ALICE, None), limit=10) == []
    assert await conversations.one(HIS, his.id) is not None


async def test_they_are_listed_in_pages(conversations: Conversations) -> None:
    for n in range(5):
        await conversations.begin(HERS, f"{n}")

    first = await conversations.all(HERS, limit=2)
    rest = await conversations.all(HERS, limit=9, after=first[-1].id)

    assert [one.title for one in [*first, *rest]] == ["4", "3", "2", "1", "0"]


async def test_two_answers_at_once_do_not_mix(conversations: Conversations, access: Access) -> None:
    begun = await conversations.begin(HERS)

    await asyncio.gather(*(told(conversations, HERS, begun.id, n=n) for n in range(8)))

    said: list[KeptMessage] = await conversations.messages(HERS, begun.id)
    pairs = [(said[n].text, said[n + 1].text) for n in range(0, 16, 2)]
    assert sorted(pairs, key=str) == [(f"question {n}?", f"answer {n}") for n in range(8)]


async def test_what_nobody_continued_for_long_is_forgotten(
    conversations: Conversations, database: Database, database_url: str
) -> None:
    old, young = await conversations.begin(HERS), await conversations.begin(HERS)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("SELECT set_config('context_chat.principals', '{0}', true)")
        await connection.execute(
            "UPDATE chat.conversations SET updated_at = now() - interval '31 days' WHERE id = %s", [old.id]
        )

    assert await Forgetting(database).conversations(timedelta(days=30)) == 1
    assert [one.id for one in await conversations.all(HERS, limit=10)] == [young.id]
