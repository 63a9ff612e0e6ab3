# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a question: retrieve what the asker may read, prompt the language model, cite."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from context_chat_backend.answering import prompt
from context_chat_backend.answering.citations import CitedText
from context_chat_backend.answering.rights import Sight, seen
from context_chat_backend.domain import Answer, AnswerEvent, Cited, Delta, Done, Principal, Prompt, Question, Retrieved
from context_chat_backend.language import detect
from context_chat_backend.ports import LanguageModel
from context_chat_backend.retrieval.retrieve import Retriever

_NOTHING_FOUND = {
    "german": "In den Dokumenten, die Sie lesen dürfen, habe ich dazu nichts gefunden.",
    "french": "Je n'ai rien trouvé à ce sujet dans les documents que vous pouvez lire.",
    "spanish": "No he encontrado nada sobre esto en los documentos que usted puede leer.",
    "italian": "Non ho trovato nulla al riguardo nei documenti che può leggere.",
    "dutch": "In de documenten die u mag lezen heb ik hierover niets gevonden.",
}
_NOTHING_FOUND_IN_ENGLISH = "I found nothing about this in the documents you can read."
_NO_WRITER = "No language model is configured that can answer without documents."


class Answering:
    """Answers questions with one language model."""

    def __init__(self, retriever: Retriever, model: LanguageModel) -> None:
        self._retriever = retriever
        self._model = model

    async def stream(self, question: Question, sight: Sight | None = None) -> AsyncGenerator[AnswerEvent, None]:
        """The events of an answer from what the asker may read: Retrieved, Delta and Cited in turn, Done.

        With `sight` passages are left out whose sources the asker does not see any more, before the model reads them.
        An honest sentence without citations, and no model call, when there is nothing. Closing the generator stops
        the generation. Raises InvalidRequest, ModelUnavailable, DatabaseUnavailable.
        """
        passages = await self._retriever.passages(question)
        if sight is not None:
            passages = await seen(passages, sight)
        # Joined after the cut: a long joined passage would otherwise push better ones out of a small context.
        fitting = prompt.fitting(question, passages, self._model)
        asked = prompt.build(question, await self._retriever.joined(question.asker, fitting), self._model)
        yield Retrieved(asked.passages)
        written = CitedText(asked.passages)
        if asked.passages:
            async with aclosing(self._model.stream(asked)) as pieces:
                async for piece in pieces:
                    for event in _events(written, written.add(piece)):
                        yield event
            for event in _events(written, written.end()):
                yield event
        if written.text:
            yield Done(Answer(written.text, written.citations, asked.passages, self._model.name))
        else:
            nothing = nothing_found(question.text)
            yield Delta(nothing.text)
            yield Done(nothing)

    async def answer(self, question: Question) -> Answer:
        """The answer of `stream` at once. Raises as it does."""
        async with aclosing(self.stream(question)) as events:
            async for event in events:
                if isinstance(event, Done):
                    return event.answer
        raise AssertionError("an answer ends with Done")

    async def chat(self, text: str, asker: Principal) -> str:
        """What the model says to `asker` without any document. Raises ModelUnavailable."""
        return await self._write(prompt.build_chat(text, asker)) or _NO_WRITER

    async def _write(self, asked: Prompt) -> str:
        # Closing the stream on a cancelled question stops the generation too.
        async with aclosing(self._model.stream(asked)) as pieces:
            return "".join([piece async for piece in pieces]).strip()


def _events(written: CitedText, text: str) -> Iterator[AnswerEvent]:
    """What `text`, just added to `written`, is to those who follow it."""
    if text:
        yield Delta(text)
        begins = len(written.text) - len(text)
        yield from (Cited(citation) for citation in written.citations if citation.start >= begins)


def nothing_found(question: str) -> Answer:
    """The honest sentence, in the language of the question where we have it."""
    return Answer(_NOTHING_FOUND.get(detect(question), _NOTHING_FOUND_IN_ENGLISH))
