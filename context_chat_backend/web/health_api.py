# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether questions would be answered now, for those who watch over the program: GET /health, open to everybody."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from context_chat_backend.errors import DatabaseUnavailable, ModelFailure
from context_chat_backend.wiring import Backend

router = APIRouter()
_RETRY = {"Retry-After": "5"}


@router.get("/health")
async def health(request: Request, verbose: bool = False) -> JSONResponse:
    """200 while questions are answered, else 503; with its parts where it is asked for, or other surfaces are here."""
    components = await components_of(request.app.state.backend)
    said = list(components.values())
    status = "error" if "error" in said else "loading" if "loading" in said else "ok"
    body: dict[str, Any] = {"status": status}
    if verbose or len(request.app.state.surfaces) > 1:
        body["components"] = {name: {"status": one} for name, one in components.items()}
    return JSONResponse(body) if status == "ok" else JSONResponse(body, 503, _RETRY)


async def components_of(backend: Backend) -> dict[str, str]:
    """How the parts are that answers need: 'ok', 'loading' or 'error'."""
    if not backend.health.ready:
        return {"server": "loading"}
    database, model = await asyncio.gather(_database(backend), _model(backend))
    return {"server": "ok", "database": database, "llm": model}


async def _database(backend: Backend) -> str:
    try:
        await backend.collections.known([])
    except DatabaseUnavailable:
        return "error"
    return "ok"


async def _model(backend: Backend) -> str:
    """Of the model that is doing best: the others take its place only when it is down."""
    failures = await backend.check_language_models()
    if None in failures:
        return "ok"
    return "loading" if ModelFailure.LOADING in failures else "error"
