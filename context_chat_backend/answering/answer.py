# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a question: retrieve what the asker may read, prompt the language model, cite."""

from __future__ import annotations

from contextlib import aclosing

from context_chat_backend.answering import prompt
from context_chat_backend.answering.citations import cite
from context_chat_backend.domain import Answer, Prompt, Question
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

    async def answer(self, question: Question) -> Answer:
        """An answer from what the asker may read, cited; an honest sentence, uncited, when there is nothing.

        Raises InvalidRequest, ModelUnavailable, DatabaseUnavailable.
        """
        passages = await self._retriever.passages(question)
        if not passages:
            return nothing_found(question.text)
        # Joined after the cut: a long joined passage would otherwise push better ones out of a small context.
        fitting = prompt.fitting(question, passages, self._model)
        asked = prompt.build(question, await self._retriever.joined(question.asker, fitting), self._model)
        text = await self._write(asked)
        return cite(text, asked.passages) if text else nothing_found(question.text)

    async def chat(self, text: str) -> str:
        """What the model says without any document. Raises ModelUnavailable."""
        return await self._write(prompt.build_chat(text)) or _NO_WRITER

    async def _write(self, asked: Prompt) -> str:
        # Closing the stream on a cancelled question stops the generation too.
        async with aclosing(self._model.stream(asked)) as pieces:
            return "".join([piece async for piece in pieces]).strip()


def nothing_found(question: str) -> Answer:
    """The honest sentence, in the language of the question where we have it."""
    return Answer(_NOTHING_FOUND.get(detect(question), _NOTHING_FOUND_IN_ENGLISH))
