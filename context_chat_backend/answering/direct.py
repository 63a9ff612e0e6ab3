# SPDX-License-Identifier: AGPL-3.0-or-later
"""A question that is asked in nearly the words of a kept pair gets the kept answer, and no model is asked.

Where answers are made of quotes, the kept answer of the pair that is found first is the quote, however near it is: who
asks in other words shares none with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from context_chat_backend.answering.writing import Writer
from context_chat_backend.domain import Answer, Passage, Question
from context_chat_backend.inference.language.extractive import ExtractiveModel
from context_chat_backend.retrieval.retrieve import Retriever


async def direct_answer(
    question: Question, passages: Sequence[Passage], retriever: Retriever, writer: Writer
) -> Answer | None:
    """The answer of the pair that is found first, where the question wants that and the pair is near enough.

    Raises DatabaseUnavailable.
    """
    best, quotes = passages[0], writer.model.name == ExtractiveModel.name
    near_enough = question.direct_from is not None and best.similarity >= question.direct_from
    if not best.source.is_pair or not (quotes or near_enough):
        return None
    text = await retriever.whole(question.asker, best)
    model = ExtractiveModel.name if quotes else ""
    return Answer(text, passages=(replace(best, text=text), *passages[1:]), model=model)
