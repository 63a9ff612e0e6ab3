# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the word index takes of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_chat_backend.compounds import parts
from context_chat_backend.language import SIMPLE
from context_chat_backend.words import MAX_NAME_CHARACTERS, Words, found_in, taken_apart, words_asked


def words_of(text: str, language: str) -> Words:
    """What is indexed of a text, as it would be asked for."""
    found = found_in(text)
    apart = [taken_apart(name, language) for name in found.names]
    wholes = [whole for _, whole in apart if whole is not None]
    return Words(" ".join(word for words, _ in apart for word in words), (*wholes, *found.pairs))


@pytest.mark.parametrize(
    ("text", "name", "parts"),
    [
        ("invoice INV-2024-0042.", "inv-2024-0042", "INV 2024 0042"),
        ("to anna.meyer@example.org", "anna.meyer@example.org", "anna meyer example org"),
        ("in MeetingNotes2024.pdf", "meetingnotes2024.pdf", "Meeting Notes 2024 pdf"),
        ("below files/Notes/plan_b.md", "files/notes/plan_b.md", "files Notes plan b md"),
        ("costs 3.141 or so", "3.141", "3 141"),
        ("l’école", "l'école", "l école"),
    ],
)
def test_names_are_indexed_whole_and_by_their_parts(text: str, name: str, parts: str) -> None:
    words = words_of(text, SIMPLE)
    assert name in words.names
    assert parts in words.written
    assert name in words_asked(text, SIMPLE).names


def test_plain_words_are_left_to_the_stemmer_and_asked_for_as_names_too() -> None:
    assert words_of("The quick fox", SIMPLE).names == ()
    assert words_of("The quick fox", SIMPLE).written == "The quick fox"
    assert words_asked("The quick fox quick", SIMPLE).names == ("the", "quick", "fox")


def test_scripts_without_blanks_become_pairs_of_characters() -> None:
    words = words_of("東京都の天気 and more", SIMPLE)
    assert words.names == ("東京", "京都", "都の", "の天", "天気")
    assert words.written == "and more"
    assert words_of("水", SIMPLE).names == ("水",)
    assert "สว" in words_of("สวัสดี", SIMPLE).names


def test_wide_and_composed_characters_are_the_same_word() -> None:
    assert words_of("ＡＢＣ－１", SIMPLE) == words_of("ABC-1", SIMPLE)
    assert words_of("Cafe\u0301", SIMPLE) == words_of("Caf\u00e9", SIMPLE)


@given(st.text(max_size=300))
def test_whatever_is_indexed_of_a_text_is_found_by_asking_for_that_text(text: str) -> None:
    indexed, asked = words_of(text, SIMPLE), words_asked(text, SIMPLE)
    assert set(indexed.names) <= set(asked.names)
    assert indexed.written == asked.written
    assert all(len(name) <= 4 * MAX_NAME_CHARACTERS and "\n" not in name for name in indexed.names)


@pytest.mark.parametrize(
    ("word", "language", "found"),
    [
        ("Versicherungspolice", "german", {"versicherung", "police"}),
        ("Fußballmannschaft", "german", {"fussball", "mannschaft"}),
        ("Jahreshauptversammlung", "german", {"jahr", "haupt", "versammlung"}),
        ("zorgverzekering", "dutch", {"zorg", "verzekering"}),
        ("sjukhuspersonal", "swedish", {"sjukhus", "personal"}),
        ("Entwicklung", "german", set()),
        ("Universität", "german", set()),
        ("Versicherungspolice", "english", set()),
        ("Versicherungspolice" * 10, "german", set()),
        ("ab12cd34", "german", set()),
    ],
)
def test_compound_words_are_found_by_their_parts(word: str, language: str, found: set[str]) -> None:
    assert set(parts(word, language)) >= found
    assert bool(parts(word, language)) == bool(found)
    assert set(words_of(f"Die {word}.", language).written.casefold().split()) >= found
    assert set(words_asked(f"{word}?", language).written.casefold().split()) >= found
