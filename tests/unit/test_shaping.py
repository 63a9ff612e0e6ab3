# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done with the passages of a search: collapsed, re-ranked, taken in turns, joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from context_chat_backend.domain import Document, Location, Neighbour, Part, Passage, SourceRef
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.indexing.chunking import split
from context_chat_backend.inference.embedding.estimate import token_starts
from context_chat_backend.retrieval.diversity import asks_for_several, take_turns
from context_chat_backend.retrieval.duplicates import collapse, without
from context_chat_backend.retrieval.joining import join
from context_chat_backend.retrieval.reranking import RERANKED, rerank

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
HAIL = (
    "Damage by hail is covered up to ten thousand euros for each flat, with an excess of 250 euros that the owner "
    "bears. Report it within two weeks, with photographs, to the office of the cooperative; the assessor then comes to "
    "look at the roof and the windows, and writes a report that goes to the insurer."
)


def ref(source: int) -> SourceRef:
    return SourceRef("files__default", str(source))


def passage(text: str, *, source: int = 1, chunk: int = 0, heading: str | None = None) -> Passage:
    return Passage(
        ref(source), f"files/{source}.txt", text, Location(heading=heading), "english", 0.5, chunk, _NOW
    )  # fmt: skip


def passages(*texts: str) -> list[Passage]:
    """One source for each text."""
    return [passage(text, source=n, chunk=n) for n, text in enumerate(texts, start=1)]


def chunk_ids(shaped: Sequence[Passage]) -> list[int]:
    return [one.chunk_id for one in shaped]


words = st.sampled_from(["ferry", "harbour", "roof", "rent", "7", "2024", "汉字", "Straße", "—"])
texts = st.lists(words, max_size=40).map(" ".join)
found = st.lists(st.tuples(texts, st.integers(1, 5)), max_size=15).map(
    lambda drawn: [passage(text, source=source, chunk=n) for n, (text, source) in enumerate(drawn)]
)


def everything(shaped: Sequence[Passage]) -> list[int]:
    return sorted(chunk_ids([twin for one in shaped for twin in (one, *one.duplicates)]))


@given(found)
def test_collapsing_keeps_every_passage_reachable_and_invents_none(before: list[Passage]) -> None:
    after = collapse(before)

    assert everything(after) == chunk_ids(before)
    assert all(twin.duplicates == () for one in after for twin in one.duplicates)


@given(found)
def test_collapsing_keeps_the_order_and_is_done_at_once(before: list[Passage]) -> None:
    after = collapse(before)

    assert chunk_ids(after) == sorted(chunk_ids(after))
    assert all(twin.chunk_id > one.chunk_id for one in after for twin in one.duplicates)
    assert collapse(after) == after


def test_copies_collapse_however_they_are_typed() -> None:
    first, quoted = HAIL, "> " + HAIL.upper().replace(" the ", "\n> the ")
    (kept,) = collapse(passages(first, quoted))

    assert kept.chunk_id == 1
    assert chunk_ids(kept.duplicates) == [2]


def test_what_a_longer_passage_says_collapses_into_it_but_not_the_longer_one() -> None:
    part = " ".join(HAIL.split()[:30])

    assert chunk_ids(collapse(passages(HAIL, part))) == [1]
    assert chunk_ids(collapse(passages(part, HAIL))) == [1, 2]


@pytest.mark.parametrize(
    "change",
    [("250", "500"), ("two weeks", "2 weeks"), ("is covered", "is not covered"), ("the insurer", "no insurer")],
)
def test_passages_that_differ_in_what_counts_stay_apart(change: tuple[str, str]) -> None:
    assert len(collapse(passages(HAIL, HAIL.replace(*change)))) == 2


def test_a_part_of_a_longer_passage_stays_when_the_longer_one_says_it_differently() -> None:
    longer = f"{HAIL.replace('is covered', 'is not covered')} {' '.join(f'word{n}' for n in range(99))}"

    assert chunk_ids(collapse(passages(longer, HAIL))) == [1, 2]


