# SPDX-License-Identifier: AGPL-3.0-or-later
"""Routes of the planner: who asks, how often he may, and errors in the codes of its interface."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import Depends, Request

from context_chat_backend.answering.planner.tools import EmbeddingMismatch
from context_chat_backend.domain import EVERYBODY, KeyScope, Principal, Realm
from context_chat_backend.store.conversations import Owner
from context_chat_backend.store.planning import ConversationBusy, ConversationGone
from context_chat_backend.web.administrators import bearer_of, is_administrators
from context_chat_backend.web.callers import NOBODY, Caller, caller_by_headers
from context_chat_backend.web.envelope import ApiError, api_error, too_many
from context_chat_backend.web.errors import AGAIN
from context_chat_backend.web.places import take_place
from context_chat_backend.web.program_route import ProgramRoute, in_scope
from context_chat_backend.wiring import Backend

_CODES = {"missing_api_key": "missing_token", "invalid_api_key": "invalid_token"}
_INVALID = ("invalid_value", "invalid_json", "unsupported_content")
DEVELOPER = Caller(Principal(Realm.LOCAL, "dev"), frozenset({KeyScope.CHAT}))
"""Who asks without a token where that is allowed."""
_WHO = {"WWW-Authenticate": "Bearer"}


class PlannerRoute(ProgramRoute):
    """A route of the planner."""

    body_limit = "planner_body_bytes"
    admits_administrators = False

    @staticmethod
    def told(error: Exception) -> ApiError:
        """As everywhere, in the codes of this interface."""
        match error:
            case ConversationGone():
                return ApiError(404, "conversation_not_found", str(error))
            case ConversationBusy():
                return ApiError(409, "conversation_busy", str(error), headers=AGAIN)
            case EmbeddingMismatch():
                return ApiError(409, "embedding_mismatch", str(error))
        said = api_error(error)
        said.code = _CODES.get(said.code, said.code)
        if said.status_code == 400 and said.code in _INVALID:
            said.status_code, said.code = 422, "validation_error"
        return said

    async def admit(self, backend: Backend, request: Request) -> None:
        """Also a developer, who needs no token, and where it is a tool's route an administrator.

        Raises ApiError (401, 403, 429).
        """
        request.state.is_administrator = self.admits_administrators and _is_administrator(request)
        # The token of administrators stands where a key would be looked for.
        by_key = not request.state.is_administrator
        request.state.caller = await caller_by_headers(backend, request) if by_key else None
        await planner_caller(request)


class PlannerToolRoute(PlannerRoute):
    """A route of a tool: for administrators too."""

    admits_administrators = True


def _is_administrator(request: Request) -> bool:
    """Whether the token of administrators is sent, and nothing else."""
    app = request.app.state.backend.config.app
    if len(request.headers.getlist("authorization")) != 1 or request.headers.get("x-api-key"):
        return False
    return is_administrators(bearer_of(request.headers) or "", app)


async def planner_caller(request: Request) -> Caller:
    """Who asks. Raises ApiError (401, 403)."""
    if request.state.is_administrator:
        return NOBODY
    sent: Caller | None = request.state.caller
    if sent is not None:
        return in_scope(sent, KeyScope.CHAT)
    programs = request.app.state.backend.config.programs
    if programs.environment == "development" and not programs.issuers:
        return DEVELOPER
    raise ApiError(401, "missing_token", "a token is needed: Authorization: Bearer <token>", headers=_WHO)


async def messages_caller(request: Request) -> Caller:
    """Who writes a message. Raises ApiError (401, 403, 429)."""
    caller = await planner_caller(request)
    take_place(request, caller.key_id or caller.asker)
    backend: Backend = request.app.state.backend
    await _count(backend, caller, "planner messages", backend.config.planner.messages_per_minute)
    return caller


async def start_caller(request: Request) -> Caller:
    """Who begins a conversation, as often as he may write messages. Raises ApiError (401, 403, 429)."""
    caller = await planner_caller(request)
    backend: Backend = request.app.state.backend
    await _count(backend, caller, "planner conversations", backend.config.planner.messages_per_minute)
    return caller


async def tools_caller(request: Request) -> Caller:
    """Who uses a tool. Raises ApiError (401, 403, 429)."""
    caller = await planner_caller(request)
    backend: Backend = request.app.state.backend
    if caller.asker != EVERYBODY:
        take_place(request, caller.key_id or caller.asker)
        await _count(backend, caller, "planner tools", backend.config.planner.tools_per_minute)
    return caller


async def _count(backend: Backend, caller: Caller, what: str, most: int) -> None:
    """Count by itself what is limited by itself."""
    counted = Principal(f"{what}:{caller.asker.realm}", caller.asker.name)
    used, seconds_left = await backend.uses.asked(counted)
    if used > most:
        raise too_many("there were too many requests in this minute", seconds_left)


def owner_of(caller: Caller) -> Owner:
    """Whose conversations they are; those of a key that is kept to collections are its own."""
    return Owner(caller.asker, caller.key_id or "" if caller.collections is not None else "")


def conversation_id(text: str) -> uuid.UUID:
    """Raises ApiError (422) for what is no UUID."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ApiError(422, "validation_error", "conversation_id: expected a UUID", param="conversation_id") from None


PlannerCaller = Annotated[Caller, Depends(planner_caller)]
StartCaller = Annotated[Caller, Depends(start_caller)]
MessagesCaller = Annotated[Caller, Depends(messages_caller)]
ToolsCaller = Annotated[Caller, Depends(tools_caller)]
