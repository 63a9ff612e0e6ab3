# SPDX-License-Identifier: AGPL-3.0-or-later
"""What servers of models answer, as it is read: lines of text, JSON, and errors in it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import httpx

from context_chat_backend.errors import ModelFailure, ModelUnavailable

_LARGEST_EVENT = 1 << 20
_LARGEST_ERROR = 1 << 16
"""Bytes; what is larger is neither an event nor an error."""


class ServerRefuses(ModelUnavailable):
    """The server understands the request and does not do it, whenever it is sent.

    `error` is what it says about it, which may quote the request: it is for decisions, not for logs.
    """

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        failure = ModelFailure.AUTHENTICATION if status in (401, 403) else ModelFailure.BROKEN
        super().__init__(f"the model server refuses the request (status {status})", failure)
        self.status = status
        self.error = error


class BrokeOff(ModelUnavailable):
    """The answer ended before it was complete."""

    def __init__(self, text: str, failure: ModelFailure = ModelFailure.BROKEN) -> None:
        super().__init__(text, failure)


async def error_of(pieces: AsyncIterator[bytes]) -> Mapping[str, Any]:
    """What a refusal says, as far as it is understood."""
    said = b""
    try:
        async for piece in pieces:
            said += piece
            if len(said) > _LARGEST_ERROR:
                break
    except httpx.HTTPError:
        return {}
    return error_in(said)


def error_in(said: bytes) -> Mapping[str, Any]:
    """What an error says; nothing where it is not understood."""
    try:
        error = json.loads(said)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {"message": str(error)}


async def whole(chunks: AsyncIterator[bytes]) -> Any:
    """The JSON of a whole body. Raises BrokeOff."""
    said = b""
    async for piece in chunks:
        said += piece
        if len(said) > _LARGEST_EVENT:
            raise BrokeOff("the model's answer is too large")
    return parsed(said.decode("utf-8", "surrogateescape"))


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    """Lines of text; bytes that are no UTF-8 come as surrogates, since the next piece may hold their other half."""
    held = b""
    async for piece in chunks:
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r").decode("utf-8", "surrogateescape")
        if len(held) > _LARGEST_EVENT:
            raise BrokeOff("the model's answer holds an event that is too large")
    yield held.decode("utf-8", "surrogateescape")


def parsed(data: str) -> Any:
    """JSON. Raises BrokeOff."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BrokeOff("the model server answers something that is not JSON") from None


def without_error(event: Any, status: int) -> Any:
    """`event`, unless it is an error: some servers send them with status 200. Raises ServerRefuses."""
    if isinstance(event, dict) and event.get("error"):
        error = event["error"]
        raise ServerRefuses(status, error if isinstance(error, dict) else {"message": str(error)})
    return event
