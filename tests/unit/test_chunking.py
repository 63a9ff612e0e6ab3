# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_chat_backend.domain import Chunk, Document, Location, Part
from context_chat_backend.indexing.chunking import header, split
from context_chat_backend.indexing.preparing import embedded_text
from context_chat_backend.inference.embedding import graph
from context_chat_backend.inference.embedding.estimate import token_starts as estimated
from context_chat_backend.inference.embedding.tokens import Tokens

TITLE = "files/a/rules.md"


def words(text: str) -> list[int]:
    """A tokenizer whose tokens are words, wide characters and signs."""
    return [token.start() for token in re.finditer(r"[一-鿿]|\w+|[^\w\s]", text)]


@pytest.fixture(scope="session")
def minilm() -> Callable[[str], Sequence[int]]:
    return Tokens(graph.packaged_model() / "tokenizer.json").starts


def chunks_of(*parts: Part, size: int = 40, overlap: int = 0) -> tuple[Chunk, ...]:
    return split(Document(parts), "", words, max_tokens=size, overlap_tokens=overlap)


def texts_of(text: str, *, size: int = 40, overlap: int = 0) -> list[str]:
    return [chunk.text for chunk in chunks_of(Part(text), size=size, overlap=overlap)]


def holds_all(text: str, chunks: Sequence[Chunk]) -> bool:
    """Whether every character that is not blank is in some chunk, in reading order."""
    rest = iter("".join("".join(chunk.text.split()) for chunk in chunks))
    return all(character in rest for character in "".join(text.split()))


texts = st.lists(
    st.sampled_from(
        ["word", "Längeres Wort", "The end. ", "z. B. ", "漢字", "。", "\n", "\n\n", "x" * 90, " ", "a, b; ",
         "4711 ", "é😀", "No!"]
    ),
    max_size=120,
).map("".join)  # fmt: skip
locations = st.builds(Location, page=st.integers(1, 3), heading=st.none() | st.just("On roofs"))
documents = st.lists(st.builds(Part, texts, locations, st.booleans()), max_size=4).map(lambda ps: Document(tuple(ps)))


@settings(max_examples=150)
@given(documents, st.integers(16, 120), st.integers(0, 12), st.sampled_from([words, estimated]))
def test_chunks_cover_every_character_and_keep_to_their_size(
    document: Document, size: int, overlap: int, token_starts: Callable[[str], list[int]]
) -> None:
    chunks = split(document, TITLE, token_starts, max_tokens=size, overlap_tokens=overlap)

    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.text.strip() for chunk in chunks)
    assert all(len(token_starts(embedded_text(TITLE, chunk))) <= size for chunk in chunks)
    for location in {part.location for part in document.parts}:
        wanted = "".join(part.text for part in document.parts if part.location == location)
        assert holds_all(wanted, [chunk for chunk in chunks if chunk.location == location])


@settings(max_examples=40, deadline=None)
@given(text=texts, size=st.integers(32, 254), overlap=st.integers(0, 16))
def test_with_the_packaged_model_nothing_of_a_chunk_is_cut_off(
    minilm: Callable[[str], Sequence[int]], text: str, size: int, overlap: int
) -> None:
    chunks = split(Document((Part(text),)), TITLE, minilm, max_tokens=size, overlap_tokens=overlap)

    assert all(len(minilm(embedded_text(TITLE, chunk))) <= size for chunk in chunks)
    assert holds_all(text, chunks)


@given(texts, st.integers(20, 80), st.integers(0, 10))
def test_neighbours_share_no_more_than_they_may(text: str, size: int, overlap: int) -> None:
    without = sum(len("".join(piece.split())) for piece in texts_of(text, size=size))
    assert without == len("".join(text.split()))

    numbers = count()
    unlike = re.sub(r"\w+", lambda word: f"{word[0]}{next(numbers)}", text.replace("x" * 90, "x"))
    pieces = texts_of(unlike, size=size, overlap=overlap)
    for one, other in pairwise(pieces):
        common = max((n for n in range(min(len(one), len(other)) + 1) if one.endswith(other[:n])), default=0)
        assert len(re.findall(r"\w+", other[:common])) <= overlap


