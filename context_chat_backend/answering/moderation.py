# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions, and if wanted answers, are judged; what is not found safe is refused, also because nobody could judge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from context_chat_backend.domain import Answer, AnswerEvent, Delta, Done
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
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Moderation:
    """A judge, and what follows from what he says."""

    judge: Moderator
    answers: bool = False
    """Whether answers are judged too: they are then shown as a whole."""
    refusal: str = ""
    """What is said instead; empty: ours, in the language of the question."""
    attempts: int = 4
    pause_seconds: float = 1.0
    timeout_seconds: float = 15.0
    """Of one attempt."""
    allows_on_timeout: bool = False

    async def watched(
        self, question: str, events: Callable[[], AsyncGenerator[AnswerEvent, None]]
    ) -> AsyncGenerator[AnswerEvent, None]:
        """The events of an answer to `question`; in their place a refusal where it, or the answer, is not found safe.

        For a refused question nothing is searched and no model writes. Raises what `events` raises.
        """
        if (refusal := await self._refused(question, question)) is not None:
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
                if isinstance(event, Done) and (refusal := await self._refused(event.answer.text, question)):
                    held = [Delta(refusal.text), Done(refusal)]
        for event in held:
            yield event

    async def _refused(self, text: str, question: str) -> Answer | None:
        """The refusal, where `text` is not found safe."""
        try:
            if await self._judged(text):
                return None
        except TimeoutError:
            if self.allows_on_timeout:
                _log.warning("moderation_timed_out", allowed=True)
                return None
            _log.warning("moderation_timed_out", allowed=False)
            said = _NOBODY_JUDGES.get(detect(question), _NOBODY_JUDGES_IN_ENGLISH)
            return Answer(said, blocked=True)
        except (ModelUnavailable, PromptTooLong) as error:
            _log.warning("moderation_failed", error=type(error).__name__)
        _log.info("moderation_refused", question=text is question)
        return Answer(self.refusal or _REFUSED.get(detect(question), _REFUSED_IN_ENGLISH), blocked=True)

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
