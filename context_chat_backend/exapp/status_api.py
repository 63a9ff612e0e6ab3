# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the index stands, for administrators' tools: GET /status."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from context_chat_backend.exapp.authentication import AdministratorRoute
from context_chat_backend.exapp.readiness import Ready
from context_chat_backend.indexing.status import indexing_status

router = APIRouter(route_class=AdministratorRoute)


@router.get("/status")
async def status(backend: Ready) -> dict[str, Any]:
    """Sources by state, provider and reason, the pace and the time left. Titles stay here: they are users' content."""
    known = asdict(await indexing_status(backend.overview))
    slowest = [{key: value for key, value in source.items() if key != "title"} for source in known.pop("slowest")]
    return known | {"slowest": slowest}