def test_a_chunk_ends_with_a_paragraph_where_it_can() -> None:
    text = "First sentence here. Second sentence here. Third one.\n\nA new paragraph begins. It goes on. And on."

    assert texts_of(text, size=16) == [
        "First sentence here. Second sentence here. Third one.",
        "A new paragraph begins. It goes on. And on.",
    ]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Dr. Müller kommt am 3. Mai mit Herrn z. B. Schmidt.", "Sie bleiben bis 18 Uhr.", "Dann gehen sie."],
        ["委员会在五月开会。", "会议在图书馆举行。", "所有成员都可以参加。"],
        ["会議は五月に開かれます。", "場所は図書館です。", "全員が参加できます。"],
        ["The line is wrapped\nin the middle of it.", "The next one is\nwrapped as well.", "This one is not."],
    ],
)
def test_sentences_stay_whole(sentences: list[str]) -> None:
    glue = "" if sentences[0].endswith("。") else " "
    for size in range(max(len(words(one)) for one in sentences), 40):
        for piece in texts_of(glue.join(sentences), size=size):
            assert re.fullmatch(rf"({'|'.join(re.escape(one) for one in sentences)}|\s)+", piece)


def test_a_long_sentence_begins_a_chunk_of_its_own() -> None:
    long = "the long one " * 10 + "ends."

    assert texts_of(f"Short. Another.\nLong is {long}\nAfter.", size=36) == [
        "Short. Another.",
        f"Long is {long}\nAfter.",
    ]


def test_pieces_of_a_text_are_about_equally_long() -> None:
    pieces = texts_of(" ".join(f"This is sentence {n} here." for n in range(9)), size=40)

    assert len(pieces) == 2
    assert all(24 <= len(words(piece)) <= 30 for piece in pieces)


def test_neighbours_share_whole_sentences() -> None:
    sentences = [f"This is sentence {n} here." for n in range(60)]

    for one, other in pairwise(texts_of(" ".join(sentences), size=60, overlap=13)):
        last = re.findall(r"This is sentence \d+ here\.", one)[-2:]
        assert other.startswith(" ".join(last))
        assert last[0] != re.findall(r"This is sentence \d+ here\.", other)[-1]


def test_a_sentence_that_is_too_long_is_cut_after_commas_and_words() -> None:
    pieces = texts_of("red, green, blue " * 40, size=20)

    assert all(piece.endswith((",", "blue")) for piece in pieces)
    assert "".join(pieces).replace(" ", "") == "red,green,blue" * 40


def test_rows_of_a_table_stay_whole_and_say_what_their_values_are() -> None:
    rows = [f"name: Flat {n}; rent: {n}00 euros. Paid.; tenant: Ms. N. {'very ' * (n % 7)}Long" for n in range(60)]
    chunks = chunks_of(Part("Costs"), Part("\n".join(rows), rows=True), size=50, overlap=5)

    assert [line for chunk in chunks for line in chunk.text.splitlines() if line][1:] == rows
    assert len(chunks) > 10


def test_short_rows_are_shared_and_never_in_part() -> None:
    rows = [f"n: {n}; v: {n}" for n in range(100)]

    for one, other in pairwise(texts_of_rows(rows, size=70, overlap=15)):
        assert one.splitlines()[-2:] == other.splitlines()[:2]
        assert set(one.splitlines()) <= set(rows)


def texts_of_rows(rows: list[str], *, size: int, overlap: int = 0) -> list[str]:
    return [chunk.text for chunk in chunks_of(Part("\n".join(rows), rows=True), size=size, overlap=overlap)]


def test_a_row_that_is_too_long_is_cut_after_a_value() -> None:
    row = "; ".join(f"column {n}: value {n}" for n in range(40))

    assert all(piece.endswith(";") for piece in texts_of_rows([row], size=30)[:-1])


def test_no_chunk_crosses_pages_or_sheets() -> None:
    parts = [
        Part("One.", Location(page=1)), Part("Two.", Location(page=2)), Part("Two, too.", Location(page=2)),
        Part("a: 1", Location(sheet="Costs"), rows=True), Part("a: 2", Location(sheet="Income"), rows=True),
    ]  # fmt: skip

    assert [(chunk.text, chunk.location.page, chunk.location.sheet) for chunk in chunks_of(*parts)] == [
        ("One.", 1, None), ("Two.\n\nTwo, too.", 2, None), ("a: 1", None, "Costs"), ("a: 2", None, "Income"),
    ]  # fmt: skip


def test_a_megabyte_without_a_blank_is_split_without_loss(minilm: Callable[[str], Sequence[int]]) -> None:
    text = "".join(chr(ord("a") + n * n % 26) for n in range(1_000_000))
    chunks = split(Document((Part(text),)), TITLE, minilm, max_tokens=200, overlap_tokens=20)

    assert "".join(chunk.text for chunk in chunks) == text
    assert all(len(minilm(chunk.text)) <= 200 for chunk in chunks)
    assert 400 < len(chunks) < 1500


