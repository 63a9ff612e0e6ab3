# SPDX-License-Identifier: AGPL-3.0-or-later
"""Errors become answers here, and nowhere else: `{"error": text}` with texts that may be shown."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from context_chat_backend.errors import ContextChatError, DatabaseUnavailable, ModelUnavailable, Unavailable
from context_chat_backend.logs import get_logger

_log = get_logger(__name__)


def again_in(seconds: float) -> dict[str, str]:
    """The header that tells when to come again."""
    return {"Retry-After": str(math.ceil(seconds))}


AGAIN_SOON = again_in(1)
AGAIN = again_in(5)
"""Where nobody knows when it will be better."""


class Refusal(HTTPException):
    """An answer that is no success, decided by a route: its status and a text that may be shown."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text, dict(headers or {}))


def install(app: FastAPI) -> None:
    """Make `app` answer every error in one shape."""
    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(ContextChatError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unforeseen)


async def refused(_: Request, error: Exception) -> JSONResponse:
    """The answer of a Refusal."""
    assert isinstance(error, Refusal)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ContextChatError)
    if error.public:
        return JSONResponse({"error": str(error)}, 400)
    _log.warning("request_failed", path=request.url.path, error=type(error).__name__)
    match error:
        case DatabaseUnavailable():
            return JSONResponse({"error": "the database does not answer: try again"}, 500)
        case ModelUnavailable():
            return JSONResponse({"error": "a model does not answer: try again"}, 500)
        case Unavailable():
            return JSONResponse({"error": "not available: try again"}, 503)
        case _:
            return JSONResponse({"error": "internal error"}, 500)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """FastAPI's answer with `input` emptied: what users wrote is not sent back."""
    assert isinstance(error, RequestValidationError)
    detail = [{key: one[key] for key in ("type", "loc", "msg")} | {"input": None} for one in error.errors()]
    return JSONResponse({"detail": detail}, 422)


async def _gone(request: Request, _: Exception) -> JSONResponse:
    """The caller hung up before its request was read: nobody reads this."""
    _log.info("caller_gone", path=request.url.path)
    return JSONResponse({"error": "the request was cut off"}, 400)


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    _log.error("request_failed", path=request.url.path, error=type(error).__name__)
    return JSONResponse({"error": "internal error"}, 500)
