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

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MOST_BYTES = 4096

router = APIRouter(route_class=ChatWordsRoute)
redirecting = APIRouter(route_class=ChatWordsRoute, include_in_schema=False)


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


@redirecting.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "DELETE"], response_model=None)
async def elsewhere(request: Request, path: str) -> Response:
    """Everything else is served at the port with HTTPS."""
    port = _ports(request).tls_port
    host = request.url.hostname
    if port is None or host is None or path.startswith(".well-known/"):
        raise _nothing()
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
