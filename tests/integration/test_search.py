# SPDX-License-Identifier: AGPL-3.0-or-later
"""Search in a real store: what is found, within which rights, by which way, and what bad input does."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql

from benchmarks.corpus import CHUNKS_PER_SOURCE, PROVIDERS, SPACE, Asked, Corpus, fill
from context_chat_backend.domain import (
    Chunk,
    Delivery,
    EmbeddingSpace,
    Location,
    Passage,
    Principal,
    Question,
    Realm,
    Scope,
    SourceRef,
)
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.language import SIMPLE
from context_chat_backend.store.chunks import Chunks, IndexedSource
from context_chat_backend.store.database import Database, statement
from context_chat_backend.store.indexes import SearchIndexes
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.search import MAX_PASSAGES, Search, Weights
from context_chat_backend.store.spaces import Spaces, StoredSpace
from context_chat_backend.store.words import WordSample

BY_MEANING = Weights(words=0.0)
BY_WORDS = Weights(meaning=0.0)
ALICE = Principal(Realm.NEXTCLOUD, "alice")
MALLORY = Principal(Realm.NEXTCLOUD, "mallory")
EAST = np.array([1.0, 0.0], np.float32)


@dataclass
class Shelf:
    """A store, and the way sources get into it."""

    database: Database
    space: StoredSpace
    folder: Path

    async def put(
        self,
        *texts: str,
        title: str = "files/a.txt",
        item: str = "1",
        readers: frozenset[Principal] = frozenset({ALICE}),
        language: str = "english",
        kind: str = "text/plain",
        modified: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        provider: str = "files__default",
    ) -> None:
        body = self.folder / "body"
        body.write_bytes(b"x")
        ledger = Ledger(self.database)
        delivery = Delivery(Realm.NEXTCLOUD, SourceRef(provider, item), title, kind, modified, readers)
        await ledger.admit(delivery, body, 1)
        (claimed,) = await ledger.claim(1, timedelta(minutes=1))
        chunks = [Chunk(n, text, Location(page=n + 1), language) for n, text in enumerate(texts)]
        vectors = np.tile(EAST, (len(texts), 1))
        await Chunks(self.database).put([IndexedSource(claimed, chunks, {self.space: vectors}, b"")])

    async def find(
        self,
        text: str,
        weights: Weights = BY_WORDS,
        asker: Principal = ALICE,
        scope: Scope | None = None,
        limit: int = 20,
    ) -> list[Passage]:
        question = Question(text, asker, scope or Scope(), limit)
        return await Search(self.database).passages(question, EAST, self.space, weights)

    async def texts(self, text: str, weights: Weights = BY_WORDS) -> list[str]:
        return [passage.text for passage in await self.find(text, weights)]


@pytest.fixture
async def shelf(database: Database, tmp_path: Path) -> Shelf:
    return Shelf(database, await Spaces(database).ensure(EmbeddingSpace("two", 2)), tmp_path)


async def test_words_are_found_in_all_their_forms_and_rare_ones_count_more(shelf: Shelf) -> None:
    await shelf.put("The report was written.", "Reports of the lighthouse.", "Nothing here.")
    assert await shelf.texts("reporting lighthouses") == ["Reports of the lighthouse.", "The report was written."]


async def test_order_by_words_is_that_of_bm25(shelf: Shelf) -> None:
    texts = [
        "apple apple apple banana cherry",
        "apple banana banana plum",
        "cherry cherry plum plum plum walnut",
        "banana " * 12,
        "apple cherry walnut hazel",
        "quince medlar",
    ]
    await shelf.put(*texts, title="x", language=SIMPLE)
    for question in ("apple", "banana cherry", "plum walnut apple", "cherry cherry apple"):
        assert await shelf.texts(question) == naive_bm25(question, [f"x {text}" for text in texts])


def naive_bm25(question: str, texts: Sequence[str], mean_length: float = 80.0) -> list[str]:
    """BM25 in the plainest words there are; `x ` is the title."""
    counts = [Counter(text.split()) for text in texts]
    scores: dict[str, float] = {}
    for text, count in zip(texts, counts, strict=True):
        for term in set(question.split()) & set(count):
            holders = sum(term in other for other in counts)
            rarity = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
            saturated = 2.2 * count[term] / (count[term] + 1.2 * (0.25 + 0.75 * len(count) / mean_length))
            scores[text] = scores.get(text, 0.0) + rarity * saturated
    return [text.removeprefix("x ") for text in sorted(scores, key=lambda text: -scores[text])]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("INV-2024-0042", "Invoice INV-2024-0042 is due."),
        ("0042", "Invoice INV-2024-0042 is due."),
        ("anna.meyer@example.org", "Write to anna.meyer@example.org."),
        ("MeetingNotes", "See MeetingNotes2024.pdf there."),
        ("notes 2024", "See MeetingNotes2024.pdf there."),
        ("日本の首都", "東京は日本の首都です。"),
        ("首都", "東京は日本の首都です。"),
    ],
)
async def test_names_numbers_and_unspaced_scripts_are_found(shelf: Shelf, question: str, found: str) -> None:
    await shelf.put(
        "Invoice INV-2024-0042 is due.", "Invoice INV-2023-0041 is paid.", "Write to anna.meyer@example.org.",
        "See MeetingNotes2024.pdf there.", "東京は日本の首都です。", "大阪は大きい都市です。", title="files/x.txt",
    )  # fmt: skip
    assert (await shelf.texts(question))[0] == found


async def test_the_exact_identifier_comes_before_its_relatives(shelf: Shelf) -> None:
    await shelf.put(*[f"Invoice INV-2024-{n:04}" for n in range(30, 50)])
    assert (await shelf.texts("INV-2024-0042"))[0] == "Invoice INV-2024-0042"


async def test_filters_by_time_type_provider_and_path(shelf: Shelf) -> None:
    day = datetime(2026, 5, 1, tzinfo=UTC)
    await shelf.put("lighthouse one", item="1", title="files/A/one.txt", modified=day)
    await shelf.put("lighthouse two", item="2", title="files/B/two.pdf", kind="application/pdf", modified=day)
    await shelf.put(
        "lighthouse three", item="3", title="mail", provider="mail__inbox", modified=day + timedelta(days=9)
    )

    async def found(scope: Scope) -> set[str]:
        return {p.text.split()[1] for p in await shelf.find("lighthouse", Weights(), scope=scope)}

    assert await found(Scope()) == {"one", "two", "three"}
    assert await found(Scope(path="files/A/")) == {"one"}
    assert await found(Scope(media_types=("application/pdf",))) == {"two"}
    assert await found(Scope(providers=("mail__inbox",))) == {"three"}
    assert await found(Scope(since=day + timedelta(days=1))) == {"three"}
    assert await found(Scope(until=day + timedelta(days=1), path="files/")) == {"one", "two"}
    assert await found(Scope(sources=(SourceRef("files__default", "2"),), path="files/A/")) == set()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "the of and",
        "!!! ??? ()",
        "' OR 1=1 --",
        "a & b | !c <-> 'd' :*",
        "\\",
        "\x00",
        "{1:1}/5",
        "%s %(x)s",
        "🦉",
    ],
)
async def test_odd_questions_are_answered_from_meaning(shelf: Shelf, text: str) -> None:
    await shelf.put("some words")
    assert await shelf.texts(text, Weights()) == ["some words"]


async def test_a_question_as_long_as_a_book_is_answered(shelf: Shelf) -> None:
    await shelf.put("a lighthouse")
    words = "lighthouse " + " ".join(f"word{n}" for n in range(12_000))
    assert await shelf.texts(words, Weights()) == ["a lighthouse"]


async def test_strangers_and_empty_rights_find_nothing(shelf: Shelf) -> None:
    await shelf.put("some words")
    assert await shelf.find("words", Weights(), asker=MALLORY) == []
    assert await shelf.find("words", Weights(), asker=replace(ALICE, realm=Realm.LOCAL)) == []
    assert await shelf.find("words", Weights(), scope=Scope(sources=())) == []
    assert await shelf.find("words", Weights(), scope=Scope(providers=())) == []


async def test_any_number_of_passages_may_be_wanted(shelf: Shelf) -> None:
    await shelf.put(*[f"word {n}" for n in range(MAX_PASSAGES + 10)])
    assert await shelf.find("word", limit=0) == []
    assert len(await shelf.find("word", Weights(), limit=1)) == 1
    assert len(await shelf.find("word", Weights(), limit=10_000)) == MAX_PASSAGES


async def test_a_scope_of_fifty_thousand_sources_is_searched(shelf: Shelf) -> None:
    await shelf.put("some words")
    scope = Scope(sources=tuple(SourceRef("files__default", str(n)) for n in range(50_000)))
    assert len(await shelf.find("words", Weights(), scope=scope)) == 1


async def test_without_a_vector_words_decide_and_a_vector_of_another_shape_is_refused(shelf: Shelf) -> None:
    await shelf.put("some words", "other things")
    question = Question("words", ALICE)
    passages = await Search(shelf.database).passages(question, None, shelf.space, Weights())
    assert [(p.text, p.similarity) for p in passages] == [("some words", 0.0)]
    with pytest.raises(ModelUnavailable, match="dimensions"):
        await Search(shelf.database).passages(question, np.ones(3, np.float32), shelf.space, Weights())


async def test_without_its_access_clauses_the_search_still_shows_nothing_foreign(shelf: Shelf) -> None:
    await shelf.put("some words")
    text = statement("search", "create_function")
    within_scope = sql.SQL(statement("search", "within_scope"))
    # Everybody is taken for alice, as far as the function itself looks.
    text = text.replace("name = asker_name)", "name = 'alice')")
    assert "'alice'" in text
    async with shelf.database.transaction() as connection:
        await connection.execute(sql.SQL(statement("search", "load_vector")))
        await connection.execute(sql.SQL(statement("search", "drop_function")).format(function=shelf.space.function))
        await connection.execute(
            sql.SQL(text).format(
                function=shelf.space.function, embedding=shelf.space.table, index=sql.Literal(shelf.space.index),
                within_scope=within_scope,
                may_read=sql.SQL(statement("search", "may_read")).format(within_scope=within_scope),
            )
        )  # fmt: skip
    assert await shelf.find("words", Weights(), asker=MALLORY) == []
    assert len(await shelf.find("words", Weights(), asker=ALICE)) == 1


class Library:
    """A store too large to be scanned: 25 000 chunks of the synthetic corpus."""

    corpus = Corpus(2500)

    def __init__(self, database: Database, space: StoredSpace) -> None:
        self.database, self.space = database, space
        self.asked = list(self.corpus.questions(24))
        self.vectors = np.concatenate([self.corpus.vectors(n) for n in range(self.corpus.sources)])

    async def find(
        self, asked: Asked, reader: str, weights: Weights = BY_MEANING, limit: int = 30, scope: Scope | None = None
    ) -> list[Passage]:
        question = Question(asked.text, Principal(Realm.NEXTCLOUD, reader), scope or Scope(), limit)
        return await Search(self.database).passages(question, asked.vector, self.space, weights)

    def nearest(self, asked: Asked, sources: Sequence[int], limit: int = 30) -> set[int]:
        chunks = np.concatenate([np.arange(CHUNKS_PER_SOURCE) + n * CHUNKS_PER_SOURCE for n in sources])
        order = np.argsort(-(self.vectors[chunks].astype(np.float16).astype(np.float32) @ asked.vector))
        return {int(chunk) + 1 for chunk in chunks[order[:limit]]}


@pytest.fixture(scope="module")
def filled_url(module_database_url: str) -> str:
    """The URL of a database that holds the corpus, loaded as docs/performance.md says."""

    async def load() -> None:
        database = Database(module_database_url)
        await database.open()
        space = await Spaces(database).ensure(SPACE)
        indexes = SearchIndexes(database, space)
        await indexes.drop()
        assert await indexes.missing() == list(indexes.names)
        await asyncio.to_thread(fill, module_database_url, Library.corpus, space.table)
        for name in await indexes.missing():
            await indexes.build(name, memory=512 * 1024**2, workers=1)
        assert await indexes.missing() == []
        assert await WordSample(database).renew()
        await database.close()

    asyncio.run(load())
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("ANALYZE")
    return module_database_url


@pytest.fixture
async def library(filled_url: str) -> AsyncIterator[Library]:
    database = Database(filled_url)
    await database.open()
    yield Library(database, await Spaces(database).ensure(SPACE))
    await database.close()


async def test_a_large_store_is_searched_within_rights_and_scope_with_high_recall(library: Library) -> None:
    everything = range(library.corpus.sources)
    one_provider = Scope(providers=("files__p3",))
    many = tuple(SourceRef(f"files__p{n % PROVIDERS}", str(n)) for n in everything if n % 2)
    for reader, scope, sources in (
        ("all", Scope(), list(everything)),
        ("tenth", Scope(), [n for n in everything if n % 10 == 0]),
        ("hundredth", Scope(), [n for n in everything if n % 100 == 50]),
        ("expert", Scope(), [n for n in everything if library.corpus.topic_of[n] % 100 == 7]),
        ("all", one_provider, [n for n in everything if n % PROVIDERS == 3]),
        ("all", Scope(sources=many), [n for n in everything if n % 2]),
        ("all", Scope(path="files/1"), [n for n in everything if str(n).startswith("1")]),
    ):
        allowed, found, wanted = {str(n) for n in sources}, 0, 0
        for asked in library.asked[:8]:
            passages = await library.find(asked, reader, scope=scope)
            truth = library.nearest(asked, sources)
            assert len(passages) == len(truth)
            assert {p.source.item for p in passages} <= allowed
            found += len({p.chunk_id for p in passages} & truth)
            wanted += len(truth)
            both = await library.find(asked, reader, Weights(), scope=scope)
            assert len(both) == len(truth)
            assert {p.source.item for p in both} <= allowed
        assert found / wanted >= 0.97, (reader, scope.path)


async def test_rare_words_choose_the_candidates_without_losing_the_best(library: Library) -> None:
    """The oracle ranks every chunk by the same impacts; what is compared is the choice of candidates."""
    async with library.database.transaction() as connection:
        for asked in library.asked:
            found = [p.chunk_id for p in await library.find(asked, "all", BY_WORDS, limit=10)]
            rows = await connection.execute(
                "WITH term AS (SELECT DISTINCT term_id(lexeme) AS id FROM unnest(to_tsvector('english', %s))), "
                "asked AS (SELECT ('{' || string_agg(id || ':' || ln(1 + (1 - share) / share), ',') || '}/1000000000')"
                "::sparsevec AS v FROM (SELECT id, coalesce((SELECT share FROM word_share WHERE key = id), "
                "(SELECT count(*) FROM words WHERE word_keys(impacts) @> ARRAY[id]) / 25000.0) AS share FROM term) "
                "AS known WHERE share > 0) "
                "SELECT chunk_id FROM words, asked ORDER BY (impacts <#> asked.v) + 0, chunk_id LIMIT 10",
                (asked.text,),
            )
            truth = [row[0] for row in await rows.fetchall()]
            assert found[0] == truth[0]
            assert len(set(found) & set(truth)) >= 6


async def test_without_its_indexes_search_goes_on_and_they_are_named(library: Library) -> None:
    indexes = SearchIndexes(library.database, library.space)
    recall = await indexes.recall()
    assert recall is not None
    assert recall >= 0.9
    assert await indexes.bloated() == {}
    await indexes.drop()
    assert await indexes.missing() == list(indexes.names)
    asked = library.asked[0]
    passages = await library.find(asked, "all", Weights())
    assert {p.chunk_id for p in passages} == library.nearest(asked, range(library.corpus.sources))
    for name in await indexes.missing():
        await indexes.build(name, memory=512 * 1024**2, workers=0)
    assert await indexes.missing() == []
