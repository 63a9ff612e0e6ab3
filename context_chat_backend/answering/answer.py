# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a question: retrieve what the asker may read, prompt a language model, cite."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from context_chat_backend.answering import prompt
from context_chat_backend.answering.citations import CitedText
from context_chat_backend.answering.direct import direct_answer
from context_chat_backend.answering.followups import stands_alone
from context_chat_backend.answering.moderation import Moderation
from context_chat_backend.answering.nothing import nothing_found, withdrawn
from context_chat_backend.answering.relevance import relevant
from context_chat_backend.answering.rights import Sight, seen
from context_chat_backend.answering.secrecy import Discreet
from context_chat_backend.answering.thoughts import Thoughts
from context_chat_backend.answering.writing import Writer, bounded
from context_chat_backend.domain import (
    Answer,
    AnswerEvent,
    Citation,
    Cited,
    Delta,
    Done,
    Ended,
    Finish,
    Passage,
    Prompt,
    Question,
    Reasoning,
    Retrieved,
    Usage,
)
from context_chat_backend.errors import InvalidRequest, ModelUnavailable, PromptTooLong
from context_chat_backend.logs import get_logger
from context_chat_backend.metrics import MODEL_FAILURES
from context_chat_backend.ports import LanguageModel
from context_chat_backend.retrieval.retrieve import Retriever
from context_chat_backend.steps import Step, step

_log = get_logger(__name__)

_CUT_OFF = " …"
"""What follows an answer that ran out of room, in any language."""
_NO_WRITER = "No language model is configured that can answer without documents."


