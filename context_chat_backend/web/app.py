# SPDX-License-Identifier: AGPL-3.0-or-later
"""The HTTP application: which surfaces there are, around one backend."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from context_chat_backend.exapp import actions_api, lifecycle, push_api, questions_api, status_api
from context_chat_backend.exapp.loops import Loops
from context_chat_backend.web import errors
from context_chat_backend.wiring import Backend


def build_app(
    backend: Backend,
    *,
    hold_seconds: float = push_api.HOLD_SECONDS,
    enable_seconds: float = lifecycle.ENABLE_SECONDS,
    loops: Loops | None = None,
) -> FastAPI:
    """The application around `backend`, which may still be starting.

    A push is held `hold_seconds` while the waiting list is full; enabling waits `enable_seconds` for the start.
    `loops` run beside the routes and are woken by them.
    """
    app = FastAPI(
        title="Context Chat Backend",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.backend = backend
    app.state.hold_seconds = hold_seconds
    app.state.enable_seconds = enable_seconds
    app.state.loops = loops or Loops(backend)
    app.state.background = set[asyncio.Task[None]]()
    errors.install(app)
    for surface in (lifecycle.heartbeat_router, lifecycle.router, push_api.router, actions_api.router):
        app.include_router(surface)
    app.include_router(questions_api.router)
    app.include_router(status_api.router)
    return app
