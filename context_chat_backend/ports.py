# SPDX-License-Identifier: AGPL-3.0-or-later
"""The interfaces that have several implementations, with as few verbs as those share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from context_chat_backend.domain import EmbeddingSpace, Ended, Prompt, Reasoning

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Turns text into vectors of one embedding space."""

    async def open(self) -> None:
        """Learn what `space` says; comes first. Raises ConfigurationError, ModelUnavailable."""
        ...

    @property
    def device(self) -> str:
        """What computes: 'cpu', 'cuda', 'remote', …; as far as it is known yet."""
        ...

    @property
    def space(self) -> EmbeddingSpace:
        """Model, dimension and prefixes. Vectors of two embedders may be compared only when this is equal."""
        ...

    @property
    def max_tokens(self) -> int:
        """How many tokens of a passage the model reads, beside its prefix and marks of its own.

        The first use may load the tokenizer. Raises ModelUnavailable.
        """
        ...

    def token_starts(self, text: str) -> Sequence[int]:
        """The offsets at which the tokens of `text` begin, in ascending order, without marks of the model's own.

        An upper estimate where the tokenizer is not known. Blocks, and may be called from any thread. Raises
        ModelUnavailable.
        """
        ...

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, shape (len(texts), dimension), each of length 1.

        Texts longer than the model reads are cut at the model's limit. An empty sequence gives shape (0, dimension).
        Raises ModelUnavailable.
        """
        ...

    async def embed_question(self, text: str) -> Vectors:
        """The vector of a question, shape (dimension,), of length 1. Raises ModelUnavailable."""
        ...

    async def close(self) -> None:
        """Give back threads, processes and connections."""
        ...


class Reranker(Protocol):
    """Judges how well texts answer a question, reading both together."""

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """One number for each text: the larger, the better it answers the question.

        The scale is the model's own, so that only numbers of one call may be compared. All alike means: no opinion.
        NaN means no opinion of one text, whose number its similarity stays, from 0 to 1.
        Texts longer than the model reads are cut at the model's limit. Raises ModelUnavailable.
        """
        ...

    async def close(self) -> None:
        """Give back threads, processes and connections."""
        ...


class Moderator(Protocol):
    """Judges whether a text is safe."""

    async def allows(self, text: str) -> bool:
        """Whether it is found safe; what cannot be understood as a yes is a no. Raises ModelUnavailable."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class LanguageModel(Protocol):
    """Writes an answer."""

    @property
    def name(self) -> str:
        """What an answer says it was written by."""
        ...

    @property
    def answer_tokens(self) -> int:
        """How many tokens an answer may have at most."""
        ...

    async def context_tokens(self) -> int:
        """How many tokens prompt and answer may have together.

        The first use may load the model or ask its server. Raises ModelUnavailable.
        """
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each of `texts` has for this model; an upper estimate where the tokenizer is not known.

        Raises ModelUnavailable.
        """
        ...

    async def check(self) -> None:
        """Find out quickly whether it could write now, without loading it. Raises ModelUnavailable."""
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | Reasoning | Ended, None]:
        """The answer's text, piece by piece, with citation markers `[n]` (Prompt.passages[n - 1]); Ended is the last.

        A piece is never empty and holds whole characters. What a model thinks before it answers comes as Reasoning,
        where it is told apart. Closing the iterator stops the generation. Raises ModelUnavailable, at any time, and
        PromptTooLong before the first piece.
        """
        ...

    async def close(self) -> None:
        """Give back threads, processes and connections."""
        ...


class Exchange(StrEnum):
    """What is passed on, by the last part of OpenAI's path."""

    TEXT = "completions"
    """A text, and what follows it."""
    CHAT = "chat/completions"


class Relay(Protocol):
    """Passes requests on to a model as OpenAI's clients write them, and its answers back."""

    def passed(self, exchange: Exchange, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The answer to `body`: one object, or with `stream` its chunks, whose last may hold no choice but `usage`.

        The `prompt` of a text is one text; the model's name in `body` is not looked at. Closing the iterator stops
        the generation. Raises InvalidRequest, PromptTooLong, ModelUnavailable.
        """
        ...