def test_one_word_in_many_may_differ() -> None:
    assert len(collapse(passages(HAIL, HAIL.replace("assessor", "expert")))) == 1


def test_short_passages_collapse_only_when_they_are_the_same() -> None:
    assert chunk_ids(collapse(passages("Yes.", "yes", "No.", "", "  ", "—", "汉字", "汉 字"))) == [1, 3, 4, 6, 7]


def test_a_lost_representative_is_replaced_by_its_readable_twin() -> None:
    before = collapse(passages(HAIL, HAIL, "Another thing.", HAIL))

    assert chunk_ids(without(before, {ref(1)})) == [2, 3]
    assert chunk_ids(without(before, {ref(1)})[0].duplicates) == [4]
    assert chunk_ids(without(before, {ref(1), ref(2)})) == [4, 3]
    assert chunk_ids(without(before, {ref(1), ref(2), ref(4)})) == [3]


@given(found, st.sets(st.integers(1, 5)))
def test_nothing_of_a_lost_source_is_left_and_nothing_of_another_is_lost(
    before: list[Passage], numbers: set[int]
) -> None:
    lost = {ref(number) for number in numbers}
    after = without(collapse(before), lost)

    assert everything(after) == [one.chunk_id for one in before if one.source not in lost]


@given(found)
def test_turns_keep_all_passages_and_the_order_within_each_source(before: list[Passage]) -> None:
    after = take_turns(before)

    assert sorted(chunk_ids(after)) == chunk_ids(before)
    assert take_turns(after) == after
    for number in range(1, 6):
        own = [one.chunk_id for one in after if one.source == ref(number)]
        assert own == sorted(own)


def test_two_of_each_source_come_first() -> None:
    before = [passage("x", source=source, chunk=n) for n, source in enumerate([1, 1, 1, 1, 2, 3, 3, 3, 1])]

    assert chunk_ids(take_turns(before)) == [0, 1, 4, 5, 6, 2, 3, 7, 8]


@pytest.mark.parametrize(
    "question",
    [
        "Compare the two offers", "What is the difference between the contracts?", "Which documents mention hail?",
        "In how many of the files is it?", "Show me all old reports about the roof", "Alle Berichte zum Hagel",
        "Summarise the minutes of this year", "Vergleiche die Angebote", "In welchen Dateien steht der Hagel?",
        "Fasse die Protokolle zusammen", "Quels documents parlent de grêle ?", "Résume les rapports",
        "Compara las ofertas", "¿Qué archivos hablan del granizo?", "Quali documenti parlano della grandine?",
        "Welke bestanden gaan over hagel?", "Ce documente vorbesc despre grindină?", "Compară ofertele",
        "Сравни два договора", "В каких документах есть град?", "比较这两份合同", "哪些文件提到冰雹?",
    ],
)  # fmt: skip
def test_questions_for_several_sources_are_known(question: str) -> None:
    assert asks_for_several(question)


@pytest.mark.parametrize(
    "question",
    [
        "What does the report say about hail?", "Which file is the newest?", "Welcher Bericht nennt den Hagel?",
        "When is the lift serviced?", "Wann wird der Aufzug gewartet?", "Which year was the house built?", "",
        "Quand part le ferry ?", "Кто директор?", "电梯什么时候检修?", "Is there a separate contract?",
    ],
)  # fmt: skip
def test_other_questions_are_not(question: str) -> None:
    assert not asks_for_several(question)


def neighbours(chunks: Sequence[Passage], ordinals: Sequence[int]) -> list[Neighbour]:
    return [
        Neighbour(one.source, one.chunk_id, ordinal, one.location, one.text)
        for one, ordinal in zip(chunks, ordinals, strict=True)
    ]


