# SPDX-License-Identifier: AGPL-3.0-or-later
"""The fault script: what goes wrong, at which call, how often."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Fault:
    """One entry of the script.

    Kinds: `drop` (the effect happens, the answer is lost), `lost` (no effect, no answer), `status` (`value`, without
    effect), `status_after` (the effect happens, then `value`), `slow` (`value` seconds before the answer), `cut`
    (the stream breaks in the middle), `short` (it ends in the middle as if that were all), `empty` (the effect
    happens, the body is empty: a string that was not UTF-8), `not_utf8` (a byte in it that is none).
    """

    method: str
    path: str
    """A regular expression that is searched in the path."""
    kind: str
    times: int = 1
    value: float = 0


class Faults:
    """An ASGI middleware that follows the script."""

    def __init__(self, app: ASGIApp, script: list[Fault]) -> None:
        self._app = app
        self._script = script

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the script says, else as the application does."""
        fault = self._due(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind == "status":
            await _send(send, int(fault.value), *_refusal(int(fault.value)))
        elif fault.kind == "lost":
            await _break(send, b"")
        else:
            status, headers, body = await self._answer(scope, receive)
            await _spoiled(send, fault, status, headers, body)

    def _due(self, scope: Scope) -> Fault | None:
        for fault in self._script:
            if fault.times > 0 and fault.method == scope["method"] and re.search(fault.path, scope["path"]):
                fault.times -= 1
                return fault
        return None

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, list[Any], bytes]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in messages[1:])
        return messages[0]["status"], messages[0]["headers"], body


async def _spoiled(send: Send, fault: Fault, status: int, headers: list[Any], body: bytes) -> None:
    plain = [header for header in headers if header[0].lower() != b"content-length"]
    match fault.kind:
        case "drop":
            await _break(send, b"")
        case "cut":
            await _break(send, body[: len(body) // 2])
        case "short":
            await _send(send, status, plain, body[: len(body) // 2])
        case "empty":
            await _send(send, status, plain, b"")
        case "not_utf8":
            await _send(send, status, plain, body.replace(b'"title":"', b'"title":"\xff', 1))
        case "status_after":
            await _send(send, int(fault.value), *_refusal(int(fault.value)))
        case "slow":
            await asyncio.sleep(fault.value)
            await _send(send, status, plain, body)
        case _:
            raise ValueError(f"there is no fault {fault.kind!r}")


def _refusal(status: int) -> tuple[list[Any], bytes]:
    json = [(b"content-type", b"application/json; charset=utf-8")]
    match status:
        case 412:
            return json, b'{"message":"ExApp required"}'
        case 429:
            return [(b"retry-after", b"1")], b""
        case 503:
            return [(b"x-nextcloud-maintenance-mode", b"1"), (b"retry-after", b"1")], b"<html></html>"
    return json, b'{"ocs":{"meta":{"status":"failure","statuscode":%d,"message":""},"data":[]}}' % status


async def _send(send: Send, status: int, headers: list[Any], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _break(send: Send, body: bytes) -> None:
    """A body shorter than was promised: the server closes the connection under it."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000000")]})
    await send({"type": "http.response.body", "body": body, "more_body": True})
