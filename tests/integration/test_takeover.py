# SPDX-License-Identifier: AGPL-3.0-or-later
"""An index of the reference is taken over: who may read what, which texts, which vectors; and what is left behind."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from context_chat_backend.domain import Delivery, Principal, Question, Realm, SourceRef
from context_chat_backend.errors import StartError
from context_chat_backend.indexing.takeover import Outcome, ReferenceImport
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.ports import Embedder
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.access import Access
from context_chat_backend.store.database import Database
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.reference import Reference
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.takeover import Takeover
from tests import old_index
from tests.old_index import Old
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
    assert (outcome.wrong, outcome.other_readers) == ([], 0)
    assert outcome.with_vectors
    assert outcome.passed_over["nobody may read them"] == sum(not one.readers for one in sources)
    assert outcome.taken == sum(bool(one.readers) for one in sources)


async def test_texts_and_titles_are_found_at_once_and_vectors_later_when_the_model_is_another(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    sources = [Old("files__default: 7", ["the lighthouse keeper", "counts the ships"], ["alice"], "files/tower.md")]
    old_index.write(database_url, await old_index.embedded(sources, HashingEmbedder(32)))
    spaces = await spaces_of(database, embedder)

    outcome = await taken_over(database, spaces)
    await spaces.refresh()

    assert (outcome.taken, outcome.chunks, outcome.with_vectors, outcome.wrong) == (1, 2, False, [])
    assert await found(database, spaces, "alice", "lighthouse", Weights(meaning=0.0)) == {"files__default: 7": 1}
    assert await found(database, spaces, "alice", "tower", Weights(meaning=0.0)) == {"files__default: 7": 2}
    assert await found(database, spaces, "alice", "lighthouse", Weights(words=0.0)) == {}
    assert not spaces.answering.complete  # which the service fills


async def test_vectors_of_the_same_length_of_another_model_are_not_taken(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    sources = old_index.at_random(20, users=3)
    for one in await old_index.embedded(sources, embedder):
        assert one.vectors is not None
        one.vectors = one.vectors[:, ::-1]
    old_index.write(database_url, sources)

    outcome = await taken_over(database, await spaces_of(database, embedder))

    assert not outcome.with_vectors
    assert outcome.wrong == []


async def test_one_vector_of_another_length_does_not_stop_the_rest(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    sources = await old_index.embedded([Old(f"mail__mail: {n}", [f"letter {n}"], ["bob"]) for n in range(5)], embedder)
    sources[2].vectors = (await old_index.embedded([Old("a__b: 1", ["x"], ["bob"])], HashingEmbedder(3)))[0].vectors
    old_index.write(database_url, sources)
    spaces = await spaces_of(database, embedder)

    outcome = await taken_over(database, spaces)

    assert outcome.taken == 5
    assert set(await found(database, spaces, "bob", "letter", Weights(words=0.0))) == {
        f"mail__mail: {number}" for number in (0, 1, 3, 4)
    }
    assert len(await found(database, spaces, "bob", "letter", Weights(meaning=0.0))) == 5


async def test_what_cannot_be_taken_over_is_counted_by_reason(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    old_index.write(
        database_url,
        [
            Old("files__default: 1", ["text"], ["alice"]),
            Old("files__default: 2", ["text"], []),
            Old("files__default: 3", [], ["alice"], missing=2),
            Old("no source id", ["text"], ["alice"]),
            Old("files__default: 4", ["kept", "too"], ["alice"], missing=1, modified=None),
        ],
    )

    outcome = await taken_over(database, await spaces_of(database, embedder))

    assert outcome.taken == 2
    assert outcome.passed_over == {"nobody may read them": 1, "without text": 1, "not a source id": 1}
    assert outcome.wrong == []


async def test_times_are_those_of_the_old_container_and_unchanged_files_are_not_indexed_again(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    old_index.write(database_url, [Old("files__default: 1", ["text"], ["alice"], modified=datetime(2025, 7, 1, 12))])
    await taken_over(database, await spaces_of(database, embedder), zone="Europe/Berlin")
    ledger = Ledger(database)
    modified = datetime(2025, 7, 1, 10, tzinfo=UTC)
    same = Delivery(
        Realm.NEXTCLOUD, SourceRef.parse("files__default: 1"), "a", "text/plain", modified, frozenset({ALICE})
    )
    remote = Delivery(
        Realm.NEXTCLOUD, same.ref, "a", "text/plain", modified, frozenset({ALICE}), remote=True
    )  # fmt: skip
    newer = Delivery(
        Realm.NEXTCLOUD, same.ref, "a", "text/plain", modified + timedelta(seconds=1), frozenset({ALICE})
    )  # fmt: skip

    assert await ledger.admit(same, b"text", 4) == "unchanged"
    assert await ledger.admit(remote, b"", 12345) == "unchanged"
    assert await ledger.admit(newer, b"text", 4) == "admitted"


async def test_what_was_delivered_meanwhile_is_left_as_it_is_and_actions_that_came_before_count(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    refs = [SourceRef("files__default", str(number)) for number in range(4)]
    old_index.write(database_url, [Old(str(ref), ["old text"], ["alice", "bob"]) for ref in refs])
    spaces = await spaces_of(database, embedder)
    access = Access(database)
    delivered = Delivery(
        Realm.NEXTCLOUD, refs[0], "new", "text/plain", datetime(2026, 1, 1, tzinfo=UTC), frozenset({ALICE})
    )
    await Ledger(database).admit(delivered, b"new text", 8)
    await access.delete_sources(Realm.NEXTCLOUD, [refs[1]])
    await access.deny(Realm.NEXTCLOUD, [refs[2]], [ALICE])

    outcome = await taken_over(database, spaces)

    assert (outcome.taken, outcome.known, sum(outcome.passed_over.values())) == (2, 1, 1)
    words = Weights(meaning=0.0)
    assert set(await found(database, spaces, "alice", "old text", words)) == {str(refs[3])}
    assert set(await found(database, spaces, "bob", "old text", words)) == {str(refs[2]), str(refs[3])}


async def test_a_source_deleted_after_it_was_taken_over_does_not_come_back_with_a_second_run(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    ref = SourceRef("files__default", "1")
    old_index.write(database_url, [Old(str(ref), ["text"], ["alice"])])
    spaces = await spaces_of(database, embedder)
    await taken_over(database, spaces)
    access = Access(database)
    await access.delete_sources(Realm.NEXTCLOUD, [ref])
    await access.sweep_sources()

    outcome = await taken_over(database, spaces)

    assert outcome.taken == 0
    assert await found(database, spaces, "alice", "text", Weights(meaning=0.0)) == {}


async def test_another_index_is_taken_over_too_and_what_lies_in_the_span_of_the_first_is_not_passed_over(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    spaces, takeover = await spaces_of(database, embedder), Takeover(database)
    old_index.write(database_url, [Old(f"files__default: {n}", ["first"], ["alice"]) for n in (1, 9)])
    first = await taken_over(database, spaces)
    await Reference(database).drop()
    old_index.write(database_url, [Old(f"files__default: {n}", ["second"], ["alice"]) for n in (4, 5)])

    second = await taken_over(database, spaces)  # while the first is unfinished
    await takeover.note_finished(first.counts.digest)
    await takeover.note_finished(second.counts.digest)
    await Reference(database).drop()
    old_index.write(database_url, [Old(f"files__default: {n}", ["third"], ["alice"]) for n in (6, 7, 8)])
    third = await taken_over(database, spaces)  # after others are finished

    assert [one.taken for one in (first, second, third)] == [2, 2, 3]
    assert [one.wrong for one in (second, third)] == [[], []]
    assert third.counts.digest not in await takeover.finished()


async def test_a_finished_index_is_not_taken_again_and_what_is_here_of_it_is_counted(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    old_index.write(database_url, [Old(f"files__default: {n}", ["text"], ["alice"]) for n in range(3)])
    spaces = await spaces_of(database, embedder)
    await Takeover(database).note_finished((await taken_over(database, spaces)).counts.digest)
    access = Access(database)
    await access.delete_sources(Realm.NEXTCLOUD, [SourceRef("files__default", "1")])
    await access.sweep_sources()

    outcome = await taken_over(database, spaces)

    assert (outcome.taken, outcome.known, outcome.wrong) == (0, 2, [])
    assert outcome.passed_over == {"passed over by an earlier run, or deleted since": 1}


async def test_sources_that_are_not_here_for_no_reason_are_found(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    old_index.write(database_url, [Old("files__default: 1", ["text"], ["alice"])])
    spaces = await spaces_of(database, embedder)
    run = ReferenceImport(Reference(database), Takeover(database), spaces.live, zone=UTC)
    outcome = Outcome(await Reference(database).counts(), with_vectors=False)

    await run.verify(outcome)

    assert outcome.wrong == ["1 sources are not here, and no reason is known"]


async def test_verification_finds_what_is_not_as_it_was(
    database: Database, database_url: str, embedder: Embedder
) -> None:
    old_index.write(database_url, [Old(f"files__default: {n}", ["one", "two"], ["alice"]) for n in range(3)])
    spaces = await spaces_of(database, embedder)
    outcome = await taken_over(database, spaces)
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT set_config('context_chat.principals', '{0}', false)")
        of = "(SELECT id FROM source WHERE ref = %s)"
        connection.execute(f"DELETE FROM chunk WHERE ordinal = 1 AND source_id = {of}", ["files__default: 0"])
        connection.execute(
            f"UPDATE chunk_text SET text = 'x' WHERE chunk_id IN (SELECT id FROM chunk WHERE source_id = {of})",
            ["files__default: 1"],
        )
    await Access(database).allow(Realm.NEXTCLOUD, [SourceRef("files__default", "2")], [BOB])
    run = ReferenceImport(Reference(database), Takeover(database), spaces.live, zone=UTC)

    await run.verify(outcome)

    assert sorted(outcome.wrong) == [
        "files__default: 0 has 1 chunks, not 2",
        "files__default: 0: 1 of 2 texts differ",
        "files__default: 1: 2 of 2 texts differ",
    ]
    assert outcome.other_readers == 1


async def test_tables_that_lack_a_column_are_named(database: Database, database_url: str) -> None:
    old_index.write(database_url, [])
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE docs DROP COLUMN chunks")

    with pytest.raises(StartError, match=r"lack docs\.chunks"):
        await Reference(database).is_there()


async def test_a_database_without_such_tables_holds_no_old_index(database: Database) -> None:
    assert not await Reference(database).is_there()


async def test_dropping_takes_the_old_tables_and_nothing_else(database: Database, database_url: str) -> None:
    old_index.write(database_url, [])
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE someone_elses (id integer)")
    await Reference(database).drop()

    assert not await Reference(database).is_there()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regclass('someone_elses') IS NOT NULL").fetchone() == (True,)
