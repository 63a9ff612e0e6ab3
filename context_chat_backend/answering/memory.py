# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations that are kept: what was said before comes back with a question, and its answer is remembered.

An answer may repeat what stood in earlier ones, so it is remembered with their sources too, except where it is made of
quotes. What was written from a source that its asker may not read now does not come back.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from context_chat_backend.answering.summaries import as_turns, summed_up
from context_chat_backend.answering.writing import Writer
from context_chat_backend.domain import Answer, AnswerEvent, Done, Message, Question
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.inference.language.extractive import ExtractiveModel
from context_chat_backend.logs import get_logger
from context_chat_backend.store.conversations import Conversations, History, Owner, Remembered
from context_chat_backend.token_estimates import careful_tokens

_HISTORY_TOKENS = 1500
"""When what was said has more, what is older than half of it is summed up."""
_SUMMARY_TOKENS = 400
_log = get_logger(__name__)

Asking = Callable[[Question], AsyncGenerator[AnswerEvent, None]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a question belongs: one conversation of one owner."""

    owner: Owner
    id: uuid.UUID


class Memory:
    """Answers within conversations."""

    def __init__(self, conversations: Conversations, writers: Sequence[Writer]) -> None:
        """`writers` are those that answer; the first that may be asked beside answers sums up."""
        self._conversations = conversations
        self._writer = next((writer for writer in writers if writer.may_be_asked_beside), writers[0])

    async def stream(self, question: Question, place: Place, asking: Asking) -> AsyncGenerator[AnswerEvent, None]:
        """The events of `asking`, of the question with what was said before it; the answer is remembered before Done.

        An answer that breaks off is not. Raises DatabaseUnavailable, and as `asking` does.
        """
        history = await self._short(await self._conversations.history(place.owner, place.id), place)
        asked = replace(question, turns=_turns(history), turns_are_kept=True)
        async with aclosing(asking(asked)) as events:
            async for event in events:
                if isinstance(event, Done) and not event.answer.blocked:  # nothing shall come back unjudged
                    await self._remember(place, question, event.answer, history)
                yield event

    async def _short(self, history: History, place: Place) -> History:
        """With what is old summed up, where that is much."""
        kept = _latest(history.messages)
        old = history.messages[: len(history.messages) - len(kept)]
        if not old:
            return history
        before = "" if history.summary is None else history.summary.text
        text = await summed_up(before, [one.message for one in old], self._writer, _SUMMARY_TOKENS)
        summary = Remembered(text, "assistant", old[-1].until, _sources(history.summary, old))
        await self._conversations.sum_up(place.owner, place.id, summary)
        return History(summary, kept)

    async def _remember(self, place: Place, question: Question, answer: Answer, history: History) -> None:
        quotes = answer.model in ("", ExtractiveModel.name)
        refs = (
            answer.cited
            if quotes and answer.citations
            else tuple(dict.fromkeys(passage.source for passage in answer.passages))
        )
        inherited = () if quotes else _sources(history.summary, history.messages)
        try:
            await self._conversations.add(
                place.owner, place.id, question.text, answer.text, refs=refs, inherited=inherited
            )
        except DatabaseUnavailable as error:  # the text is out; it shall not be followed by a failure
            _log.warning("turn_not_remembered", reason=str(error))


def _latest(messages: tuple[Remembered, ...]) -> tuple[Remembered, ...]:
    """All, where they are not too much; else the latest, and the last question with its answer in any case."""
    sizes = [careful_tokens(message.text) for message in messages]
    if sum(sizes) <= _HISTORY_TOKENS:
        return messages
    room, start = _HISTORY_TOKENS // 2, len(messages)
    while start > 0 and (sum(sizes[start - 2 :]) <= room or start == len(messages)):
        start = max(0, start - 2)
    return messages[start:]


def _turns(history: History) -> tuple[Message, ...]:
    summary = as_turns(history.summary.text) if history.summary is not None else ()
    return (*summary, *(message.message for message in history.messages))


def _sources(summary: Remembered | None, messages: Sequence[Remembered]) -> tuple[int, ...]:
    every = [*(() if summary is None else (summary,)), *messages]
    return tuple(sorted({source for one in every for source in one.sources}))
