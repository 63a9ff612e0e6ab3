# SPDX-License-Identifier: AGPL-3.0-or-later
"""The open port beside HTTPS: answers to challenges of ACME, and where else to go."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response

from context_chat_backend.settings.listeners import ChatPorts
from context_chat_backend.web.chat_route import ChatWordsRoute
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.program_route import not_served

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MOST_BYTES = 4096

router = APIRouter(route_class=ChatWordsRoute)


@router.get("/.well-known/acme-challenge/{token}", response_class=PlainTextResponse)
async def challenge(request: Request, token: str) -> PlainTextResponse:
    """The file of this name in the folder of challenges, for who issues certificates."""
    folder = _ports(request).challenges
    if folder is None or not _TOKEN.fullmatch(token):
        raise _nothing()
    answer = await anyio.to_thread.run_sync(_read, folder / token)
    if answer is None:
        raise _nothing()
    return PlainTextResponse(answer)


async def elsewhere(request: Request, error: Exception) -> Response:
    """The answer at the open port to what is served with HTTPS: where that is."""
    port, host = _ports(request).tls_port, request.url.hostname
    if port is None or host is None or request.url.path.startswith("/.well-known/"):
        return await not_served(request, error)
    host = f"[{host}]" if ":" in host else host
    return RedirectResponse(str(request.url.replace(scheme="https", netloc=f"{host}:{port}")), 308)


def _read(file: Path) -> str | None:
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _MOST_BYTES:
            return None
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


def _ports(request: Request) -> ChatPorts:
    ports: ChatPorts = request.app.state.backend.config.ports
    return ports


def _nothing() -> ApiError:
    return ApiError(404, "not_found", "there is nothing here")
