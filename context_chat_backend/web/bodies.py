# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bodies of requests, which are as long as they may be."""

from __future__ import annotations

from starlette.types import Message, Receive

from context_chat_backend.web.errors import Refusal


def bounded(receive: Receive, max_bytes: int) -> Receive:
    """`receive` that raises Refusal (413) when more than `max_bytes` of a body have come."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise Refusal(413, f"the body of a request here has at most {max_bytes} bytes")
        return message

    return receive_bounded
