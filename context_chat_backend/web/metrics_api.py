# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Prometheus reads: GET /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response

from context_chat_backend import metrics
from context_chat_backend.exapp.authentication import AdministratorRoute
from context_chat_backend.exapp.readiness import Starting

router = APIRouter(route_class=AdministratorRoute)


@router.get("/metrics")
async def read_metrics(backend: Starting) -> Response:
    """All values; also while starting, disabled, or without a database: then they are wanted most."""
    text = await backend.monitoring.exposition()
    return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE, "Cache-Control": "no-store"})
