# SPDX-License-Identifier: AGPL-3.0-or-later
"""Errors as OpenAI's clients read them: `{"error": {message, type, code, param}, "detail", "request_id"}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from context_chat_backend.errors import (
    CursorOutOfRange,
    DatabaseUnavailable,
    InvalidRequest,
    ModelFailure,
    ModelNotFound,
    ModelUnavailable,
    PromptTooLong,
    TooManyAtOnce,
    Unavailable,
    WaitingListFull,
)
from context_chat_backend.logs import get_logger
from context_chat_backend.web.errors import AGAIN, AGAIN_SOON, Refusal, again_in

_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "invalid_request_error", 413: "invalid_request_error",
    415: "invalid_request_error", 422: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip
_CODES = {
    404: "not_found", 405: "method_not_allowed", 408: "request_too_slow", 413: "body_too_large",
    415: "unsupported_encoding", 429: "server_busy", 503: "server_busy",
}  # fmt: skip
_CODES_OF_REQUESTS: Mapping[type[InvalidRequest], str] = {
    ModelNotFound: "model_not_found",
    CursorOutOfRange: "cursor_out_of_range",
}
CANCELLED = 499
"""The status of what its caller waits for no more, as it is written down."""
_CODES_OF_MEMBERS = ("bad_template", "missing_prompt")
"""What validators call a fault that has a code of its own."""
_MODEL_FAILURES: Mapping[ModelFailure, tuple[int, str, str]] = {
    ModelFailure.UNAVAILABLE: (503, "upstream_unavailable", "the model does not answer: try again"),
    ModelFailure.LOADING: (503, "upstream_loading", "the model is being loaded: try again"),
    ModelFailure.TIMEOUT: (504, "upstream_timeout", "the model does not answer in time"),
    ModelFailure.UNREACHABLE: (502, "upstream_unreachable", "the server of the model cannot be reached"),
    ModelFailure.AUTHENTICATION: (502, "upstream_auth", "the server of the model does not take our key"),
    ModelFailure.BROKEN: (502, "upstream_bad_response", "the server of the model answers with an error"),
}
_KINDS = frozenset({"bool", "str", "Retrieval", "GivenPassage"})
_log = get_logger(__name__)


class ApiError(Refusal):
    """An answer that is no success, with the code that programs look at."""

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        faults: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """`param` is the member of the request that is wrong; `faults` are all that are, where they are told."""
        super().__init__(status, text, headers)
        self.code = code
        self.param = param
        self.faults = faults


def too_many(
    said: str, seconds_left: float, code: str = "rate_limited", headers: Mapping[str, str] | None = None
) -> ApiError:
    """What is answered to who asks too often; in `seconds_left` he may again."""
    return ApiError(429, code, said, headers=again_in(seconds_left) | dict(headers or {}))


def api_error(error: Exception) -> ApiError:
    """What `error` is to the caller; what he may not see is logged by its type."""
    match error:
        case ApiError():
            return error
        case HTTPException():
            code = _CODES.get(error.status_code, "invalid_value")
            return ApiError(error.status_code, code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return _invalid(error)
        case ClientDisconnect():
            return ApiError(400, "invalid_json", "the request was cut off")
        case PromptTooLong():
            return ApiError(400, "context_length_exceeded", str(error), param=_named(str(error)) or "messages")
        case InvalidRequest():
            code = _CODES_OF_REQUESTS.get(type(error), "invalid_value")
            return ApiError(400, code, str(error), param=_named(str(error)))
        case _:
            return _failed(error)


def _failed(error: Exception) -> ApiError:
    _log.warning("request_failed", error=type(error).__name__)
    match error:
        case DatabaseUnavailable():
            return ApiError(503, "database_unavailable", "the database does not answer: try again", headers=AGAIN)
        case ModelUnavailable() as down:
            status, code, said = _MODEL_FAILURES[down.failure]
            return ApiError(status, code, str(down) if down.public else said, headers=AGAIN if status == 503 else None)
        case TooManyAtOnce():
            return ApiError(429, "server_busy", "the models have enough to do: try again", headers=AGAIN_SOON)
        case WaitingListFull():
            return ApiError(503, "server_busy", "there is no room for more documents: try again", headers=AGAIN)
        case Unavailable():
            return ApiError(503, "server_busy", "not available: try again", headers=AGAIN)
        case _:
            return ApiError(500, "internal_error", "internal error")


def envelope(error: ApiError, request_id: str) -> dict[str, Any]:
    """The body of the answer."""
    kind = _TYPES.get(error.status_code, "server_error")
    described = {"message": error.detail, "type": kind, "code": error.code, "param": error.param}
    detail = error.detail if error.faults is None else list(error.faults)
    return {"error": described, "detail": detail, "request_id": request_id}


def error_response(error: ApiError, request_id: str) -> JSONResponse:
    """The answer."""
    return JSONResponse(envelope(error, request_id), error.status_code, error.headers)


def _invalid(error: RequestValidationError) -> ApiError:
    """The fault that lies deepest in a body; what was sent is not sent back."""
    fault = max(error.errors(), key=lambda one: len(_path(one["loc"])))
    path = _path(fault["loc"])
    if fault["type"] == "json_invalid" or not path:
        return ApiError(400, "invalid_json", "the body must be a JSON object")
    param = ""
    for part in path:
        param += f"[{part}]" if isinstance(part, int) else f".{part}" if param else part
    text = str(fault["msg"]).removeprefix("Value error, ")
    code = fault["type"] if fault["type"] in _CODES_OF_MEMBERS else "invalid_value"
    if "unsupported" in text:
        code = "unsupported_content"
    return ApiError(400, code, f"{param}: {text}", param=param)


def _path(loc: Sequence[int | str]) -> list[int | str]:
    """The place in the body, without the names of types that stand in it where there is a choice of them."""
    return [part for part in loc[1:] if isinstance(part, int) or (part.isidentifier() and part not in _KINDS)]


def _named(text: str) -> str | None:
    """The member a text of ours begins with."""
    name, colon, _ = text.partition(":")
    return name if colon and name.isidentifier() else None
