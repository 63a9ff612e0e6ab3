# SPDX-License-Identifier: AGPL-3.0-or-later
"""Routes of the chat server: who asks and how often, before the body is read; errors in its words."""

from __future__ import annotations

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from context_chat_backend.domain import Collection, KeyScope
from context_chat_backend.web.administrators import bearer_of, is_administrators
from context_chat_backend.web.callers import Caller, caller_by_headers, nobody
from context_chat_backend.web.envelope import ApiError, api_error
from context_chat_backend.web.program_route import ProgramRoute, in_scope
from context_chat_backend.web.rates import check_address, check_key
from context_chat_backend.wiring import Backend

_NO_KEY = "Invalid or missing API key"
_ADMINISTRATOR = {"WWW-Authenticate": "Bearer"}


class ChatWordsRoute(ProgramRoute):
    """A route that tells errors in the words of the chat server."""

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
        await check_address(backend, request)
        caller = await caller_by_headers(backend, request)
        if caller is None and settings.allow_default and settings.collection:
            collection = Collection(settings.collection)
            caller = Caller(collection.itself, frozenset({KeyScope.CHAT}), frozenset({collection}))
        request.state.caller = in_scope(caller or nobody(allowed=False), KeyScope.CHAT)
        check_key(backend, request.state.caller)
        await _check_collections(backend, request.state.caller)


class AdminRoute(ChatWordsRoute):
    """A route for who has the token of administrators; no key of a program opens it."""

    needs_start = True

    async def admit(self, backend: Backend, request: Request) -> None:
        """Raises ApiError (401, 403)."""
        await super().admit(backend, request)
        if backend.config.app.admin_token is None:
            raise ApiError(403, "admin_disabled", "no administrator's token is configured: set ADMIN_TOKEN")
        bearer = bearer_of(request.headers)
        sent = request.headers.get("x-admin-token", "") if bearer is None else bearer
        if not is_administrators(sent, backend.config.app):
            raise ApiError(
                401,
                "admin_token_required",
                "the administrator's token is needed: Authorization: Bearer <token>",
                headers=_ADMINISTRATOR,
            )


async def _check_collections(backend: Backend, caller: Caller) -> None:
    kept_to = caller.collections
    if kept_to is not None and not await backend.collections.known(kept_to):
        raise ApiError(404, "collection_not_found", "the collection of this key is not there")
