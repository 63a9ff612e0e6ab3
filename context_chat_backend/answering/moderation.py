# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions, and if wanted answers, are judged; what is not found safe is refused, also because nobody could judge.

With a question everything is judged that its asker sends for the model to read as said: earlier turns, instructions, a
template; and the question that is made of it and of these turns. Turns of conversations that are kept here are not
judged again, and what passages say is not anybody's question.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from context_chat_backend.domain import Answer, AnswerEvent, Delta, Done, Question
from context_chat_backend.errors import ModelFailure, ModelUnavailable, PromptTooLong
from context_chat_backend.language import detect
from context_chat_backend.logs import get_logger
from context_chat_backend.ports import Moderator

_REFUSED: Mapping[str, str] = {
    "german": "Darauf kann ich nicht antworten.",
    "french": "Je ne peux pas répondre à cela.",
    "spanish": "No puedo responder a eso.",
    "italian": "Non posso rispondere a questo.",
    "dutch": "Daar kan ik geen antwoord op geven.",
    "portuguese": "Não posso responder a isso.",
}
_REFUSED_IN_ENGLISH = "I cannot answer that."
_NOBODY_JUDGES: Mapping[str, str] = {
    "german": "Die Prüfung der Frage ist gerade nicht möglich. Versuchen Sie es später noch einmal.",
    "french": "La question ne peut pas être vérifiée pour le moment. Réessayez plus tard.",
    "spanish": "La pregunta no se puede comprobar en este momento. Inténtelo más tarde.",
    "italian": "Al momento la domanda non può essere verificata. Riprovi più tardi.",
    "dutch": "De vraag kan nu niet worden gecontroleerd. Probeer het later opnieuw.",
    "portuguese": "A pergunta não pode ser verificada agora. Tente mais tarde.",
}
_NOBODY_JUDGES_IN_ENGLISH = "The question cannot be checked right now. Try again later."
_PIECE_CHARACTERS = 8_000
"""A judge reads the whole of so many; of longer texts he may read the ends alone."""
_SHARED_CHARACTERS = 200
"""What two pieces have in common, so that nothing hides where they are cut."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Moderation:
    """A judge, and what follows from what he says."""

    judge: Moderator
    answers: bool = False
    """Whether answers are judged too: they are then shown as a whole."""
    refusal_message: str = ""
    """What is said instead; empty: ours, in the language of the question."""
    attempts: int = 4
    pause_seconds: float = 1.0
    timeout_seconds: float = 15.0
    """Of one attempt."""
    allows_on_timeout: bool = False

    async def watched(
        self, question: Question, events: Callable[[], AsyncGenerator[AnswerEvent, None]]
    ) -> AsyncGenerator[AnswerEvent, None]:
        """The events of an answer to `question`; in their place a refusal where it, what was sent along with it, or the
        answer, is not found safe.

        For a refused question nothing is searched and no model writes. Raises what `events` raises.
        """
        refusal = await self.refusal([question.text], question)
        if refusal is None and (sent := _sent_along(question)):
            refusal = await self.refusal(sent, question)
        if refusal is not None:
            yield Delta(refusal.text)
            yield Done(refusal)
            return
        held: list[AnswerEvent] = []
        async with aclosing(events()) as coming:
            async for event in coming:
                if not self.answers:
                    yield event
                    continue
                held.append(event)
                if isinstance(event, Done) and not event.answer.blocked:
                    refusal = await self.refusal([event.answer.text], question)
                    held = held if refusal is None else [Delta(refusal.text), Done(refusal)]
        for event in held:
            yield event

    async def refusal(self, texts: Sequence[str], question: Question) -> Answer | None:
        """The refusal of `question`, where one of the `texts` is not found safe."""
        for piece in _pieces("\n\n".join(texts)):
            try:
                if await self._judged(piece):
                    continue
            except TimeoutError:
                _log.warning("moderation_timed_out", allowed=self.allows_on_timeout)
                if self.allows_on_timeout:
                    continue
                said = _NOBODY_JUDGES.get(detect(question.text), _NOBODY_JUDGES_IN_ENGLISH)
                return Answer(said, blocked=True)
            except (ModelUnavailable, PromptTooLong) as error:
                _log.warning("moderation_failed", error=type(error).__name__)
            _log.info("moderation_refused", question=list(texts) == [question.text])
            said = self.refusal_message or _REFUSED.get(detect(question.text), _REFUSED_IN_ENGLISH)
            return Answer(said, blocked=True)
        return None

    async def _judged(self, text: str) -> bool:
        """Raises TimeoutError after the last attempt, and ModelUnavailable."""
        for attempt in range(self.attempts):
            if attempt:
                await asyncio.sleep(self.pause_seconds)
            try:
                async with asyncio.timeout(self.timeout_seconds):
                    return await self.judge.allows(text)
            except TimeoutError:
                continue
            except ModelUnavailable as error:
                if error.failure is not ModelFailure.TIMEOUT:
                    raise
        raise TimeoutError


def _sent_along(question: Question) -> list[str]:
    """What the model reads beside the question as its asker's words."""
    turns = [] if question.turns_are_kept else [turn.text for turn in question.turns]
    return [text for text in (question.instructions, question.template, *turns) if text.strip()]


def _pieces(text: str) -> Iterator[str]:
    """Pieces that a judge reads to their end."""
    start = 0
    while True:
        yield text[start : start + _PIECE_CHARACTERS]
        if start + _PIECE_CHARACTERS >= len(text):
            return
        start += _PIECE_CHARACTERS - _SHARED_CHARACTERS
