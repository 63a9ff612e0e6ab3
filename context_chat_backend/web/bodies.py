# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bodies of requests: as long as they may be, as fast as they have to be, nested as deeply as they may be."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive

from context_chat_backend.limits import Limits
from context_chat_backend.web.errors import Refusal

_GONE = {"Connection": "close"}
"""What else would come of a refused body is not waited for."""
_TOO_SLOW = "the body of the request came too slowly"
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


class BoundedRequest(Request):
    """A request whose body raises Refusal (400, 408, 413) instead of exceeding a limit."""

    def __init__(self, request: Request, max_bytes: int, limits: Limits, *, slow_status: int = 408) -> None:
        """`request` is taken over; of its body at most `max_bytes` come. `slow_status` takes the place of 408."""
        super().__init__(request.scope, bounded(request.receive, max_bytes, limits, slow_status))
        self._limits = limits

    async def json(self) -> Any:
        """The decoded body."""
        decoded = await super().json()
        if is_deeper(await self.body(), self._limits.json_depth):
            raise Refusal(400, f"the body is nested more than {self._limits.json_depth} levels deep")
        return decoded


def bounded(receive: Receive, max_bytes: int, limits: Limits, slow_status: int = 408) -> Receive:
    """`receive` that raises Refusal: 413 when more than `max_bytes` of a body have come, `slow_status` when it comes
    too slowly.

    Only the time somebody here waits for the sender counts: a body nobody reads yet may take as long as it likes.
    """
    loop = asyncio.get_running_loop()
    received = 0
    waited = 0.0
    more = True

    async def receive_bounded() -> Message:
        nonlocal received, waited, more
        if not more:  # whether the sender leaves may be waited for without end
            return await receive()
        begun = loop.time()
        try:
            async with asyncio.timeout(limits.body_seconds):
                message = await receive()
        except TimeoutError:
            raise Refusal(slow_status, _TOO_SLOW, _GONE) from None
        waited += loop.time() - begun
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
        if received > max_bytes:
            raise Refusal(413, f"the body of a request here has at most {max_bytes} bytes", _GONE)
        if more and waited > limits.body_seconds + received / limits.body_bytes_per_second:
            raise Refusal(slow_status, _TOO_SLOW, _GONE)
        return message

    return receive_bounded


def is_deeper(text: bytes, depth: int) -> bool:
    """Whether lists and objects of well-formed JSON stand in each other more than `depth` levels deep."""
    if text.count(b"[") + text.count(b"{") <= depth:
        return False
    brackets = _STRING.sub(b"", text).translate(_ONE_KIND, _ALL_BUT_BRACKETS)
    for _ in range(depth):  # each round takes away what holds nothing more
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)
