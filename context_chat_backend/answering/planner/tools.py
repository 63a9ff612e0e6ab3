# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tools over catalogues and documents: each is declared once, with its arguments, its function and its text for models.

From its declaration a tool is served as a route, called by the architect, and shown to a language model. How to add one
is told in docs/planner.md.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from context_chat_backend.domain import Passage, Principal, Question, Scope, SourceRef
from context_chat_backend.errors import ContextChatError
from context_chat_backend.logs import get_logger
from context_chat_backend.settings.planner import PlannerSettings
from context_chat_backend.store.catalogues import Catalogues
from context_chat_backend.store.model_cards import ModelCards

_log = get_logger(__name__)


class EmbeddingMismatch(ContextChatError):
    """Cards were embedded by another model, or cut otherwise, than is configured. The text says what to do."""

    public = True


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it must be valid Unicode") from None
    if "\x00" in text:
        raise ValueError("it holds a NUL character")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank")
    return text


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable), AfterValidator(_not_blank)]
Query = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_storable), AfterValidator(_not_blank)]


class Arguments(BaseModel):
    """What a tool is given: no other names, no texts in the place of numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Found:
    """What a tool has found."""

    body: dict[str, Any]
    """As JSON, with the rows in `results`."""
    rows: Sequence[Any] = ()
    """The same as objects, in the same order, for those who go on with them."""


@dataclass(frozen=True)
class Workplace:
    """What tools work with: the pool, the embedder and the rights of the rest of the program."""

    catalogues: Catalogues
    cards: ModelCards
    settings: PlannerSettings
    embed: Callable[[str], Awaitable[NDArray[np.float32]]]
    """The vector of a question. Raises ModelUnavailable."""
    embedding_model: Callable[[], str]
    """The name of the model that makes it."""
    passages: Callable[[Question], Awaitable[list[Passage]]]
    """What the asker may read."""
    lost: Callable[[Principal, Sequence[Passage]], Awaitable[set[SourceRef]]]
    """Sources of passages, found before, that the asker may not read any more."""


@dataclass(frozen=True)
class Tool:
    """A declaration. `name` is that of its route and of the tool for models."""

    name: str
    about: str
    """One sentence: what it finds."""
    arguments: type[Arguments]
    use: Callable[[Workplace, Principal, Scope, Any], Awaitable[Found]]
    told: Callable[[Found], str]
    """What a language model reads of what was found."""
    example: Mapping[str, Any]
    """Arguments of a call that makes sense."""

    async def run(self, place: Workplace, asker: Principal, scope: Scope, arguments: Arguments) -> Found:
        """Use it in the name of `asker`, whose documents are looked for within `scope`.

        Raises EmbeddingMismatch, ModelUnavailable, DatabaseUnavailable.
        """
        with self.logged() as rows:
            found = await self.use(place, asker, scope, arguments)
            rows += found.rows
        return found

    @contextmanager
    def logged(self) -> Iterator[list[Any]]:
        """Logs a use at its end, and how many rows were put into the list it gives."""
        rows: list[Any] = []
        started = time.perf_counter()
        yield rows
        milliseconds = round((time.perf_counter() - started) * 1000)
        _log.info("tool_used", tool=self.name, rows=len(rows), milliseconds=milliseconds)


def number(value: Any) -> float | None:
    """A number of the store as it stands in JSON."""
    return None if value is None else float(value)
