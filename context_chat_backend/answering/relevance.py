# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether anything that was found has to do with the question: a search always finds something.

A cosine alone tells little, and so do words; only what fails both is below the floor (docs/quality.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from context_chat_backend.domain import Passage, Question
from context_chat_backend.terms import content_terms

FLOOR = 0.25
"""Cosine similarity: of the packaged model, which reads English; others stay above it, and words of questions are then
not looked at."""


def relevant(question: Question, passages: Sequence[Passage]) -> list[Passage]:
    """The passages, or none of them when all are below the floor.

    Who has chosen the sources asks about them, whatever his words are; who says how near they have to be has his way.
    """
    wanted = content_terms(question.meant)
    if not wanted or question.scope.sources is not None or _says_how_near(question):
        return list(passages)
    if any(one.similarity >= FLOOR or wanted & content_terms(f"{one.title} {one.text}") for one in passages):
        return list(passages)
    return []


def _says_how_near(question: Question) -> bool:
    choice = question.choice
    return choice is not None and (choice.least_similarity is not None or choice.most_distance is not None)
