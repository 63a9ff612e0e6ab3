# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.indexing.chunking import split
from context_chat_backend.indexing.index import embedded_text

texts = st.text(alphabet=st.sampled_from("ab ü漢.!\n"), max_size=600)
locations = st.builds(Location, page=st.integers(1, 3))
documents = st.lists(st.builds(Part, texts, locations), max_size=4).map(lambda parts: Document(tuple(parts)))


@given(documents, st.integers(10, 120), st.integers(0, 9))
def test_chunks_cover_every_character_and_keep_to_their_size(document: Document, size: int, overlap: int) -> None:
    chunks = split(document, max_characters=size, overlap_characters=overlap)

    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.text.strip() and len(chunk.text) <= size for chunk in chunks)
    for location in {part.location for part in document.parts}:
        wanted = "".join("".join(part.text.split()) for part in document.parts if part.location == location)
        got = "".join("".join(chunk.text.split()) for chunk in chunks if chunk.location == location)
        # With overlaps, what is wanted is a subsequence of what the chunks hold.
        rest = iter(got)
        assert all(character in rest for character in wanted)


def test_a_chunk_ends_with_a_paragraph_or_a_sentence_where_it_can() -> None:
    text = "First sentence here. Second sentence here. Third one.\n\nA new paragraph begins. It goes on."

    chunks = split(Document((Part(text),)), max_characters=60, overlap_characters=0)

    assert [chunk.text for chunk in chunks] == [
        "First sentence here. Second sentence here. Third one.",
        "A new paragraph begins. It goes on.",
    ]


def test_neighbours_share_a_sentence() -> None:
    text = " ".join(f"This is sentence number {n}." for n in range(30))

    chunks = split(Document((Part(text),)), max_characters=200, overlap_characters=60)

    for one, other in pairwise(chunks):
        assert other.text[:20] in one.text


def test_no_chunk_crosses_pages() -> None:
    document = Document((Part("One.", Location(page=1)), Part("Two.", Location(page=2))))

    assert [(chunk.text, chunk.location.page) for chunk in split(document)] == [("One.", 1), ("Two.", 2)]


def test_a_chunk_has_its_own_language_or_that_of_its_document() -> None:
    german = "Die Mülltonnen werden dienstags geleert, und das Altpapier kommt in die blaue Tonne. "
    document = Document((Part(german * 5, Location(page=1)), Part("4711", Location(page=2))))

    assert {chunk.language for chunk in split(document)} == {"german"}


def test_what_is_embedded_names_file_and_heading_once() -> None:
    (first,) = split(Document((Part("## Quiet hours\nFrom ten.", Location(heading="Quiet hours")),)))
    (second,) = split(Document((Part("Drilling is not allowed.", Location(heading="Quiet hours")),)))

    assert embedded_text("files/a/rules.md", first) == "rules.md\n## Quiet hours\nFrom ten."
    assert embedded_text("files/a/rules.md", second) == "rules.md\nQuiet hours\nDrilling is not allowed."


def test_a_few_words_have_the_language_of_their_document() -> None:
    english = "The roof is repaired in May, and the scaffolding stands until the end of June."
    document = Document((Part("Wo? Ja.", Location(page=1)), Part(english, Location(page=2))))

    assert [chunk.language for chunk in split(document)] == ["english", "english"]


def test_a_document_without_text_has_no_chunks() -> None:
    assert split(Document(())) == ()
    assert split(Document((Part(" \n"),))) == ()
