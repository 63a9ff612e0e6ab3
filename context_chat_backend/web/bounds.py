# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds for every request before a route sees it: a free place, a body as it is, and an end in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from context_chat_backend.limits import Limits
from context_chat_backend.logs import get_logger
from context_chat_backend.web.errors import AGAIN, Refusal
from context_chat_backend.web.places import Places, hold

ALWAYS = frozenset({"/heartbeat", "/ready", "/health", "/metrics", "/status"})
"""Whoever watches over the program is answered however much there is to do."""
_PLAIN = frozenset({"", "identity"})
_CLOSE = {"Connection": "close"}
_log = get_logger(__name__)


class Bounds:
    """ASGI middleware; streams pass through it piece by piece."""

    def __init__(
        self, app: ASGIApp, places: Places, limits: Limits, told: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        """`told` makes the answer of a Refusal."""
        self._app = app
        self._places = places
        self._limits = limits
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        request = Request(scope, receive)
        try:
            with self._places.one() as held:
                hold(request, held)
                _refuse_packed(request)
                await self._in_time(scope, receive, sent)
        except Refusal as refusal:
            if not begun:  # what was begun is cut off
                await (await self._told(request, refusal))(scope, receive, send)

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = asyncio.timeout(self._limits.request_seconds)
        try:
            async with limit:
                await self._app(scope, receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
            _log.warning("request_too_long", seconds=self._limits.request_seconds)
            raise Refusal(503, "the request took too long: try again", _CLOSE | AGAIN) from None


def _refuse_packed(request: Request) -> None:
    """Raises Refusal (415): nothing is unpacked here, so that nothing small becomes large."""
    if request.headers.get("content-encoding", "").strip().lower() not in _PLAIN:
        raise Refusal(415, "Content-Encoding: bodies are taken as they are, not compressed", _CLOSE)
