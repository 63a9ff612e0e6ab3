# SPDX-License-Identifier: AGPL-3.0-or-later
"""The HTTP application: which surfaces there are, around one backend."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from context_chat_backend.exapp import lifecycle, push_api
from context_chat_backend.web import errors
from context_chat_backend.wiring import Backend


def build_app(backend: Backend, *, hold_seconds: float = push_api.HOLD_SECONDS) -> FastAPI:
    """The application; `hold_seconds` is how long a push is held while the waiting list is full."""
    app = FastAPI(title="Context Chat Backend", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.backend = backend
    app.state.hold_seconds = hold_seconds
    app.state.background = set[asyncio.Task[None]]()
    errors.install(app)
    app.include_router(lifecycle.heartbeat_router)
    app.include_router(lifecycle.router)
    app.include_router(push_api.router)
    return app
