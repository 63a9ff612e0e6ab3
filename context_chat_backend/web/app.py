# SPDX-License-Identifier: AGPL-3.0-or-later
"""The HTTP application: which surfaces there are, around one backend."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from context_chat_backend.exapp import actions_api, lifecycle, push_api, questions_api, status_api
from context_chat_backend.exapp.loops import Loops
from context_chat_backend.web import (
    acme_api,
    admin_collections_api,
    admin_keys_api,
    caps_api,
    chat_api,
    chat_health_api,
    chatqna_api,
    code_api,
    completions_api,
    conversations_api,
    documents_api,
    embeddings_api,
    errors,
    gateway_api,
    health_api,
    metrics_api,
    openai_api,
    openapi,
    planner_api,
    planner_tools_api,
    program_route,
)
from context_chat_backend.web.bounds import Bounds
from context_chat_backend.web.measuring import Measuring
from context_chat_backend.web.places import Places
from context_chat_backend.web.throttle import Throttle
from context_chat_backend.wiring import Backend

ROUTERS = {
    "nextcloud": (
        lifecycle.heartbeat_router, lifecycle.router, push_api.router, actions_api.router, questions_api.router,
        status_api.router, metrics_api.router,
    ),
    "openai": (
        openai_api.router, health_api.router, embeddings_api.router, documents_api.router, conversations_api.router,
    ),
    "chatqna": (chatqna_api.router, health_api.router, openai_api.router),
    "chat": (
        chat_health_api.router, chat_api.router, admin_keys_api.router, admin_collections_api.router,
        admin_collections_api.imports, admin_collections_api.files, acme_api.router, openai_api.router,
        embeddings_api.router,
    ),
    "redirect": (chat_health_api.router, acme_api.router),
    "planner": (planner_api.router, planner_tools_api.router, health_api.router),
    "gateway": (
        gateway_api.open_router, gateway_api.router, completions_api.router, code_api.router, caps_api.router,
        openai_api.router, embeddings_api.router,
    ),
    "metrics": (lifecycle.heartbeat_router, status_api.router, metrics_api.router),
}  # fmt: skip
"""What is served by each of settings.SURFACES."""


def build_app(
    backend: Backend,
    *,
    surfaces: Collection[str] = ("nextcloud",),
    hold_seconds: float = push_api.HOLD_SECONDS,
    enable_seconds: float = lifecycle.ENABLE_SECONDS,
    loops: Loops | None = None,
    places: Places | None = None,
) -> FastAPI:
    """The application around `backend`, which may still be starting.

    `surfaces` are some of settings.SURFACES.

    A push is held `hold_seconds` while the waiting list is full; enabling waits `enable_seconds` for the start.
    `loops` run beside the routes and are woken by them. `places` are those of all applications of the process.
    """
    app = FastAPI(
        title="Context Chat Backend",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.backend = backend
    app.state.throttle = Throttle(backend.config.app.refusals_per_minute)
    app.state.hold_seconds = hold_seconds
    app.state.enable_seconds = enable_seconds
    app.state.loops = loops or Loops(backend)
    app.state.surfaces = tuple(surfaces)
    app.state.background = set[asyncio.Task[None]]()
    app.state.writing = set[asyncio.Future[None]]()  # of what was used and said; the end of the program waits for it
    errors.install(app)
    limits = backend.config.limits
    app.state.places = places or Places(limits)
    told = errors.refused if "nextcloud" in surfaces else program_route.not_served
    app.add_middleware(Bounds, places=app.state.places, limits=limits, told=told)
    app.add_middleware(Measuring)
    if "chat" in surfaces and (origins := backend.config.chat.cors_origins):
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST", "DELETE"], allow_headers=["*"]
        )
    if "nextcloud" not in surfaces:
        elsewhere = acme_api.elsewhere if "redirect" in surfaces else program_route.not_served
        app.add_exception_handler(HTTPException, elsewhere)
    named = [router for surface in surfaces for router in ROUTERS[surface]]
    routers = list({id(router): router for router in named}.values())  # two surfaces may have some in common
    if chat_health_api.router in routers:  # it says more at the same path
        routers = [router for router in routers if router is not health_api.router]
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    # Others are called by programs that know what is there.
    if {"openai", "chatqna", "chat", "gateway", "planner"} & set(surfaces):
        app.include_router(openapi.router)
    return app
