# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which passages are used where the asker says how."""

from __future__ import annotations

from datetime import UTC, datetime

from context_chat_backend.domain import Choice, Location, Passage, SearchType, SourceRef
from context_chat_backend.retrieval.choosing import chosen


def passage(number: int, text: str, similarity: float) -> Passage:
    source = SourceRef("files__default", str(number))
    return Passage(source, f"{number}.txt", text, Location(), "english", similarity, number, datetime.now(UTC))


FOUND = [
    passage(1, "the roof of the town hall", 0.9),
    passage(2, "the roof of the town hall again", 0.8),
    passage(3, "a garden with a pond", 0.6),
    passage(4, "accounts of last year", 0.1),
]


def numbers(choice: Choice) -> list[int]:
    return [one.chunk_id for one in chosen(FOUND, choice)]


def test_the_best_are_taken() -> None:
    assert numbers(Choice(count=2)) == [1, 2]


def test_what_is_not_similar_enough_is_left_out() -> None:
    for kind in (SearchType.SIMILARITY, SearchType.SIMILARITY_SCORE_THRESHOLD, SearchType.MMR):
        assert sorted(numbers(Choice(kind, count=4, least_similarity=0.5))) == [1, 2, 3]
    assert numbers(Choice(SearchType.SIMILARITY_DISTANCE_THRESHOLD, count=4, most_distance=0.25)) == [1, 2]


def test_marginal_relevance_prefers_what_was_not_said_yet() -> None:
    assert numbers(Choice(SearchType.MMR, count=2, relevance_share=0.5)) == [1, 3]
    assert numbers(Choice(SearchType.MMR, count=2, relevance_share=1.0)) == [1, 2]


def test_only_what_is_looked_at_is_chosen_from() -> None:
    assert numbers(Choice(SearchType.MMR, count=3, looked_at=2)) == [1, 2]
