# SPDX-License-Identifier: AGPL-3.0-or-later
"""A question that is asked in nearly the words of a kept pair gets the kept answer, and no model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from context_chat_backend.domain import Answer, Passage, Question
from context_chat_backend.retrieval.retrieve import Retriever


async def direct_answer(question: Question, passages: Sequence[Passage], retriever: Retriever) -> Answer | None:
    """The answer of the pair that is found first, where the question wants that and the pair is near enough.

    Raises DatabaseUnavailable.
    """
    best = passages[0]
    if question.direct_from is None or not best.source.is_pair or best.similarity < question.direct_from:
        return None
    text = await retriever.whole(question.asker, best)
    return Answer(text, passages=(replace(best, text=text),))
