# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers and the events of which they are made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from context_chat_backend.domain.questions import Passage
from context_chat_backend.domain.sources import SourceRef


class Finish(StrEnum):
    """Why a model stopped writing."""

    STOP = "stop"
    """It had said all."""
    LENGTH = "length"
    """It ran out of room: the answer is cut off."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one generation, as the model counts them."""

    prompt_tokens: int
    answer_tokens: int
    estimated: bool = False
    """The model did not say; it is our own count."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of what a language model writes."""

    finish: Finish
    usage: Usage | None = None
    """None: the model does not say."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A marker in the text of an answer that points to one passage."""

    start: int
    """Offset of the marker's first character in the answer's text."""
    end: int
    passage: Passage
    span: tuple[int, int] | None = None
    """Offsets in the passage's text of what the statement before the marker rests on; None: all of it."""
    matched: bool = False
    """Whether the model cited nothing there, and the passage was found by what the statement says."""

    @property
    def quote(self) -> str:
        """What the statement rests on, as the passage has it."""
        return self.passage.text if self.span is None else self.passage.text[slice(*self.span)]


@dataclass(frozen=True, slots=True)
class Answer:
    """Text whose claims carry citations."""

    text: str
    citations: tuple[Citation, ...] = ()
    passages: tuple[Passage, ...] = ()
    """All that the model was given, best first."""
    model: str = ""
    """Who wrote it; empty when nothing was found, so that nobody was asked."""
    unavailable: tuple[str, ...] = ()
    """Models that were asked before it and did not answer, in the order of the configuration."""
    finish: Finish = Finish.STOP
    usage: Usage | None = None
    blocked: bool = False
    """Whether it is a refusal: the question or what was answered was not found safe, or a source was lost meanwhile."""
    dropped: int = 0
    """So many passages were found or given, and found no room in the prompt."""

    @property
    def sources(self) -> tuple[SourceRef, ...]:
        """The cited sources in the order of their first citation, then the others that were read, each once."""
        return tuple(dict.fromkeys([*self.cited, *(passage.source for passage in self.passages)]))

    @property
    def cited(self) -> tuple[SourceRef, ...]:
        """The cited sources, each once, in the order of their first citation."""
        return tuple(dict.fromkeys(citation.passage.source for citation in self.citations))


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The first event of an answer: what it will be written from, best first.

    It comes again, and replaces what it said, when another model takes over before the text begins and reads more or
    fewer of the passages.
    """

    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """What follows in the text of an answer; never taken back."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation that the last piece of text completed; its offsets are those in the whole text."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class Done:
    """The last event: the whole answer, whose text is that of all pieces."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thinks before it answers, piece by piece: no part of the answer."""

    text: str


AnswerEvent = Retrieved | Reasoning | Delta | Cited | Done
