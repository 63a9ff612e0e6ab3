# SPDX-License-Identifier: AGPL-3.0-or-later
"""The HTTP application: which surfaces there are, around one backend."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from context_chat_backend.exapp import actions_api, lifecycle, push_api, questions_api
from context_chat_backend.web import errors
from context_chat_backend.wiring import Backend

MAX_BODY_BYTES = 32 * 1024 * 1024
"""The longest body of JSON that is read: the ids of 100 000 users, or a scope of a million files, have room."""


def build_app(
    backend: Backend,
    *,
    hold_seconds: float = push_api.HOLD_SECONDS,
    enable_seconds: float = lifecycle.ENABLE_SECONDS,
) -> FastAPI:
    """The application around `backend`, which may still be starting.

    A push is held `hold_seconds` while the waiting list is full; enabling waits `enable_seconds` for the start.
    """
    app = FastAPI(
        title="Context Chat Backend",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        max_body_size=MAX_BODY_BYTES,
    )
    app.state.backend = backend
    app.state.hold_seconds = hold_seconds
    app.state.enable_seconds = enable_seconds
    app.state.background = set[asyncio.Task[None]]()
    errors.install(app)
    for surface in (lifecycle.heartbeat_router, lifecycle.router, push_api.router, actions_api.router):
        app.include_router(surface)
    app.include_router(questions_api.router)
    return app
