# SPDX-License-Identifier: AGPL-3.0-or-later
"""Routes for programs: a key says in whose name a program asks. It is looked at before the body is read.

Who asks is in callers.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from context_chat_backend.domain import KeyScope
from context_chat_backend.logs import get_logger
from context_chat_backend.web.bodies import BoundedRequest
from context_chat_backend.web.callers import Caller, caller_by_headers, count, nobody
from context_chat_backend.web.envelope import CANCELLED, ApiError, api_error, error_response, too_many
from context_chat_backend.web.errors import AGAIN
from context_chat_backend.web.places import take_place
from context_chat_backend.web.throttle import address_of, throttle_of
from context_chat_backend.wiring import Backend

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_log = get_logger(__name__)
T = TypeVar("T")


class ProgramRoute(APIRoute):
    """A route for programs with a key."""

    body_limit = "program_body_bytes"
    """Which of the limits its bodies have."""
    needs_start = True
    """Whether the program has to have started."""

    @staticmethod
    def told(error: Exception) -> ApiError:
        """What `error` is to the caller."""
        return api_error(error)

    async def admit(self, backend: Backend, request: Request) -> None:
        """Find out who asks, before the body is read. Raises ApiError (401, 403, 429)."""
        request.state.caller = await caller_by_headers(backend, request)
        await caller_of(request)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's place for what comes before the body."""
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            request_id = request.state.request_id = request_id_of(request)
            try:
                backend: Backend = request.app.state.backend
                if self.needs_start and not backend.health.ready:
                    raise ApiError(503, "server_busy", "the program is starting: try again", headers=AGAIN)
                await self.admit(backend, request)
                limits = backend.config.limits
                response = await answer(BoundedRequest(request, getattr(limits, self.body_limit), limits))
            except Exception as error:
                response = error_response(_counted(request, self.told(error)), request_id)
            response.headers["X-Request-ID"] = request_id
            if model := getattr(request.state, "model_used", ""):
                response.headers["X-Model-Used"] = _printable(model)
            return response

        return answered


def _printable(name: str) -> str:
    """`name` as a header may hold it: administrators name models as they like."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in name)


def _counted(request: Request, error: ApiError) -> ApiError:
    """`error`; another one where keys or tokens that do not hold come too often from one address.

    One that has expired is left alone, for its owner has to hear that he must fetch another.
    """
    if error.code not in ("invalid_api_key", "invalid_token", "admin_token_required"):
        return error
    wait = throttle_of(request).refused(address_of(request))
    if wait is None:
        return error
    return too_many("keys or tokens that do not hold were sent too often in this minute", wait)


class OpenRoute(APIRoute):
    """A route that asks nobody who he is; its answers have a name, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's place for what comes after the answer."""
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            response = await answer(request)
            response.headers["X-Request-ID"] = request_id_of(request)
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


async def backend_of(request: Request) -> Backend:
    """The backend, which is ready."""
    backend: Backend = request.app.state.backend
    return backend


async def caller_of(request: Request) -> Caller:
    """Who asks, whatever for. Raises ApiError (401)."""
    sent: Caller | None = request.state.caller
    backend: Backend = request.app.state.backend
    return sent or nobody(allowed=backend.config.programs.environment == "development")


def caller_for(scope: KeyScope) -> Callable[[Request], Awaitable[Caller]]:
    """What gives who asks, when he may do what `scope` says; it raises ApiError (401, 403, 429).

    A key has limits of its own; who has none is counted by himself.
    """

    async def caller(request: Request) -> Caller:
        found = in_scope(await caller_of(request), scope)
        take_place(request, found.key_id or found.asker)
        if found.key_id is None:
            await count(request.app.state.backend, found)
        return found

    return caller


def in_scope(caller: Caller, scope: KeyScope) -> Caller:
    """`caller`, when he may do what `scope` says. Raises ApiError (403)."""
    if scope not in caller.scopes:
        raise ApiError(403, "scope_not_allowed", f"this key is not made for this: it needs the scope {scope}")
    return caller


Ready = Annotated[Backend, Depends(backend_of)]
AnyCaller = Annotated[Caller, Depends(caller_of)]
ChatCaller = Annotated[Caller, Depends(caller_for(KeyScope.CHAT))]
CompletionCaller = Annotated[Caller, Depends(caller_for(KeyScope.COMPLETION))]
EmbeddingCaller = Annotated[Caller, Depends(caller_for(KeyScope.EMBEDDING))]
IngestCaller = Annotated[Caller, Depends(caller_for(KeyScope.INGEST))]


async def while_listening(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled when the caller leaves. The body of the request must have been read."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        _log.info("caller_gone")
        raise ApiError(CANCELLED, "cancelled", "the caller has left")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
