# SPDX-License-Identifier: AGPL-3.0-or-later
"""Routes of the chat server: who asks and how often, before the body is read; errors in its words."""

from __future__ import annotations

import hmac
import math

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from context_chat_backend.domain import Collection, KeyScope, Principal
from context_chat_backend.web.addresses import client_address
from context_chat_backend.web.callers import Caller, caller_by_headers, nobody
from context_chat_backend.web.envelope import ApiError, api_error
from context_chat_backend.web.program_route import ProgramRoute, in_scope
from context_chat_backend.wiring import Backend

_NO_KEY = "Invalid or missing API key"
_ADDRESS = "address"
"""The realm in which addresses are counted."""
_ADMINISTRATOR = {"WWW-Authenticate": "Bearer"}


class ChatWordsRoute(ProgramRoute):
    """A route that tells errors in the words of the chat server."""

    needs_caller = False
    needs_start = False

    async def admit(self, backend: Backend, request: Request) -> None:  # noqa: ARG002
        """Whoever asks."""
        request.state.caller = None

    @staticmethod
    def told(error: Exception) -> ApiError:
        """As everywhere, but for faults of the body, and keys that do not hold."""
        if isinstance(error, RequestValidationError):
            first = api_error(error)
            faults = [{key: one[key] for key in ("type", "loc", "msg")} for one in error.errors()]
            return ApiError(422, "validation_error", first.detail, param=first.param, faults=faults)
        told = api_error(error)
        if told.code in ("missing_api_key", "invalid_api_key"):
            told.detail = _NO_KEY
        return told


class ChatRoute(ChatWordsRoute):
    """A route for those who ask with a key of a collection."""

    body_limit = "chat_body_bytes"
    needs_start = True

    async def admit(self, backend: Backend, request: Request) -> None:
        """Raises ApiError: 401, 403, 404 where the collection of the key is gone, 429."""
        settings = backend.config.chat
        address = Principal(_ADDRESS, client_address(request, settings.trusted_proxies).network)
        used, seconds_left = await backend.uses.asked(address)
        _check("there were too many requests from this address", used, settings.ip_per_minute, seconds_left)
        caller = await caller_by_headers(backend, request)
        if caller is None and settings.allow_default and settings.collection:
            collection = Collection(settings.collection)
            caller = Caller(collection.itself, frozenset({KeyScope.CHAT}), frozenset({collection}))
        request.state.caller = in_scope(caller or nobody(allowed=False), KeyScope.CHAT)
        if (use := request.state.caller.use) is not None:
            if use.key.requests_per_minute is None:
                left = use.seconds_left
                _check("this key was used too often in this minute", use.used_in_minute, settings.key_per_minute, left)
            if use.key.requests_per_day is None and settings.key_daily is not None:
                said = "this key has used up what it may use a day"
                _check(said, use.used_today, settings.key_daily, use.seconds_left_of_day, "quota_exceeded")
        await _check_collections(backend, request.state.caller)


class AdminRoute(ChatWordsRoute):
    """A route for who has the token of administrators; no key of a program opens it."""

    needs_start = True

    async def admit(self, backend: Backend, request: Request) -> None:
        """Raises ApiError (401, 403)."""
        await super().admit(backend, request)
        expected = backend.config.app.admin_token
        if expected is None:
            raise ApiError(403, "admin_disabled", "no administrator's token is configured: set ADMIN_TOKEN")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        sent = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-admin-token", "")
        if not hmac.compare_digest(sent.encode("latin-1", "replace"), expected.reveal().encode()):
            raise ApiError(
                401,
                "admin_token_required",
                "the administrator's token is needed: Authorization: Bearer <token>",
                headers=_ADMINISTRATOR,
            )


def _check(said: str, used: int, limit: int, seconds_left: float, code: str = "rate_limited") -> None:
    if used > limit:
        wait = str(math.ceil(seconds_left))
        told = {"Retry-After": wait, "X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": "0"}
        raise ApiError(429, code, said, headers=told | {"X-RateLimit-Reset": wait})


async def _check_collections(backend: Backend, caller: Caller) -> None:
    kept_to = caller.collections
    if kept_to is not None and not await backend.collections.known(kept_to):
        raise ApiError(404, "collection_not_found", "the collection of this key is not there")