def test_chunks_side_by_side_are_joined_without_repeating_their_overlap() -> None:
    first = passage("The roof is old. It was built in 1950.", chunk=5)
    second = passage("It was built in 1950.\nThe cellar is new.", chunk=9)
    (joined,) = join([second, first], neighbours([first, second], [3, 4]))

    assert joined.text == "The roof is old. It was built in 1950.\nThe cellar is new."
    assert joined.chunk_id == 9


def test_a_joined_passage_stands_where_the_better_one_stood_and_keeps_all_duplicates() -> None:
    twins = passages("a", "b")
    best = replace(passage("The first half.", chunk=7), similarity=0.2, duplicates=(twins[0],))
    other = passage("Something else.", source=2, chunk=8)
    rest = replace(passage("The second half.", chunk=9), similarity=0.6, duplicates=(twins[1],))
    joined = join([best, other, rest], neighbours([best, other, rest], [0, 0, 1]))

    assert chunk_ids(joined) == [7, 8]
    assert joined[0].text == "The first half.\nThe second half."
    assert joined[0].similarity == 0.6
    assert joined[0].duplicates == tuple(twins)


@pytest.mark.parametrize(
    ("other", "ordinal"),
    [
        (passage("next", source=2, chunk=2), 1),
        (passage("next", chunk=2, heading="Costs"), 1),
        (passage("next", chunk=2), 2),
        (passage("next " * 1000, chunk=2), 1),
    ],
    ids=["another source", "another place", "not adjacent", "too long together"],
)
def test_what_does_not_belong_together_is_not_joined(other: Passage, ordinal: int) -> None:
    first = passage("first", chunk=1)

    assert join([first, other], neighbours([first, other], [0, ordinal])) == [first, other]


def test_a_likeness_by_chance_is_no_overlap() -> None:
    first, second = passage("He ate an apple", chunk=1), passage("apple pie", chunk=2)
    third = passage("catalogue of ships and harbours", chunk=3)
    fourth = passage("alogue of ships and harbours today", chunk=4)

    assert join([first, second], neighbours([first, second], [0, 1]))[0].text == "He ate an apple\napple pie"
    joined = join([third, fourth], neighbours([third, fourth], [0, 1]))[0].text
    assert joined == f"{third.text}\n{fourth.text}"


def test_unseen_neighbours_are_joined_to_what_was_found_only() -> None:
    chunks = [passage(f"Number {n} of a text.", chunk=n) for n in range(6)]
    joined = join([chunks[1]], neighbours([chunks[0], chunks[1], chunks[2], chunks[4]], [0, 1, 2, 4]))

    assert [one.text for one in joined] == ["Number 0 of a text.\nNumber 1 of a text.\nNumber 2 of a text."]


def test_a_passage_that_can_no_longer_be_placed_stays_as_it_is() -> None:
    before = passages("one", "two")

    assert join(before, []) == before


prose = st.lists(
    st.sampled_from([*HAIL.split(" "), "7.", "hail.\n\n", "汉字汉字。", "x" * 90]), min_size=1, max_size=400
)


@given(prose.map(" ".join), st.data())
def test_joining_loses_no_text_and_invents_none(text: str, data: st.DataObject) -> None:
    """Every chunk stands whole in a joined text, and every word of a joined text stands in the document."""
    chunks = split(Document((Part(text),)), "", token_starts, max_tokens=70, overlap_tokens=14)
    every = [passage(one.text, chunk=one.ordinal) for one in chunks]
    chosen = data.draw(st.permutations(every)) if every else []
    chosen = chosen[: data.draw(st.integers(0, len(chosen)))]
    joined = join(chosen, neighbours(chosen, chunk_ids(chosen)))

    assert all(any(one.text in whole.text for whole in joined) for one in chosen)
    assert {word for whole in joined for word in whole.text.split()} <= {
        word for one in chosen for word in one.text.split()
    }
    assert {whole.source for whole in joined} == {one.source for one in chosen}


