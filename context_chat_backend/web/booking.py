# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an answer took is booked when it ends, however it ends: one row, and one line in the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace

from fastapi import Request

from context_chat_backend.domain import (
    Answer,
    AnswerEvent,
    Delta,
    Done,
    Passage,
    Question,
    Reasoning,
    Retrieved,
    Usage,
)
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.store.uses import Use
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.chat_record import write_down
from context_chat_backend.web.envelope import api_error
from context_chat_backend.web.guarding import guarded, still_allowed
from context_chat_backend.wiring import Backend

_CANCELLED = 499
_BYTES_PER_TOKEN = 4
_PAUSE_SECONDS = 0.05
"""Before a use is written down: the answer goes out first, and the uses of many answers are written together."""
_log = get_logger(__name__)


async def booked(
    events: AsyncGenerator[AnswerEvent, None], question: Question, request: Request, caller: Caller, surface: str
) -> AsyncGenerator[AnswerEvent, None]:
    """`events` of `question` as they are, and at their end what they took. Raises what they raise as ApiError.

    They end on their way when the caller may not have them any more. Where the end does not come, as the caller leaves
    or the model breaks off, what they took is estimated.
    """
    begun = time.monotonic()
    first: float | None = None
    status = _CANCELLED
    answer = Answer("")
    passages: tuple[Passage, ...] = ()
    said = ""
    written = 0
    look = still_allowed(request.app.state.backend, caller, question.scope, request.state.request_id)
    try:
        async with aclosing(guarded(events, look, is_last=lambda event: isinstance(event, Done))) as coming:
            async for event in coming:
                first = first or time.monotonic()
                match event:
                    case Retrieved():
                        passages = event.passages
                    case Delta() | Reasoning():
                        written += len(event.text.encode())
                        said += event.text if isinstance(event, Delta) else ""
                    case Done():
                        answer, status = event.answer, 200
                yield event
    except Exception as error:
        told = api_error(error)
        status = told.status_code
        raise told from None
    finally:
        usage = answer.usage or Usage(0, 0)
        if answer.usage is None and status != 200 and (first is not None or status == _CANCELLED):
            usage = Usage(_tokens(_read(question, passages)), _tokens(written))
        used = Use(
            caller.key_id,
            caller.asker,
            surface,
            answer.model,
            usage.prompt_tokens,
            usage.answer_tokens,
            None if first is None else _milliseconds(first - begun),
            _milliseconds(time.monotonic() - begun),
            status,
            cancelled=status == _CANCELLED,
        )
        book(request, used)
        write_down(
            request, question, replace(answer, text=answer.text or said, passages=answer.passages or passages), used
        )


def book(request: Request, use: Use) -> None:
    """Log a use, and write it down beside everything else."""
    _log.info(
        "answered",
        request_id=request.state.request_id,
        surface=use.surface,
        key=use.key_id,
        model=use.model,
        status=use.status,
        prompt_tokens=use.prompt_tokens,
        answer_tokens=use.answer_tokens,
        first_ms=use.first_byte_ms,
        total_ms=use.total_ms,
    )
    backend: Backend = request.app.state.backend
    writing = asyncio.ensure_future(_written(backend, use))
    request.app.state.writing.add(writing)  # the loop itself holds tasks weakly
    writing.add_done_callback(request.app.state.writing.discard)


async def _written(backend: Backend, use: Use) -> None:
    await asyncio.sleep(_PAUSE_SECONDS)
    with suppress(DatabaseUnavailable):  # the line in the log must do
        await backend.uses.book(use)


def _read(question: Question, passages: tuple[Passage, ...]) -> int:
    """About how many bytes a model was given."""
    texts = [question.text, question.instructions, *(turn.text for turn in question.turns)]
    return sum(len(text.encode()) for text in [*texts, *(passage.text for passage in passages)])


def _tokens(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
