# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks: by a key of a program, by the token of an end user, or nobody by name.

`Authorization: Bearer …` and `X-API-Key: …` mean the same. What is sent and does not hold is refused: nothing else that
was sent, and nobody, takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastapi import Request

from context_chat_backend.domain import EVERYBODY, Collection, KeyScope, Principal
from context_chat_backend.store.keys import KeyUse
from context_chat_backend.web.envelope import ApiError, too_many
from context_chat_backend.web_tokens import TokenExpired, TokenInvalid, looks_like_web_token
from context_chat_backend.wiring import Backend

_WHO = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True)
class Caller:
    """Somebody who asks, and what he may do."""

    asker: Principal
    """In whose name it is asked."""
    scopes: frozenset[KeyScope]
    collections: frozenset[Collection] | None = None
    """What he is kept to; None: all he may read."""
    key_id: str | None = None
    """The key the use is booked on."""
    use: KeyUse | None = None
    """How often it was used."""

    @property
    def models(self) -> tuple[str, ...]:
        """Those his key may name; none: all."""
        return () if self.use is None else self.use.key.models

    def may_reach(self, collection: Collection) -> bool:
        """Whether nothing but the rights of the asker keeps him from the collection."""
        return self.collections is None or collection in self.collections


NOBODY = Caller(EVERYBODY, frozenset({KeyScope.CHAT, KeyScope.COMPLETION}))
"""Who asks without a name: he reads what everybody may read."""


async def caller_by_headers(backend: Backend, request: Request) -> Caller | None:
    """Whose key or token stands in the headers; None when there is none. Raises ApiError (401, 429)."""
    sent = [text for text in request.headers.getlist(backend.config.chat.header_name) if text]
    for header in request.headers.getlist("authorization"):
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise ApiError(401, "invalid_api_key", "expected Authorization: Bearer <key>", headers=_WHO)
        sent.append(text.strip())
    if not sent:
        return None
    if len(set(sent)) > 1:
        raise ApiError(401, "invalid_api_key", "two different keys were sent", headers=_WHO)
    return await caller_by_text(backend, sent[0])


async def caller_by_text(backend: Backend, text: str) -> Caller:
    """Whose key or token `text` is. Raises ApiError (401, 429)."""
    if looks_like_web_token(text):
        return await _user(backend, text)
    use = await backend.keys.use(text)
    if use is None:
        raise ApiError(401, "invalid_api_key", "this is no key that may be used", headers=_WHO)
    if use.is_over_limit:
        raise too_many("this key was used too often in this minute", use.seconds_left)
    if use.is_used_up:
        raise too_many("this key has used up what it may use a day", use.seconds_left, "quota_exceeded")
    kept_to = frozenset(use.key.collections) or None
    return Caller(use.key.asker, use.key.scopes, kept_to, use.key.id, use)


def may_use(caller: Caller, model: str) -> None:
    """Raise ApiError (403) where the key is made for other models."""
    if caller.models and model not in caller.models:
        raise ApiError(403, "model_not_allowed", f"this key is not made for the model {model!r}", param="model")


def acting_for(user: Caller, service: Caller | None) -> Caller:
    """`user`, asking through a service whose key may act for others: what both may do, booked on the service."""
    if service is None or KeyScope.ACT_AS not in service.scopes:
        return user
    kept_to = service.collections if user.collections is None else user.collections
    if user.collections is not None and service.collections is not None:
        kept_to = user.collections & service.collections
    return replace(user, collections=kept_to, key_id=service.key_id, use=service.use)


def nobody(*, allowed: bool) -> Caller:
    """Who asks without a key. Raises ApiError (401) where that is not allowed."""
    if not allowed:
        raise ApiError(401, "missing_api_key", "a key is needed: Authorization: Bearer <key>", headers=_WHO)
    return NOBODY


async def count(backend: Backend, caller: Caller) -> None:
    """Count a request for its asker, over all surfaces. Raises ApiError (429) where there are too many of his."""
    used, seconds_left = await backend.uses.asked(caller.asker)
    if used > backend.config.programs.chatqna.requests_per_minute:
        raise too_many("there were too many requests in this minute", seconds_left)


async def _user(backend: Backend, token: str) -> Caller:
    try:
        return Caller(await backend.web_tokens.principal(token), frozenset({KeyScope.CHAT}))
    except TokenExpired:
        raise ApiError(401, "token_expired", "this token has expired", headers=_WHO) from None
    except TokenInvalid:
        raise ApiError(401, "invalid_token", "this is no token that may be used", headers=_WHO) from None
