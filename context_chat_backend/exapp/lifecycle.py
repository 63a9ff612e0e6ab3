# SPDX-License-Identifier: AGPL-3.0-or-later
"""What AppAPI calls: heartbeat, initialisation, enable and disable, logs (contract appapi 3)."""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, StreamingResponse

from context_chat_backend.errors import ContextChatError
from context_chat_backend.exapp.authentication import require_nextcloud
from context_chat_backend.logs import get_logger
from context_chat_backend.web.errors import Refusal
from context_chat_backend.wiring import Backend

_PROGRESS_ATTEMPTS = 10
_PIECE = 64 * 1024
_log = get_logger(__name__)

heartbeat_router = APIRouter()
router = APIRouter(dependencies=[Depends(require_nextcloud)], redirect_slashes=False)


async def require_ready(request: Request) -> Backend:
    """The backend, when it has started. Raises Refusal (503)."""
    backend: Backend = request.app.state.backend
    if not backend.health.ready:
        raise Refusal(503, "the backend is starting: try again")
    return backend


Ready = Annotated[Backend, Depends(require_ready)]


@heartbeat_router.get("/heartbeat")
async def heartbeat() -> dict[str, str]:
    """Open to everybody, and answered while the rest still starts."""
    return {"status": "ok"}


@router.get("/")
async def greeting() -> str:
    """Somebody looks whether anything is here."""
    return "Context Chat Backend"


@router.post("/init")
async def init(request: Request, backend: Ready) -> dict[str, str]:
    """Answer at once; tell Nextcloud in the background that there is nothing left to do."""
    report = asyncio.create_task(_report_ready(backend))
    request.app.state.background.add(report)  # the loop itself holds tasks weakly
    report.add_done_callback(request.app.state.background.discard)
    return {}


@router.get("/enabled")
async def is_enabled(backend: Ready) -> dict[str, bool]:
    """The companion asks before its first call."""
    return {"enabled": await backend.switch.is_enabled()}


@router.put("/enabled")
async def set_enabled(request: Request) -> JSONResponse:
    """Enable or disable. AppAPI ignores the status: what is wrong stands in `error`."""
    backend: Backend = request.app.state.backend
    enabled = request.query_params.get("enabled")
    if enabled not in ("0", "1"):
        return JSONResponse({"error": "enabled: expected 0 or 1"}, 400)
    if not backend.health.ready:
        return JSONResponse({"error": "the backend is starting: try again"}, 503)
    try:
        await backend.switch.set_enabled(enabled == "1")
    except ContextChatError as error:
        _log.warning("switch_failed", error=type(error).__name__)
        return JSONResponse({"error": "the database does not answer: try again"}, 503)
    _log.info("switched", enabled=enabled == "1")
    return JSONResponse({"error": ""})


@router.post("/trigger")
async def trigger() -> dict[str, str]:
    """A task waits; nothing here runs tasks yet, and Nextcloud ignores the answer."""
    return {}


@router.get("/downloadLogs")
async def download_logs(request: Request) -> StreamingResponse:
    """All files of the log folder in one archive. Not cached: AppAPI's proxy would keep it for an hour."""
    backend: Backend = request.app.state.backend
    archive = await asyncio.to_thread(_zipped, backend.config.storage / "logs")
    headers = {"Content-Disposition": 'attachment; filename="docker_logs.zip"', "Cache-Control": "no-store"}
    return StreamingResponse(_pieces(archive), media_type="application/zip", headers=headers)


def _zipped(folder: Path) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when its last piece was sent
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.glob("*")) if folder.is_dir() else []:
            if path.is_file():
                archive.write(path, path.name)
    file.seek(0)
    return file


def _pieces(file: Any) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece


async def _report_ready(backend: Backend) -> None:
    """Report progress 100 until Nextcloud takes it; it may be busy with the call that made us start."""
    if backend.nextcloud is None:
        _log.warning("progress_not_reported", cause="NEXTCLOUD_URL or APP_SECRET is not set")
        return
    for attempt in range(_PROGRESS_ATTEMPTS):
        if await backend.nextcloud.report_progress(100):
            return
        await asyncio.sleep(min(30.0, 2.0**attempt))
    _log.error("progress_not_reported", cause="Nextcloud does not take it")
