# SPDX-License-Identifier: AGPL-3.0-or-later
"""Routes for programs: a key says in whose name a program asks. It is looked at before the body is read.

`Authorization: Bearer <key>` and `X-API-Key: <key>` mean the same. A key that is sent and is none is refused: nothing
else, and nobody, takes its place.
"""

from __future__ import annotations

import asyncio
import math
import re
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from context_chat_backend.domain import ApiKey, KeyScope
from context_chat_backend.logs import get_logger
from context_chat_backend.web.bodies import bounded
from context_chat_backend.web.envelope import ApiError, api_error, error_response
from context_chat_backend.wiring import Backend

MAX_BODY_BYTES = 2 * 1024 * 1024

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_WHO = {"WWW-Authenticate": "Bearer"}
_log = get_logger(__name__)
T = TypeVar("T")


class ProgramRoute(APIRoute):
    """A route for programs with a key."""

    max_body_bytes = MAX_BODY_BYTES

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's place for what comes before the body."""
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            request_id = request.state.request_id = request_id_of(request)
            try:
                request.state.key = await _identified(request)
                response = await answer(Request(request.scope, bounded(request.receive, self.max_body_bytes)))
            except Exception as error:
                response = error_response(api_error(error), request_id)
            response.headers["X-Request-ID"] = request_id
            return response

        return answered


def request_id_of(request: Request) -> str:
    """The name the caller gave this request, or one of ours."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def not_served(request: Request, error: Exception) -> Response:
    """The answer to a path or a method that no route has."""
    request_id = request_id_of(request)
    response = error_response(api_error(error), request_id)
    response.headers["X-Request-ID"] = request_id
    return response


async def _identified(request: Request) -> ApiKey:
    """Whose key was sent. Raises ApiError (401, 429, 503)."""
    backend: Backend = request.app.state.backend
    if not backend.health.ready:
        raise ApiError(503, "server_busy", "the program is starting: try again", headers={"Retry-After": "5"})
    use = await backend.keys.use(_key_sent(request))
    if use is None:
        raise ApiError(401, "invalid_api_key", "this is no key that may be used", headers=_WHO)
    if use.is_over_limit:
        wait = {"Retry-After": str(math.ceil(use.seconds_left))}
        raise ApiError(429, "rate_limited", "this key was used too often in this minute", headers=wait)
    return use.key


def _key_sent(request: Request) -> str:
    """The one key of the request. Raises ApiError (401)."""
    sent = [text for text in request.headers.getlist("x-api-key") if text]
    for header in request.headers.getlist("authorization"):
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise ApiError(401, "invalid_api_key", "expected Authorization: Bearer <key>", headers=_WHO)
        sent.append(text.strip())
    if not sent:
        raise ApiError(401, "missing_api_key", "a key is needed: Authorization: Bearer <key>", headers=_WHO)
    if len(set(sent)) > 1:
        raise ApiError(401, "invalid_api_key", "two different keys were sent", headers=_WHO)
    return sent[0]


async def backend_of(request: Request) -> Backend:
    """The backend, which is ready."""
    backend: Backend = request.app.state.backend
    return backend


async def key_of(request: Request) -> ApiKey:
    """The key of the request, whatever it is for."""
    key: ApiKey = request.state.key
    return key


def key_for(scope: KeyScope) -> Callable[[Request], Awaitable[ApiKey]]:
    """What gives the key of a request, when it may be used for `scope`; it raises ApiError (403)."""

    async def key(request: Request) -> ApiKey:
        found = await key_of(request)
        if scope not in found.scopes:
            raise ApiError(403, "scope_not_allowed", f"this key is not made for this: it needs the scope {scope}")
        return found

    return key


Ready = Annotated[Backend, Depends(backend_of)]
AnyKey = Annotated[ApiKey, Depends(key_of)]
ChatKey = Annotated[ApiKey, Depends(key_for(KeyScope.CHAT))]
EmbeddingKey = Annotated[ApiKey, Depends(key_for(KeyScope.EMBEDDING))]
IngestKey = Annotated[ApiKey, Depends(key_for(KeyScope.INGEST))]


async def while_listening(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled when the caller leaves. The body of the request must have been read."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        _log.info("caller_gone")
        raise ApiError(499, "cancelled", "the caller has left")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
