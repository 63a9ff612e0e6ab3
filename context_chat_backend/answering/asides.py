# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small requests to a language model beside the answer itself; one that fails costs nothing but its time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from context_chat_backend.answering.writing import Writer, bounded
from context_chat_backend.domain import Message, Prompt, Sampling
from context_chat_backend.errors import ModelUnavailable, PromptTooLong
from context_chat_backend.logs import get_logger

_SECONDS = 20.0
_log = get_logger(__name__)


async def aside(writer: Writer, instructions: str, text: str, tokens: int) -> str:
    """What the model makes of `text`, in at most `tokens`; '' when it does not answer in time."""
    messages = (Message("system", instructions), Message("user", text))
    asked = Prompt(messages, text, (), sampling=Sampling(temperature=0.0, max_tokens=tokens))
    written = ""
    try:
        async with asyncio.timeout(_SECONDS), aclosing(bounded(writer.model, asked)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    written += piece
    except (ModelUnavailable, PromptTooLong, TimeoutError) as error:
        _log.warning("aside_failed", model=writer.model.name, error=type(error).__name__)
        return ""
    return written.strip()
