# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often an address and a key may ask the chat server, whichever of its routes they call."""

from __future__ import annotations

import math

from fastapi import Request

from context_chat_backend.domain import Principal
from context_chat_backend.web.addresses import client_address
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.envelope import too_many
from context_chat_backend.web.program_route import ProgramRoute
from context_chat_backend.wiring import Backend

_ADDRESS = "address"
"""The realm in which addresses are counted."""


class RatedRoute(ProgramRoute):
    """A route for programs that the chat server has, too: where it is served, its limits hold."""

    async def admit(self, backend: Backend, request: Request) -> None:
        """Raises ApiError (401, 403, 429)."""
        is_rated = "chat" in request.app.state.surfaces
        if is_rated:
            await check_address(backend, request)
        await super().admit(backend, request)
        if is_rated and request.state.caller is not None:
            check_key(backend, request.state.caller)


async def check_address(backend: Backend, request: Request) -> None:
    """Count a request of its address. Raises ApiError (429)."""
    settings = backend.config.chat
    address = Principal(_ADDRESS, client_address(request, settings.trusted_proxies).network)
    used, seconds_left = await backend.uses.asked(address)
    _check("there were too many requests from this address", used, settings.ip_per_minute, seconds_left)


def check_key(backend: Backend, caller: Caller) -> None:
    """Raises ApiError (429) for a key without limits of its own that was used too often."""
    settings = backend.config.chat
    if (use := caller.use) is None:
        return
    if use.key.requests_per_minute is None:
        left = use.seconds_left
        _check("this key was used too often in this minute", use.used_in_minute, settings.key_per_minute, left)
    if use.key.requests_per_day is None and settings.key_daily is not None:
        said = "this key has used up what it may use a day"
        _check(said, use.used_today, settings.key_daily, use.seconds_left_of_day, "quota_exceeded")


def _check(said: str, used: int, limit: int, seconds_left: float, code: str = "rate_limited") -> None:
    if used > limit:
        reset = str(math.ceil(seconds_left))
        told = {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        raise too_many(said, seconds_left, code, told)
