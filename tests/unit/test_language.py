# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from context_chat_backend.language import detect


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("When is the annual meeting of the co-operative?", "english"),
        ("Wann werden die Mülltonnen geleert?", "german"),
        ("¿Cuándo se celebra la reunión anual de vecinos?", "spanish"),
        ("Когда состоится ежегодное собрание жильцов?", "russian"),
        ("年度会议什么时候举行？", "simple"),
    ],
)
def test_languages_are_named_as_postgresql_names_them(text: str, language: str) -> None:
    assert detect(text) == language


@pytest.mark.parametrize("text", ["", "   ", "4711 / 12", "\n\n", "🦊🦊"])
def test_what_has_no_words_has_the_language_that_is_given(text: str) -> None:
    assert detect(text, otherwise="german") == "german"


def test_line_ends_do_not_matter() -> None:
    text = "Wann werden die Mülltonnen geleert,\nund wer\r\nstellt sie\tan die Straße?"

    assert detect(text) == "german"


def test_many_threads_may_ask_at_once() -> None:
    texts = ["When is the annual meeting of the co-operative?", "Wann werden die Mülltonnen geleert?"] * 200

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(detect, texts)) == ["english", "german"] * 200
