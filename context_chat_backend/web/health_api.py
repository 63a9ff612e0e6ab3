# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether questions would be answered now, for those who watch over the program: GET /health, open to everybody."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from context_chat_backend.errors import DatabaseUnavailable, ModelFailure
from context_chat_backend.web.errors import AGAIN
from context_chat_backend.wiring import Backend

router = APIRouter()


@router.get("/health")
async def health(request: Request, verbose: bool = False) -> JSONResponse:
    """200 while questions are answered, else 503; with its parts where it is asked for, or other surfaces are here."""
    surfaces = request.app.state.surfaces
    found = await components_of(request.app.state.backend)
    components: dict[str, dict[str, Any]] = {name: {"status": one} for name, one in found.items()}
    plans = "planner" in surfaces
    if plans and "database" in components:
        components["catalogues"] = await _catalogues(request.app.state.backend)
    # Plans are made without a language model, too.
    counted = {name for name in components if name != "llm" or set(surfaces) != {"planner"}}
    said = [components[name]["status"] for name in counted]
    status = "error" if "error" in said else "loading" if "loading" in said else "ok"
    body: dict[str, Any] = {"status": status}
    if verbose or plans or len(surfaces) > 1:
        body["components"] = components
    return JSONResponse(body) if status == "ok" else JSONResponse(body, 503, AGAIN)


async def components_of(backend: Backend) -> dict[str, str]:
    """How the parts are that answers need: 'ok', 'loading' or 'error'."""
    if not backend.health.ready:
        return {"server": "loading"}
    database, model = await asyncio.gather(_database(backend), _model(backend))
    return {"server": "ok", "database": database, "llm": model}


async def _catalogues(backend: Backend) -> dict[str, Any]:
    """How much there is to plan with; an error where no machine is."""
    try:
        sizes = await backend.planner.place.catalogues.sizes()
    except DatabaseUnavailable:
        return {"status": "error"}
    newest = sizes.newest_price
    return {
        "status": "ok" if sizes.instances else "error",
        "instances": sizes.instances,
        "packages": sizes.packages,
        "models": sizes.models,
        "newest_price": None if newest is None else newest.isoformat(),
        "newest_price_age_days": None if newest is None else (datetime.now(UTC).date() - newest).days,
        "prices_are_samples": sizes.holds_samples,
    }


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
