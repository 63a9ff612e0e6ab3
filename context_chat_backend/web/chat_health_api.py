# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the chat server answers, for monitors: /health with its components, /health/live and /health/ready."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from context_chat_backend.web.callers import caller_by_headers, nobody
from context_chat_backend.web.chat_route import ChatWordsRoute
from context_chat_backend.web.errors import AGAIN
from context_chat_backend.web.health_api import components_of
from context_chat_backend.wiring import Backend

_FRESH_SECONDS = 30.0
_SAID = {"error": "it does not answer", "loading": "it is being loaded"}

_Looked = asyncio.Future[tuple[float, dict[str, Any]]]

router = APIRouter(route_class=ChatWordsRoute)


@router.get("/health", response_model=None)
async def health(request: Request) -> JSONResponse:
    """200 while questions are answered, else 503, with its components; looked at once in half a minute."""
    backend: Backend = request.app.state.backend
    if backend.config.chat.require_for_health:
        request.state.caller = await caller_by_headers(backend, request) or nobody(allowed=False)
    components = await _looked_lately(request)
    if all(component["status"] == "ok" for component in components.values()):
        return JSONResponse({"status": "ok", "components": components})
    return JSONResponse({"status": "error", "components": components}, 503, AGAIN)


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process runs; nothing else is looked at."""
    return {"status": "ok"}


@router.get("/health/ready", response_model=None)
async def ready(request: Request) -> JSONResponse:
    """200 while questions are answered; looked at now."""
    components = await components_of(request.app.state.backend)
    if all(status == "ok" for status in components.values()):
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "error"}, 503, AGAIN)


async def _looked_lately(request: Request) -> dict[str, Any]:
    known: _Looked | None = getattr(request.app.state, "chat_health", None)
    if known is None or (known.done() and time.monotonic() - known.result()[0] > _FRESH_SECONDS):
        known = asyncio.ensure_future(_looked(request.app.state.backend))
        request.app.state.chat_health = known
    _, components = await asyncio.shield(known)
    if components["server"]["status"] != "ok":  # it is starting: that is soon otherwise
        request.app.state.chat_health = None
    return components


async def _looked(backend: Backend) -> tuple[float, dict[str, Any]]:
    """When it was looked, and what was found, in the names that monitors know."""
    found = await components_of(backend)
    database = found.get("database", "loading")
    named = {"server": found["server"], "chroma": database, "vector_store": database}
    named["llm"] = found.get("llm", "loading")
    return time.monotonic(), {name: _component(status) for name, status in named.items()}


def _component(status: str) -> dict[str, str]:
    return {"status": status} if status == "ok" else {"status": "error", "error": _SAID[status]}