def test_chinese_without_blanks_is_split_at_its_full_stops(minilm: Callable[[str], Sequence[int]]) -> None:
    sentence = "春天来了花园里的花都开了人们在树下喝茶聊天。"
    chunks = split(Document((Part(sentence * 200),)), "", minilm, max_tokens=100, overlap_tokens=0)

    assert all(chunk.text == sentence * (len(chunk.text) // len(sentence)) for chunk in chunks)
    assert all(50 <= len(minilm(chunk.text)) <= 100 for chunk in chunks)


def test_chinese_without_any_mark_is_split_between_characters() -> None:
    text = "漢" * 5000

    assert "".join(texts_of(text, size=64)) == text
    assert all(32 <= len(piece) <= 64 for piece in texts_of(text, size=64))


def test_accents_and_parts_of_an_emoji_stay_with_their_character() -> None:
    family = "👩\u200d👩\u200d👧"

    for piece in texts_of(family * 100 + "e\u0301" * 500, size=30):
        assert not piece.startswith(("\u0301", "\u200d"))
        assert not piece.endswith("\u200d")


@pytest.mark.parametrize("text", ["", " \n", "\n" * 100_000, "\t\u3000\u00a0 "])
def test_a_document_without_text_has_no_chunks(text: str) -> None:
    assert chunks_of(Part(text)) == ()
    assert split(Document(()), TITLE, words, max_tokens=40, overlap_tokens=4) == ()


def test_a_gap_of_a_megabyte_is_in_no_chunk() -> None:
    pieces = texts_of("before" + " " * 1_000_000 + "after")

    assert [piece.split() for piece in pieces] == [["before"], ["after"]]
    assert all(len(piece) <= 400 for piece in pieces)


def test_the_header_counts_and_leaves_half_of_the_room_at_least() -> None:
    sentence = "Six words stand in this sentence. "
    place = Location(heading="word " * 15)
    (plain,) = chunks_of(Part(sentence * 5))
    below = split(Document((Part(sentence * 5, place),)), TITLE, words, max_tokens=40, overlap_tokens=0)
    crowded = split(Document((Part(sentence * 5, place),)), "x " * 50, words, max_tokens=40, overlap_tokens=0)

    assert plain.text == (sentence * 5).strip()
    assert all(len(words(embedded_text(TITLE, chunk))) <= 40 for chunk in below)
    assert {chunk.text for chunk in crowded} == {(sentence * 2).strip(), sentence.strip()}


def test_long_names_and_headings_are_cut_in_the_header() -> None:
    assert len(header("files/" + "n" * 250, Location(heading="h" * 250))) == 201


def test_what_is_embedded_names_file_and_heading_once() -> None:
    (first,) = chunks_of(Part("## Quiet hours\nFrom ten.", Location(heading="Quiet hours")))
    (second,) = chunks_of(Part("Drilling is not allowed.", Location(heading="Quiet hours")))

    assert embedded_text("files/a/rules.md", first) == "rules.md\n## Quiet hours\nFrom ten."
    assert embedded_text("files/a/rules.md", second) == "rules.md\nQuiet hours\nDrilling is not allowed."


def test_a_chunk_has_its_own_language_or_that_of_its_document() -> None:
    german = "Die Mülltonnen werden dienstags geleert, und das Altpapier kommt in die blaue Tonne. "

    chunks = chunks_of(Part(german * 5, Location(page=1)), Part("4711", Location(page=2)))

    assert {chunk.language for chunk in chunks} == {"german"}


def test_a_few_words_have_the_language_of_their_document() -> None:
    english = "The roof is repaired in May, and the scaffolding stands until the end of June."
    chunks = chunks_of(Part("Wo? Ja.", Location(page=1)), Part(english, Location(page=2)))

    assert [chunk.language for chunk in chunks] == ["english", "english"]


def test_tokens_begin_where_the_words_begin(minilm: Callable[[str], Sequence[int]]) -> None:
    text = "Unbelievable, said the Ärztin.\n漢字 " * 3000  # more than one block
    starts = minilm(text)

    assert list(starts) == sorted(starts)
    assert all(not text[start].isspace() for start in starts)
    assert {text.index("said"), text.rindex("Ärztin"), text.rindex("字")} <= set(starts)
    assert len(starts) == 3000 * (bisect_left(starts, len(text) // 3000))
