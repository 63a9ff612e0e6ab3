# SPDX-License-Identifier: AGPL-3.0-or-later
"""Quotes of the best sentences, and how they are measured."""

from __future__ import annotations

import pytest

from benchmarks.quoting import judged
from context_chat_backend.answering.citations import cite
from context_chat_backend.domain import Answer
from context_chat_backend.inference.language.extractive import ExtractiveModel
from tests.language_contract import passage, prompted, written


async def test_a_sentence_counts_more_where_its_passage_names_what_it_speaks_of() -> None:
    texts = (
        "The tram of Mirabell runs to the lake. It stops at nine in the evening.",
        "The tram of Leopold runs to the castle. It stops at ten in the evening.",
    )
    text, _ = await written(ExtractiveModel(), prompted("When does the tram of Leopold stop in the evening?", *texts))

    assert "It stops at ten in the evening. [2]" in text


async def test_words_of_any_question_choose_nothing_where_there_are_others() -> None:
    texts = ("What does it do, and how was it with this?", "Ferries sail at dawn.")
    text, _ = await written(ExtractiveModel(), prompted("What does it do, and when does the ferry sail?", *texts))

    assert text == "Ferries sail at dawn. [2]"


@pytest.mark.parametrize(
    ("said", "gold", "measures"),
    [
        ("The lift is serviced in April. [1]", "in April", (1.0, 1.0, 1.0)),
        ("The lift is serviced in “APRIL”! [1][2]", "April.", (1.0, 1.0, 0.5)),
        ("It is serviced in May.", "in April", (0.0, 0.5, None)),
        ("电梯在四月维修。[1]", "四月", (1.0, 1.0, 0.0)),
    ],
)
def test_an_answer_is_compared_with_the_span_and_its_citations_with_their_passages(
    said: str, gold: str, measures: tuple[float, float, float | None]
) -> None:
    passages = (passage("The lift is serviced in April 2024."), passage("The lift is old.", 2))
    answer = Answer(said, cite(said, passages).citations, passages)
    found = judged(answer, (gold, "nowhere at all"))

    assert (found["contains"], found["recall"], found["citations"]) == measures
    assert 0 < (found["F1"] or 0) < 1
