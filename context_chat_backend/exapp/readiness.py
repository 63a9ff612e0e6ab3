# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a route asks of the backend before it works: that it has started, and that Nextcloud has enabled the app."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from context_chat_backend.web.errors import Refusal
from context_chat_backend.wiring import Backend

STARTING = "the backend is starting: try again"


async def backend_of(request: Request) -> Backend:
    """The backend, started or not."""
    backend: Backend = request.app.state.backend
    return backend


async def ready_backend(request: Request) -> Backend:
    """The backend, when it has started. Raises Refusal (503)."""
    backend = await backend_of(request)
    if not backend.health.ready:
        raise Refusal(503, STARTING)
    return backend


async def enabled_backend(request: Request) -> Backend:
    """The backend, when Nextcloud has enabled the app too. Raises Refusal (503, without `cc-retry`)."""
    backend = await ready_backend(request)
    if not await backend.switch.is_enabled():
        raise Refusal(503, "the backend is disabled: enable the app context_chat_backend in Nextcloud")
    return backend


Starting = Annotated[Backend, Depends(backend_of)]
Ready = Annotated[Backend, Depends(ready_backend)]
Enabled = Annotated[Backend, Depends(enabled_backend)]
