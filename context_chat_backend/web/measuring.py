# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests are counted and timed by their route, which is a pattern of ours, never by the path somebody sent."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from context_chat_backend.metrics import REQUEST_SECONDS, REQUESTS

_NO_ROUTE = "none"
_CUT_OFF = "cut off"
_FAULT = "500"


class Measuring:
    """ASGI middleware; streams pass through it piece by piece."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = _CUT_OFF

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, sent)
        except Exception:
            status = _FAULT if status == _CUT_OFF else status  # it is answered further out
            raise
        finally:
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            REQUESTS.labels(route, status).inc()
            REQUEST_SECONDS.labels(route).observe(time.perf_counter() - started)
