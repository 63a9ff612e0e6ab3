# SPDX-License-Identifier: AGPL-3.0-or-later
"""What AppAPI calls: heartbeat, initialisation, enable and disable, logs (contract appapi 3)."""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from context_chat_backend.errors import ContextChatError
from context_chat_backend.exapp.authentication import NextcloudRoute
from context_chat_backend.exapp.loops import Loops
from context_chat_backend.exapp.readiness import STARTING, Ready, Starting
from context_chat_backend.logs import get_logger
from context_chat_backend.web.errors import Refusal
from context_chat_backend.wiring import Backend

ENABLE_SECONDS = 40.0
"""How long PUT /enabled waits for the start to end. AppAPI waits 60 s, and calls as soon as the heartbeat answers."""

_PROGRESS_ATTEMPTS = 10
_PROGRESS_SECONDS = 2.0
_PIECE = 64 * 1024
_log = get_logger(__name__)

heartbeat_router = APIRouter()
router = APIRouter(route_class=NextcloudRoute)


@heartbeat_router.get("/heartbeat")
async def heartbeat() -> dict[str, str]:
    """Open to everybody, and answered while the rest still starts."""
    return {"status": "ok"}


@heartbeat_router.get("/ready")
async def ready(backend: Starting) -> JSONResponse:
    """For Kubernetes, which cannot sign its requests: 200 when this process does its work, 503 while it does not."""
    return JSONResponse({"ready": backend.health.ready}, 200 if backend.health.ready else 503)


@router.get("/")
async def greeting(_: Ready) -> str:
    """Somebody looks whether anything is here."""
    return "Context Chat Backend"


@router.post("/init")
async def init(request: Request, backend: Starting) -> dict[str, str]:
    """Answer at once, also while starting: AppAPI takes anything else for a failure. It hears when we are ready."""
    report = asyncio.create_task(_report_ready(backend))
    request.app.state.background.add(report)  # the loop itself holds tasks weakly
    report.add_done_callback(request.app.state.background.discard)
    return {}


@router.get("/enabled")
async def is_enabled(backend: Ready) -> dict[str, bool]:
    """The companion asks before its first call."""
    return {"enabled": await backend.switch.is_enabled()}


@router.put("/enabled")
async def set_enabled(request: Request, backend: Starting, enabled: str = "") -> JSONResponse:
    """Enable or disable, after the start. AppAPI ignores the status: what is wrong stands in `error`."""
    if enabled not in ("0", "1"):
        raise Refusal(400, "enabled: expected 0 or 1")
    if not await backend.health.wait_until_ready(request.app.state.enable_seconds):
        raise Refusal(503, STARTING)
    loops: Loops = request.app.state.loops
    try:
        if enabled == "0":
            await loops.switched_off()  # while Nextcloud still listens
        await backend.switch.set_enabled(enabled == "1")
        error = await loops.switched_on() if enabled == "1" else ""
        if error:
            await backend.switch.set_enabled(False)
    except ContextChatError as failure:
        _log.warning("switch_failed", error=type(failure).__name__)
        raise Refusal(500, "the database does not answer: try again") from None
    _log.info("switched", enabled=enabled == "1", error=error)
    return JSONResponse({"error": error})


@router.post("/trigger")
async def trigger(request: Request, _: Ready) -> dict[str, str]:
    """A task waits. Nextcloud waits too, in the request of its user, and ignores the answer."""
    request.app.state.loops.wake()
    return {}


@router.get("/downloadLogs")
async def download_logs(backend: Starting) -> StreamingResponse:
    """All logs in one archive, also when the start fails: then they are wanted most. The audit is no log.

    AppAPI lets administrators through alone. Not cached: its proxy would keep the archive for an hour.
    """
    archive = await asyncio.to_thread(_zipped, backend.config.storage)
    headers = {"Content-Disposition": 'attachment; filename="docker_logs.zip"', "Cache-Control": "no-store"}
    return StreamingResponse(_pieces(archive), media_type="application/zip", headers=headers)


def _zipped(storage: Path) -> IO[bytes]:
    folder = storage / "logs"
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when its last piece was sent
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in (*sorted(folder.rglob("*")), *sorted(storage.glob("postgres.log*"))):
            with suppress(FileNotFoundError):  # renamed by the rotation meanwhile
                if path.is_file():
                    archive.write(path, path.relative_to(folder) if folder in path.parents else path.name)
    file.seek(0)
    return file


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece


async def _report_ready(backend: Backend) -> None:
    """Report progress, and 100 once ready until Nextcloud takes it; before it answers it calls us (appapi 5)."""
    told = 0
    while not await backend.health.wait_until_ready(_PROGRESS_SECONDS):
        nextcloud = getattr(backend, "nextcloud", None)  # it is there once the start has come so far
        if nextcloud is not None and backend.health.percent > told:
            told = backend.health.percent
            await nextcloud.client.report_progress(told)
    if backend.nextcloud is None:
        _log.warning("progress_not_reported", cause="NEXTCLOUD_URL or APP_SECRET is not set")
        return
    for attempt in range(_PROGRESS_ATTEMPTS):
        if await backend.nextcloud.client.report_progress(100):
            return
        await asyncio.sleep(min(30.0, 2.0**attempt))
    _log.error("progress_not_reported", cause="Nextcloud does not take it")
