# SPDX-License-Identifier: AGPL-3.0-or-later
"""What servers answer has a bound: one that sends without end, or little that unpacks to much, fails as one that broke.

Whoever reads such an answer sees an error of httpx, as of a connection that was cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from context_chat_backend.limits import Limits

MOST = Limits.answer_bytes
"""Where nothing else is configured."""
_MARK = "context_chat_backend.bounded_elsewhere"
BOUNDED_ELSEWHERE = {_MARK: True}
"""Extensions of a request whose answer is counted by who reads it: a file, say."""


class AnswerTooLarge(httpx.RemoteProtocolError):
    """The answer of a server is larger than it may be."""


class AnswerPacked(httpx.RemoteProtocolError):
    """The answer of a server is compressed, though that was not wanted: how large it is nobody knows."""


def bound(client: httpx.AsyncClient, most: int) -> httpx.AsyncClient:
    """`client`, whose answers have at most `most` bytes and are not compressed; else reading them raises HTTPError."""

    async def watch(answer: httpx.Response) -> None:
        if answer.request.extensions.get(_MARK):
            return
        if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise AnswerPacked("the answer is compressed")
        length = answer.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > most:
            raise AnswerTooLarge(f"the answer has more than {most} bytes")
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        answer.stream = _Counted(answer.stream, most)

    client.headers["Accept-Encoding"] = "identity"
    client.event_hooks["response"] = [*client.event_hooks["response"], watch]
    return client


class _Counted(httpx.AsyncByteStream):
    """A body, as far as it may go."""

    def __init__(self, body: httpx.AsyncByteStream, most: int) -> None:
        self._body = body
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        async for piece in self._body:
            left -= len(piece)
            if left < 0:
                raise AnswerTooLarge(f"the answer has more than {self._most} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()