@given(st.integers(40, 400), st.integers(20, 60), st.integers(0, 16))
def test_all_chunks_of_a_document_joined_are_the_document(numbers: int, size: int, overlap: int) -> None:
    text = ". ".join(f"Sentence {n} has its number" for n in range(numbers))[:3000]
    chunks = split(Document((Part(text),)), "", token_starts, max_tokens=size, overlap_tokens=overlap)
    every = [passage(one.text, chunk=one.ordinal) for one in chunks]
    joined = join(every, neighbours(every, chunk_ids(every)))

    said = re.findall(r"Sentence \d+ has", " ".join(one.text for one in joined))
    assert list(dict.fromkeys(said)) == re.findall(r"Sentence \d+ has", text)


class Judge:
    """Scores a text by a table; texts that are not in it 0. Remembers what it was asked."""

    def __init__(self, table: dict[str, float], *, down: bool = False) -> None:
        self.table = table
        self.down = down
        self.asked: list[tuple[str, list[str]]] = []

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((question, list(texts)))
        if self.down:
            raise ModelUnavailable("the re-ranker does not answer (ConnectError)")
        return [self.table.get(text.rpartition("\n")[2], 0.0) for text in texts]

    async def close(self) -> None:
        """Nothing is held."""


async def test_what_answers_best_comes_first_and_like_ones_keep_their_order() -> None:
    before = passages("a", "b", "c", "d")

    assert chunk_ids(await rerank(Judge({"c": 2.0, "a": -1.0}), "q", before)) == [3, 2, 4, 1]


async def test_what_a_judge_has_no_opinion_of_keeps_its_similarity() -> None:
    before = [replace(one, similarity=0.5) for one in passages("a", "b", "c")]
    after = await rerank(Judge({"a": 0.4, "b": nan, "c": 0.6}), "q", before)

    assert [(one.text, one.judged) for one in after] == [("c", 0.6), ("b", None), ("a", 0.4)]


async def test_only_the_best_are_judged_and_the_rest_stays_behind_them() -> None:
    judge = Judge({f"text {RERANKED - 1}": 5.0, f"text {RERANKED}": 9.0})
    before = passages(*(f"text {n}" for n in range(RERANKED + 5)))
    after = await rerank(judge, "why " * 5000, before)

    assert len(judge.asked[0][1]) == RERANKED
    assert len(judge.asked[0][0]) <= 2000
    assert chunk_ids(after) == [RERANKED, *range(1, RERANKED), *range(RERANKED + 1, RERANKED + 6)]


async def test_file_name_and_heading_are_judged_too() -> None:
    judge = Judge({})
    await rerank(judge, "q", [passage("It is 7.", heading="Rent"), passage("Rent\nIt is 8.", heading="Rent")])

    assert judge.asked[0][1] == ["1.txt\nRent\nIt is 7.", "1.txt\nRent\nIt is 8."]


async def test_a_reranker_that_is_down_leaves_the_order_and_is_logged_without_text() -> None:
    before = passages("private one", "private two")
    with capture_logs() as logged:
        after = await rerank(Judge({}, down=True), "a private question", before)

    assert [replace(passage, judged=None) for passage in after] == before
    assert all(passage.judged is not None and isnan(passage.judged) for passage in after)

    assert [event["event"] for event in logged] == ["reranking_failed"]
    assert logged[0]["log_level"] == "warning"
    assert "private" not in str(logged)


@pytest.mark.parametrize("count", [0, 1])
async def test_too_few_passages_to_order_are_not_judged(count: int) -> None:
    judge = Judge({})

    assert len(await rerank(judge, "q", passages("a", "b")[:count])) == count
    assert judge.asked == []


def test_shared_sentences_stand_once_in_scripts_without_blanks() -> None:
    sentences = [f"第{n}句话说的是花园里的树和花。" for n in "一二三四五六七八九十"]
    chunks = split(Document((Part("".join(sentences)),)), "", token_starts, max_tokens=70, overlap_tokens=20)
    every = [passage(one.text, chunk=one.ordinal) for one in chunks]

    assert len(every) > 2
    assert join(every, neighbours(every, chunk_ids(every)))[0].text == "".join(sentences)
