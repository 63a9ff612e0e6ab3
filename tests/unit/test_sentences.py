# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_chat_backend.sentences import split, starts


@pytest.mark.parametrize(
    "sentences",
    [
        ["The first one.", "And a second one!", "A third?"],
        ["Die Feier ist am 3. Mai um 14 Uhr.", "Sie endet spät."],
        ["Wir brauchen z. B. Schrauben bzw. Nägel.", "Mehr nicht."],
        ["Dr. A. Müller wohnt in der Hauptstr. 5, ca. 3 km entfernt.", "Er kommt."],
        ["Vgl. Abs. 2 Nr. 7 d. Satzung.", "Sie gilt."],
        [
            "Mr. Smith and Mrs. J. R. Jones met Prof. Brown, cf. Fig. 3 and vol. 2 again.",
            "Is x = 1?",
            "No.",
            "See no. 7.",
        ],
        ["It began in 1999.", "It ended in 2004."],
        ["Version 3.14 is out.", "Get it at example.org/a.b today."],
        ['He said "Stop."', "Then he left (at once).", "She stayed."],
        ["我喜欢书。", "你呢？", "「好！」", "他说。"],
        ["これは本です。", "あれはペンです！", "はい。"],
        ["यह एक किताब है।", "वह एक कलम है।"],
        ["Это книга.", "А это ручка?", "Да…", "Нет."],
        ["A heading without a full stop", "The text below it."],
        ["The end of a line", "is the end of a sentence."],
    ],
)
def test_sentences_are_told_apart(sentences: list[str]) -> None:
    wide = sentences[0][-1] in "。" or sentences[0].startswith("「")
    line_ends = sentences[0][-1] not in '.!?"।。'
    assert split(("" if wide else "\n" if line_ends else " ").join(sentences)) == sentences


def test_a_full_stop_before_a_small_letter_ends_nothing() -> None:
    assert split("The so-called approxim. value is 7. It holds.") == ["The so-called approxim. value is 7. It holds."]


@given(st.text(alphabet=st.sampled_from("aB1.!? \n。」ü"), max_size=80))
def test_sentences_together_are_the_text(text: str) -> None:
    borders = starts(text)

    assert borders[0] == 0
    assert borders == sorted(set(borders))
    assert "".join("".join(split(text)).split()) == "".join(text.split())


def test_a_megabyte_without_a_border_is_one_sentence() -> None:
    assert starts("a" * 1_000_000) == [0]
    assert len(starts("." * 1_000_000)) == 1
    assert len(starts(". " * 500_000)) == 500_000
