# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a listener serves, described: GET /openapi.json for programs, and GET /docs to read.

The page is written here and loads nothing from anywhere.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute

from context_chat_backend import __version__
from context_chat_backend.exapp.authentication import AdministratorRoute, NextcloudRoute
from context_chat_backend.web.examples import EXAMPLES
from context_chat_backend.web.program_route import ProgramRoute

router = APIRouter(include_in_schema=False)

_TITLE = "Context Chat Backend"
_DESCRIPTION = (
    "Answers from documents that who asks may read. Programs send a key (`Authorization: Bearer …` or `X-API-Key: …`); "
    "end users a signed token of an issuer that is configured. Nextcloud signs its requests."
)
_POLICY = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_OF_PROGRAMS = {
    400: ("invalid_value", "The request cannot be understood; `param` names the member."),
    401: ("invalid_api_key", "No key or token, or one that does not hold. Nothing else takes its place."),
    403: ("scope_not_allowed", "The key is not made for this, or a collection cannot be read."),
    404: ("not_found", "There is no such thing, or it is not the caller's."),
    408: ("request_too_slow", "The body came too slowly."),
    413: ("body_too_large", "The body is too long."),
    415: ("unsupported_encoding", "The body has a `Content-Encoding`: bodies are taken as they are."),
    429: (
        "rate_limited",
        "Too many requests in this minute, today (`quota_exceeded`), or at once (`server_busy`); see `Retry-After`.",
    ),
    500: ("internal_error", "A fault of the program."),
    502: ("upstream_bad_response", "The server of the model is gone, refuses our key, or answers with an error."),
    503: ("upstream_unavailable", "Model or database are not there now; see `Retry-After`."),
    504: ("upstream_timeout", "The model does not answer in time."),
}
_OF_NEXTCLOUD = {
    400: "The request cannot be understood; the text names the field.",
    401: "The request is not signed by Nextcloud.",
    422: "A member is missing or ill-typed.",
    429: "Too many requests of this address in this minute were not signed by Nextcloud; see `Retry-After`.",
    500: "The database or a model does not answer.",
    503: "The program starts, is disabled, or has no room (`cc-retry: true`).",
}
_SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key of a program, or the token of an end user."},
    "x_api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
    "administrator": {"type": "http", "scheme": "bearer", "description": "The token of administrators."},
    "nextcloud": {"type": "apiKey", "in": "header", "name": "AUTHORIZATION-APP-API", "description": "AppAPI's."},
}
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#8881;padding:.7rem;overflow:auto}code{font-size:.9em}h2{margin-top:2.5rem}"
)


@router.get("/openapi.json")
async def as_json(request: Request) -> JSONResponse:
    """What is served here, as OpenAPI."""
    return JSONResponse(described(request.app))


@router.get("/docs")
async def as_page(request: Request) -> HTMLResponse:
    """What is served here, to read."""
    return HTMLResponse("".join(_page(described(request.app))), headers=_POLICY)


def described(app: FastAPI) -> dict[str, Any]:
    """All routes of `app` with summary, example and errors, in OpenAPI's form."""
    routes = [route for route in app.state.routes if isinstance(route, APIRoute)]
    schema = get_openapi(title=_TITLE, version=__version__, description=_DESCRIPTION, routes=routes)
    for route in routes:
        for method in route.methods or ():
            _describe(schema["paths"][route.path][method.lower()], route, method)
    schema.setdefault("components", {})["securitySchemes"] = _SECURITY
    return schema


def _describe(operation: dict[str, Any], route: APIRoute, method: str) -> None:
    """Put into `operation` what FastAPI cannot know."""
    lines = (route.endpoint.__doc__ or "").strip().split("\n", 1)
    operation["summary"] = lines[0].rstrip(".")
    operation["description"] = " ".join(lines[-1].split())
    example = EXAMPLES[method, route.path]
    if example.request is not None:
        content = operation.setdefault("requestBody", {"required": True, "content": {}})["content"]
        content.setdefault(example.media_type, {"schema": {"type": "object"}})["example"] = example.request
    done = str(route.status_code or 200)
    answer = operation["responses"][done]
    answer["description"] = "Done."
    known = answer.get("content", {}).get(example.answered_as, {})
    if example.answer is not None:
        answer["content"] = {example.answered_as: known | {"example": example.answer}}
    operation["responses"] = {done: answer} | dict(_errors(route))
    if isinstance(route, ProgramRoute):
        operation["security"] = [{"key": []}, {"x_api_key": []}]
    elif isinstance(route, AdministratorRoute):
        operation["security"] = [{"administrator": []}, {"nextcloud": []}]
    elif isinstance(route, NextcloudRoute):
        operation["security"] = [{"nextcloud": []}]


def _errors(route: APIRoute) -> Iterator[tuple[str, dict[str, Any]]]:
    """The answers of a route that are no success, by status."""
    if isinstance(route, ProgramRoute):
        for status, (code, text) in _OF_PROGRAMS.items():
            error = {"message": "what is wrong", "type": "…", "code": code, "param": None}
            yield str(status), _answer(text, {"error": error, "detail": "what is wrong", "request_id": "…"})
    elif isinstance(route, NextcloudRoute):
        for status, text in _OF_NEXTCLOUD.items():
            yield str(status), _answer(text, {"error": "what is wrong"})
    else:
        yield "503", _answer("Not ready.", {"status": "loading"})


def _answer(text: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"example": body}}}


def _page(schema: Mapping[str, Any]) -> Iterator[str]:
    info = schema["info"]
    yield f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{_TITLE}</title><style>{_STYLE}</style>'
    yield f"<h1>{_TITLE} {html.escape(info['version'])}</h1><p>{html.escape(info['description'])}</p>"
    yield '<p><a href="openapi.json">openapi.json</a></p>'
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            yield f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
            yield f"<p>{html.escape(operation['description'])}</p>"
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"<p>Send <code>{html.escape(kind)}</code></p>{_shown(content.get('example'))}"
            for status, answer in operation["responses"].items():
                examples = [content["example"] for content in answer.get("content", {}).values()]
                shown = "".join(map(_shown, examples)) if status.startswith("2") else ""
                yield f"<p><code>{status}</code> {html.escape(answer['description'])}</p>{shown}"


def _shown(example: Any) -> str:
    return f"<pre>{html.escape(json.dumps(example, ensure_ascii=False, indent=2))}</pre>"
