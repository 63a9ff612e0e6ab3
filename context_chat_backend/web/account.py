# SPDX-License-Identifier: AGPL-3.0-or-later
"""The account of one answer: what it takes is booked when it ends, however it ends, and what was said is written down.

A use is one row in the database and one line in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from fastapi import Request

from context_chat_backend.domain import Answer, Question, Usage
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.store.uses import Use
from context_chat_backend.token_estimates import booked_tokens
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.chat_record import write_down
from context_chat_backend.web.envelope import CANCELLED, ApiError, api_error
from context_chat_backend.web.safe import CONTENT_REFUSED
from context_chat_backend.wiring import Backend

_PAUSE_SECONDS = 0.05
"""Before a use is written down: the answer goes out first, and the uses of many answers are written together."""
_log = get_logger(__name__)


@dataclass
class Account:
    """What an answer takes, from its beginning on."""

    request: Request
    caller: Caller
    surface: str
    read: int
    """Bytes the model is given."""
    question: Question | None = None
    """What is asked, where the exchange is written down."""
    answer: Answer = field(default_factory=lambda: Answer(""))
    """What is known of it: who writes, from what, the tokens as the model counts them."""
    said: list[str] = field(default_factory=list)
    written: int = 0
    """Bytes that came, with those that are not shown."""
    begun: float = field(default_factory=time.monotonic)
    first: float | None = None
    status: int = CANCELLED

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Around the answer, up to its end. Raises what is raised there as ApiError."""
        try:
            yield
        except Exception as error:
            told = api_error(error)
            self.status = told.status_code
            if told.code == CONTENT_REFUSED:  # the record holds what the asker reads instead
                self.answer = replace(self.answer, text=told.detail, blocked=True)
            raise told from None
        finally:
            self._close()

    @contextmanager
    def kept_if_refused(self) -> Iterator[None]:
        """Around what judges the question: where it is refused, that is the end. Raises what is raised there."""
        try:
            yield
        except ApiError as error:
            if error.code != CONTENT_REFUSED:
                raise
            with self.kept():
                raise

    def hear(self, text: str = "", *, shown: bool = True) -> None:
        """Something came."""
        self.first = self.first or time.monotonic()
        self.written += len(text.encode(errors="replace"))
        if shown and self.question is not None:
            self.said.append(text)

    @property
    def usage(self) -> Usage:
        """As the model counts; our estimate where it does not."""
        return self.answer.usage or Usage(booked_tokens(self.read), booked_tokens(self.written), estimated=True)

    def _close(self) -> None:
        has_begun = self.first is not None or self.status == CANCELLED
        usage = self.usage if has_begun or self.answer.usage is not None else Usage(0, 0)
        use = Use(
            self.caller.key_id,
            self.caller.asker,
            self.surface,
            self.answer.model,
            usage.prompt_tokens,
            usage.answer_tokens,
            None if self.first is None else _milliseconds(self.first - self.begun),
            _milliseconds(time.monotonic() - self.begun),
            self.status,
            cancelled=self.status == CANCELLED,
        )
        book(self.request, use)
        if self.question is not None:
            text = self.answer.text or "".join(self.said)
            write_down(self.request, self.question, replace(self.answer, text=text), use)


def book(request: Request, use: Use) -> None:
    """Log a use, and write it down, beside everything else."""
    backend: Backend = request.app.state.backend
    writing = asyncio.ensure_future(_written(backend, request.state.request_id, use))
    request.app.state.writing.add(writing)  # the loop itself holds tasks weakly
    writing.add_done_callback(request.app.state.writing.discard)


async def _written(backend: Backend, request_id: str, use: Use) -> None:
    await asyncio.sleep(_PAUSE_SECONDS)
    _log.info(
        "answered",
        request_id=request_id,
        surface=use.surface,
        key=use.key_id,
        model=use.model,
        status=use.status,
        prompt_tokens=use.prompt_tokens,
        answer_tokens=use.answer_tokens,
        first_ms=use.first_byte_ms,
        total_ms=use.total_ms,
    )
    with suppress(DatabaseUnavailable):  # it is written with the next one
        await backend.uses.book(use)


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
