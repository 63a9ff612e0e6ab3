# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who writes answers, and bounds on what any of them may write."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from context_chat_backend.domain import Ended, Finish, Prompt, Reasoning
from context_chat_backend.ports import LanguageModel

_CHARACTERS_PER_TOKEN = 16
"""More than those of any answer that means something: who writes on does not keep to its limit."""


@dataclass(frozen=True, slots=True)
class Templates:
    """Prompts in the administrator's words, as configuration files of the reference hold them."""

    with_passages: str | None = None
    """Holds `{context}` and `{question}`; None: our own instructions."""
    alone: str | None = None
    """Holds `{question}`, for questions that are not about documents."""
    stop: tuple[str, ...] = ()
    """Where one of these would begin, the answer ends."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A language model with the prompts it is given."""

    model: LanguageModel
    templates: Templates = Templates()
    writes_asides: bool = False
    """Whether it may be asked more than once for one answer."""

    @property
    def may_be_asked_beside(self) -> bool:
        """Whether it can put a follow-up in other words, and sum up: who has templates does not know other orders."""
        return self.writes_asides and self.templates.with_passages is None and self.templates.alone is None


async def bounded(model: LanguageModel, prompt: Prompt) -> AsyncGenerator[str | Reasoning | Ended, None]:
    """What `model` writes, up to the first of `prompt.stop`, and no endless text. Raises as `model.stream` does."""
    left = (prompt.sampling.max_tokens or model.answer_tokens) * _CHARACTERS_PER_TOKEN
    held, ended = "", Ended(Finish.STOP)
    async with aclosing(model.stream(prompt)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Ended):
                ended = piece
                break
            if isinstance(piece, Reasoning):
                yield piece
                continue
            held += piece
            if (end := _stop(held, prompt.stop)) is not None:
                if end:
                    yield held[:end]
                yield Ended(Finish.STOP)
                return
            safe = len(held) - _begun(held, prompt.stop)
            if safe >= left:
                yield held[:left]
                yield Ended(Finish.LENGTH)
                return
            if safe:
                yield held[:safe]
                held, left = held[safe:], left - safe
    if held:
        yield held
    yield ended


def _stop(text: str, stops: tuple[str, ...]) -> int | None:
    """Where the first stop begins in `text`."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(found, default=None)


def _begun(text: str, stops: tuple[str, ...]) -> int:
    """How many characters at the end of `text` may be the beginning of a stop."""
    return max((n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
