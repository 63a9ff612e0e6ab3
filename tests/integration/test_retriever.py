# SPDX-License-Identifier: AGPL-3.0-or-later
"""Retrieval on the real store: neighbours within rights, and every lever from search to prompt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from context_chat_backend.answering.answer import Answering
from context_chat_backend.answering.observing import whole
from context_chat_backend.answering.writing import Writer
from context_chat_backend.domain import (
    Chunk,
    Delivery,
    Ended,
    Finish,
    Location,
    Passage,
    Principal,
    Prompt,
    Question,
    Realm,
    SourceRef,
)
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.inference.reranking.none import NoReranker
from context_chat_backend.ports import Reranker, Vectors
from context_chat_backend.retrieval.retrieve import Retriever, Shaping
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.access import Access
from context_chat_backend.store.chunks import Chunks, IndexedSource
from context_chat_backend.store.database import Database, statement
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.neighbours import Neighbours
from context_chat_backend.store.search import Search
from tests.spaces import spaces_of

NC = Realm.NEXTCLOUD
ALICE, BOB = Principal(NC, "alice"), Principal(NC, "bob")


class Library:
    """The real store with the hashing embedder, filled chunk by chunk."""

    def __init__(self, database: Database, embedder: HashingEmbedder, spaces: SpacesInUse, folder: Path) -> None:
        self.database = database
        self.embedder = embedder
        self.spaces = spaces
        self.neighbours = Neighbours(database)
        self.body = folder / "body"
        self.body.write_bytes(b"x")

    async def add(
        self, item: str, *texts: str, readers: Sequence[Principal] = (ALICE,), heading: str = ""
    ) -> SourceRef:
        ref = SourceRef("files__default", item)
        ledger = Ledger(self.database)
        now = datetime.now(UTC)
        await ledger.admit(Delivery(NC, ref, f"{item}.txt", "text/plain", now, frozenset(readers)), self.body, 1)
        (source,) = await ledger.claim(1, timedelta(minutes=5))
        chunks = [Chunk(n, text, Location(heading=heading or None), "english") for n, text in enumerate(texts)]
        spaces = self.spaces
        vectors = await self.embedder.embed_passages(texts)
        indexed = IndexedSource(source, chunks, {spaces.answering.stored: vectors}, b"")
        await Chunks(self.database).put([indexed])
        return ref

    def retriever(self, reranker: Reranker | None = None, shaping: Shaping | None = None) -> Retriever:
        judge = NoReranker() if reranker is None else reranker
        search = Search(self.database)
        return Retriever(self.spaces, search, judge, self.neighbours, shaping or Shaping())

    async def chunk_ids(self, asker: Principal = ALICE) -> list[int]:
        found = await self.retriever(shaping=Shaping(collapse=False)).passages(Question("ferry", asker))
        return [passage.chunk_id for passage in found]


@pytest.fixture
async def library(database: Database, tmp_path: Path) -> Library:
    embedder = HashingEmbedder(64)
    return Library(database, embedder, await spaces_of(database, embedder), tmp_path)


def texts(passages: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in passages]


async def test_neighbours_are_given_by_place_and_each_once(library: Library) -> None:
    ref = await library.add("1", "zero", "one", "two", "three", "four", heading="Numbers")
    await library.add("2", "another")
    every = await library.neighbours.around(ALICE, await library.chunk_ids(), before=0, after=0)
    middle = [one.chunk_id for one in every if one.text in ("two", "three")]

    around = await library.neighbours.around(ALICE, middle, before=2, after=1)

    assert [(one.ordinal, one.text) for one in around] == list(enumerate(["zero", "one", "two", "three", "four"]))
    assert {(one.source, one.location) for one in around} == {(ref, Location(heading="Numbers"))}


async def test_neighbours_of_what_somebody_else_reads_are_not_given(library: Library) -> None:
    ref = await library.add("1", "secret zero", "secret one", readers=(ALICE, BOB))
    ids = await library.chunk_ids(BOB)
    assert len(await library.neighbours.around(BOB, ids, before=1, after=1)) == 2

    await Access(library.database).deny(NC, [ref], {BOB})

    assert await library.neighbours.around(BOB, ids, before=1, after=1) == []
    assert await library.neighbours.around(Principal(Realm.LOCAL, "alice"), ids, before=1, after=1) == []
    assert await library.neighbours.around(Principal(NC, "nobody"), ids, before=1, after=1) == []
    assert len(await library.neighbours.around(ALICE, ids, before=1, after=1)) == 2


async def test_the_second_wall_holds_where_the_first_is_missing(library: Library) -> None:
    await library.add("1", "secret zero", "secret one")
    await library.add("2", "open", readers=(ALICE, BOB))
    whole = statement("neighbours", "around")
    open_door = whole.replace("principal.realm = %(asker_realm)s AND principal.name = %(name)s", "true")
    assert open_door != whole
    ids = await library.chunk_ids()

    async with library.database.reading_as(BOB) as connection:
        cursor = await connection.execute(
            open_door, {"chunk_ids": ids, "before": 1, "after": 1, "realm": str(NC), "name": "bob"}
        )
        rows = await cursor.fetchall()

    assert {row[-1] for row in rows} == {"open"}


async def test_no_chunks_have_no_neighbours(library: Library) -> None:
    assert await library.neighbours.around(ALICE, [], before=9, after=9) == []
    assert await library.retriever().joined(ALICE, []) == []


async def test_copies_are_one_passage_that_names_them_but_two_sources(library: Library) -> None:
    refs = {await library.add(item, "The ferry leaves at noon from the old harbour.") for item in ("1", "2", "3")}
    question = Question("When does the ferry leave?", ALICE)

    (passage,) = await library.retriever().passages(question)
    sources = await library.retriever().sources(question)

    assert {passage.source, *(twin.source for twin in passage.duplicates)} == refs
    assert {source.ref for source in sources} == refs


async def test_copies_do_not_take_the_place_of_what_else_was_found(library: Library) -> None:
    for item in range(70):
        await library.add(str(item), "The ferry leaves at noon from the old harbour.")
    for item in range(5):
        await library.add(f"other{item}", f"Ferry number {item}.")
    question = Question("When does the ferry leave the old harbour at noon?", ALICE, limit=6)

    assert len(await library.retriever().passages(question)) == 6


async def test_a_copy_somebody_else_reads_is_no_duplicate(library: Library) -> None:
    await library.add("1", "The ferry leaves at noon.")
    await library.add("2", "The ferry leaves at noon.", readers=(BOB,))

    (passage,) = await library.retriever().passages(Question("ferry", ALICE))

    assert passage.duplicates == ()


async def test_sources_take_turns_when_a_question_asks_for_several(library: Library) -> None:
    await library.add("long", *(f"The ferry is compared with bus {n}." for n in "abcdefgh"))
    await library.add("short", "Compared with a bridge the ferry is slow but has a long history of its own.")
    question = Question("Compare the ferry with the bus", ALICE, limit=3)

    together = await library.retriever().passages(question)
    apart = await library.retriever(shaping=Shaping(turns=False)).passages(question)

    assert [passage.source.item for passage in together] == ["long", "long", "short"]
    assert [passage.source.item for passage in apart] == ["long", "long", "long"]


async def test_what_stands_side_by_side_is_read_as_one(library: Library) -> None:
    await library.add("1", "The ferry is old.", "The ferry is slow.", "Nothing of the kind.", "The ferry is red.")
    retriever = library.retriever()
    found = await retriever.passages(Question("ferry", ALICE, limit=3))

    assert sorted(texts(await retriever.joined(ALICE, found))) == [
        "The ferry is old.\nThe ferry is slow.", "The ferry is red.",
    ]  # fmt: skip
    assert await library.retriever(shaping=Shaping(join=False)).joined(ALICE, found) == found


async def test_unseen_neighbours_are_read_too_where_that_is_wanted(library: Library) -> None:
    await library.add("1", "Before it.", "The ferry is slow.", "After it.", "Far from it.")
    retriever = library.retriever(shaping=Shaping(around=1))
    found = await retriever.passages(Question("ferry", ALICE, limit=1))

    assert texts(await retriever.joined(ALICE, found)) == ["Before it.\nThe ferry is slow.\nAfter it."]


class Judge:
    """Likes texts with one word; or is down."""

    def __init__(self, word: str = "") -> None:
        self.word = word

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        if not self.word:
            raise ModelUnavailable("down")
        return [float(self.word in text) for text in texts]

    async def close(self) -> None:
        """Nothing is held."""


async def test_the_reranker_decides_the_order_of_passages_and_of_sources(library: Library) -> None:
    await library.add("1", "The ferry, the ferry, the ferry.")
    last = await library.add("2", "There is a ferry in red, among a good many other things of which one could speak.")
    question = Question("ferry", ALICE)

    assert (await library.retriever().sources(question))[0].ref != last
    assert (await library.retriever(Judge("red")).passages(question))[0].source == last
    assert (await library.retriever(Judge("red")).sources(question))[0].ref == last


async def test_a_reranker_that_is_down_leaves_question_and_order_alone(library: Library) -> None:
    for item in "123":
        await library.add(item, f"The ferry number {item}.")
    question = Question("ferry", ALICE)

    found = await library.retriever(Judge()).passages(question)
    assert [replace(passage, judged=None) for passage in found] == await library.retriever().passages(question)
    assert await library.retriever(Judge()).sources(question) == await library.retriever().sources(question)


@pytest.mark.parametrize("limit", [0, 1, 10_000])
async def test_any_limit_is_kept(library: Library, limit: int) -> None:
    await library.add("1", *(f"The ferry number {n}." for n in range(12)))

    assert len(await library.retriever().passages(Question("ferry", ALICE, limit=limit))) == min(limit, 12)


class SmallModel:
    """Remembers its prompt; its context holds some hundred words."""

    name = "small"
    answer_tokens = 100

    def __init__(self) -> None:
        self.asked: list[Prompt] = []

    async def context_tokens(self) -> int:
        return 450

    async def check(self) -> None:
        pass

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Ended, None]:
        self.asked.append(prompt)
        yield "It is so [1]."
        yield Ended(Finish.STOP)

    async def close(self) -> None:
        """Nothing is held."""


async def test_a_small_context_gets_the_best_passages_and_never_a_joined_one_that_does_not_fit(
    library: Library,
) -> None:
    await library.add("1", *(f"The ferry {'goes on ' * 40}in part {n}." for n in range(6)))
    model = SmallModel()
    answer = await whole(Answering(library.retriever(), [Writer(model)]).stream(Question("ferry", ALICE)))
    (asked,) = model.asked

    assert sum("ferry" in line for passage in asked.passages for line in passage.text.splitlines()) == 2
    assert answer.citations[0].passage == asked.passages[0]


async def test_while_the_embedding_model_is_down_words_alone_are_searched(library: Library) -> None:
    ref = await library.add("1", "The ferry leaves from the harbour.", "The lighthouse is old.")
    await library.add("2", "The ferry leaves at noon.", readers=(BOB,))

    class Down(HashingEmbedder):
        async def embed_question(self, text: str) -> Vectors:
            raise ModelUnavailable("down")

    library.spaces = await spaces_of(library.database, Down(64))
    retriever = library.retriever()

    assert texts(await retriever.passages(Question("ferry", ALICE))) == ["The ferry leaves from the harbour."]
    assert [found.ref for found in await retriever.sources(Question("ferry", ALICE))] == [ref]
    assert await retriever.passages(Question("submarine", ALICE)) == []


async def test_what_a_question_quotes_is_found_letter_by_letter(library: Library) -> None:
    await library.add("1", "The meeting of the general assembly is annual.")
    await library.add("2", "We invite to the Annual\n General Meeting in May.")
    await library.add("3", "A general remark: the annual report, the meeting, the general meeting, annual fees.")
    retriever = library.retriever()

    for question in ('When is the "annual general meeting"?', "Wann ist das „Annual General Meeting“?"):
        assert texts(await retriever.passages(Question(question, ALICE)))[0].startswith("We invite")
        assert (await retriever.sources(Question(question, ALICE)))[0].ref.item == "2"


async def test_what_was_taken_away_after_it_was_found_is_known_to_be_lost(library: Library) -> None:
    kept = await library.add("1", "the ferry leaves from the old harbour")
    taken = await library.add("2", "the ferry does not leave on Mondays")
    retriever = library.retriever()
    found = await retriever.passages(Question("ferry", ALICE))
    assert {passage.source for passage in found} == {kept, taken}
    assert await retriever.lost(ALICE, found) == set()
    await Access(library.database).deny(NC, [taken], frozenset({ALICE}))

    assert await retriever.lost(ALICE, found) == {taken}
    assert await retriever.lost(ALICE, []) == set()