class Answering:
    """Answers questions with the first of some language models that is there."""

    def __init__(self, retriever: Retriever, writers: Sequence[Writer], moderation: Moderation | None = None) -> None:
        """`writers` in the order in which they are asked; at least one. Without `moderation` nobody judges."""
        self._retriever = retriever
        self._writers = tuple(writers)
        self._moderation = moderation

    def stream(self, question: Question, sight: Sight | None = None) -> AsyncGenerator[AnswerEvent, None]:
        """The events of an answer from what the asker may read: Retrieved, Delta and Cited in turn, Done.

        With `sight` passages are left out whose sources the asker does not see any more, before the model reads them.
        An honest sentence without citations, and no model call, when there is nothing. A model that is not there
        before its text begins gives way to the next. What is not found safe is refused. Closing the generator stops
        the generation. Raises InvalidRequest, ModelUnavailable, DatabaseUnavailable.
        """
        return self._watched(question, lambda: self._found_and_written(question, sight))

    def converse(self, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        """The events of an answer without any document: Delta, Done.

        The scope of the question is not looked at. Raises InvalidRequest, ModelUnavailable.
        """
        return self._watched(question, lambda: self._written(question, None, self._turns(question)))

    def _watched(
        self, question: Question, events: Callable[[], AsyncGenerator[AnswerEvent, None]]
    ) -> AsyncGenerator[AnswerEvent, None]:
        return events() if self._moderation is None else self._moderation.watched(question, events)

    async def _found_and_written(self, question: Question, sight: Sight | None) -> AsyncGenerator[AnswerEvent, None]:
        turns = self._turns(question)
        if not question.alone:
            question = replace(question, alone=await stands_alone(question.text, question.turns, turns.writer))
        refusal = await self._refusal(question)
        passages = () if refusal else await self._readable(question, sight)
        said = refusal or await self._said_at_once(question, passages, turns.writer)
        if said is None:
            async with aclosing(self._written(question, passages or None, turns)) as events:
                async for event in events:
                    yield event
            return
        if refusal is None:
            yield Retrieved(said.passages)
        for event in _sentence(said):
            yield event

    async def _refusal(self, question: Question) -> Answer | None:
        """What is said to a question that means something else than its words, and may not be asked."""
        if self._moderation is None or question.meant == question.text:
            return None
        return await self._moderation.refusal([question.meant], question)

    async def _said_at_once(self, question: Question, passages: Sequence[Passage], writer: Writer) -> Answer | None:
        """The answer where no model has to write it."""
        if passages:
            return await direct_answer(question, passages, self._retriever, writer)
        return None if question.answers_alone else _nothing(question)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the language models, in the order in which they are asked."""
        return tuple(writer.model.name for writer in self._writers)

    def _turns(self, question: Question) -> _Turns:
        """From the model that is wanted on. Raises InvalidRequest when there is no such model."""
        if not question.model:
            return _Turns(self._writers)
        if question.model not in self.models:
            raise InvalidRequest("model: there is no language model of that name")
        return _Turns(self._writers[self.models.index(question.model) :])

    async def _written(
        self, question: Question, passages: Sequence[Passage] | None, turns: _Turns
    ) -> AsyncGenerator[AnswerEvent, None]:
        """What the first model that is there writes from `passages`; from what it knows where they are None."""
        shown: tuple[Passage, ...] | None = None
        while True:
            growing = _GrowingAnswer(None, Discreet((), ()), Discreet((), ()))
            try:
                with step(Step.PROMPT):
                    asked, dropped = await self._asked(question, passages, turns.writer)
                if passages is not None and shown != asked.passages:
                    shown = asked.passages
                    yield Retrieved(shown)
                growing = _GrowingAnswer(
                    None if passages is None else asked.passages,
                    _discreet(asked, turns.writer),
                    _discreet(asked, turns.writer),
                )
                async with step(Step.WRITE), aclosing(growing.events(turns.writer.model, asked)) as events:
                    async for event in events:
                        yield event
                break
            except (ModelUnavailable, PromptTooLong) as error:
                if growing.has_begun or not turns.go_on(error):
                    raise
        if growing.has_begun:
            answer = await growing.answer(turns.writer.model, asked, turns.unavailable)
            yield Done(await self._as_readable_now(question, replace(answer, dropped=dropped)))
        else:
            for event in _sentence(Answer(_NO_WRITER) if passages is None else _nothing(question)):
                yield event

    async def _readable(self, question: Question, sight: Sight | None) -> list[Passage]:
        found: list[Passage] = []
        if question.searches:
            found = relevant(question, await self._retriever.passages(replace(question, text=question.meant)))
        found = found if sight is None else list(await seen(found, sight))
        given: dict[str, Passage] = {}
        for passage in question.given:
            given.setdefault(passage.text.strip(), passage)
        return [*given.values(), *(passage for passage in found if passage.text.strip() not in given)]

    async def _as_readable_now(self, question: Question, answer: Answer) -> Answer:
        """The answer, unless its asker has lost one of its sources while it was written (ruling 7)."""
        given = {passage.source for passage in question.given}
        found = [passage for passage in answer.passages if passage.source not in given]
        if not await self._retriever.lost(question.asker, found):
            return answer
        return replace(withdrawn(question.text), model=answer.model, unavailable=answer.unavailable, usage=answer.usage)

    async def _asked(
        self, question: Question, passages: Sequence[Passage] | None, writer: Writer
    ) -> tuple[Prompt, int]:
        """The prompt, and how many passages found no room in it."""
        question = await prompt.with_fitting_turns(question, writer)
        if passages is None:
            return await prompt.build_chat(question, writer), 0
        # Joined after the cut: a long joined passage would otherwise push better ones out of a small context.
        fitting = await prompt.fitting(question, passages, writer)
        if passages and not fitting:
            return await prompt.build_chat(question, writer), len(passages)
        kept = {passage.chunk_id for passage in fitting}
        whole = [passage for passage in passages if passage.chunk_id in kept]
        joined = await self._retriever.joined(question.asker, whole)
        asked = await prompt.build(question, joined, writer)
        return asked, len(passages) - len(fitting) + len(joined) - len(asked.passages)


class _GrowingAnswer:
    """What one model writes, as events."""

    def __init__(self, passages: tuple[Passage, ...] | None, discreet: Discreet, thinking: Discreet) -> None:
        """Without passages what is written comes out as it is. `discreet` hears it, `thinking` the thoughts before."""
        self._discreet = discreet
        self._passages = passages or ()
        self._written: CitedText | _PlainText = _PlainText() if passages is None else CitedText(passages)
        self._thoughts = Thoughts(thinking)
        self._ended = Ended(Finish.STOP)

    @property
    def has_begun(self) -> bool:
        """Whether some of the text is out, and cannot be taken back."""
        return bool(self._written.text)

    async def events(self, model: LanguageModel, asked: Prompt) -> AsyncGenerator[AnswerEvent, None]:
        """Delta and Cited in turn. Raises as `model.stream` does."""
        async with aclosing(bounded(model, asked)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Ended):
                    self._ended = piece
                elif isinstance(piece, Reasoning):
                    for thought in self._thoughts.add(piece.text):
                        yield thought
                else:
                    for thought in self._thoughts.end():
                        yield thought
                    for event in self._new(self._written.add(self._discreet.add(piece))):
                        yield event
        for thought in self._thoughts.end():
            yield thought
        rest = self._written.add(self._discreet.end()) + self._written.end()
        if self._ended.finish is Finish.LENGTH and self.has_begun:
            rest += self._written.add(_CUT_OFF) + self._written.end()
        for event in self._new(rest):
            yield event

    async def answer(self, model: LanguageModel, asked: Prompt, unavailable: tuple[str, ...]) -> Answer:
        """The whole. Tokens are counted where the model did not say how many they were."""
        return Answer(
            self._written.text,
            self._written.citations,
            self._passages,
            model.name,
            unavailable,
            self._ended.finish,
            self._ended.usage or await self._counted(model, asked),
        )

    async def _counted(self, model: LanguageModel, asked: Prompt) -> Usage | None:
        try:
            counts = await model.count_tokens([*(message.text for message in asked.messages), self._written.text])
        except ModelUnavailable:
            return None
        return Usage(sum(counts[:-1]), counts[-1], estimated=True)

    def _new(self, text: str) -> Iterator[AnswerEvent]:
        """What `text`, just added, is to those who follow it."""
        if text:
            yield Delta(text)
            begins = len(self._written.text) - len(text)
            yield from (Cited(citation) for citation in self._written.citations if citation.start >= begins)


class _PlainText:
    """Text of a model that has read nothing but what its asker wrote: it comes out as it is."""

    citations: tuple[Citation, ...] = ()

    def __init__(self) -> None:
        self.text = ""

    def add(self, piece: str) -> str:
        """`piece`, which is part of the text now."""
        self.text += piece
        return piece

    def end(self) -> str:
        """Nothing was held back."""
        return ""


class _Turns:
    """Whose turn it is to write, and who could not."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._waiting = list(writers)
        self._was_too_long = False
        self.unavailable: tuple[str, ...] = ()

    @property
    def writer(self) -> Writer:
        return self._waiting[0]

    def go_on(self, error: ModelUnavailable | PromptTooLong) -> bool:
        """Whether to try again: once with the same model when it has learned its limit, else with the next."""
        if isinstance(error, PromptTooLong):
            again, self._was_too_long = not self._was_too_long, True
            return again
        name = self.writer.model.name
        MODEL_FAILURES.labels("language").inc()
        _log.warning("language_model_unavailable", model=name, reason=str(error), others=len(self._waiting) - 1)
        if len(self._waiting) == 1:
            return False
        self._waiting.pop(0)
        self._was_too_long = False
        self.unavailable += (name,)
        return True


def _discreet(asked: Prompt, writer: Writer) -> Discreet:
    """Who reads passages may be told by them to recite its instructions; without passages nobody tells it."""
    if not asked.passages:
        return Discreet((), ())
    template = writer.templates.with_passages
    instructions = [message.text for message in asked.messages if message.role == "system"]
    return Discreet(
        [template] if asked.filled and template is not None else instructions,
        [asked.question, *(text for passage in asked.passages for text in (passage.title, passage.text))],
    )


def _nothing(question: Question) -> Answer:
    return Answer(question.nothing) if question.nothing else nothing_found(question.text, question.scope)


def _sentence(answer: Answer) -> Iterator[AnswerEvent]:
    """A sentence of our own."""
    yield Delta(answer.text)
    yield Done(answer)
