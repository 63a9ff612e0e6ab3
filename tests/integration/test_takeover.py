# SPDX-License-Identifier: AGPL-3.0-or-later
"""An index of the reference is taken over: who may read what, which texts, which vectors; and what is left behind."""

from __future__ import annotations

from collections import Counter
from zoneinfo import ZoneInfo

import psycopg
import pytest

from context_chat_backend.domain import Principal, Question, Realm
from context_chat_backend.indexing.takeover import Outcome, ReferenceImport
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.ports import Embedder
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.database import Database
from context_chat_backend.store.reference import Reference
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.takeover import Takeover
from tests import old_index
from tests.spaces import spaces_of

ALICE, BOB = Principal(Realm.NEXTCLOUD, "alice"), Principal(Realm.NEXTCLOUD, "bob")


async def taken_over(database: Database, spaces: SpacesInUse, zone: str = "UTC") -> Outcome:
    """One whole run, verified."""
    run = ReferenceImport(Reference(database), Takeover(database), spaces.live, zone=ZoneInfo(zone))
    outcome = await run.run(await run.matching_space(), into_tail=True)
    await run.verify(outcome)
    return outcome


async def found(database: Database, spaces: SpacesInUse, user: str, text: str, weights: Weights) -> Counter[str]:
    """The sources of the passages a user finds."""
    space = spaces.answering
    assert space.embedder is not None
    question = Question(text, Principal(Realm.NEXTCLOUD, user), limit=500)
    vector = await space.embedder.embed_question(text)
    passages = await Search(database).passages(question, vector, space.stored, weights)
    return Counter(str(passage.source) for passage in passages)


@pytest.fixture
def embedder() -> Embedder:
    return HashingEmbedder(64)


@pytest.mark.parametrize("numbered", [True, False])
async def test_every_user_may_read_exactly_what_the_old_access_list_said(
    database: Database, database_url: str, embedder: Embedder, numbered: bool
) -> None:
    sources = await old_index.embedded(old_index.at_random(150, users=8), embedder)
    old_index.write(database_url, sources, numbered=numbered)
    spaces = await spaces_of(database, embedder)

    outcome = await taken_over(database, spaces)

    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT uid, source_id, cardinality(chunks) FROM access_list JOIN docs USING (source_id)"
        )
        oracle: dict[str, Counter[str]] = {f"user{number}": Counter() for number in range(8)}
        for user, ref, chunks in rows.fetchall():
            oracle[user][ref] = chunks
    for user, readable in {**oracle, "stranger": Counter()}.items():
        for weights in (Weights(words=0.0), Weights(meaning=0.0)):
            assert await found(database, spaces, user, "harbour", weights) == readable
    assert outcome.wrong == []
    assert outcome.with_vectors
    assert outcome.passed_over["nobody may read them"] == sum(not one.readers for one in sources)
    assert outcome.taken == sum(bool(one.readers) for one in sources)
