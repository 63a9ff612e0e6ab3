# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may call which route: the table all routes are compared with, here and over HTTP.

A route without an entry fails tests/unit/test_routes.py, one that lets others in tests/integration/test_doors.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum, auto
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from context_chat_backend.web import openapi
from context_chat_backend.web.app import ROUTERS


class Credential(StrEnum):
    """What somebody sends to say who he is."""

    NOTHING = auto()
    SYSTEM = auto()
    """Nextcloud's secret, for nobody: a call of Nextcloud itself."""
    USER = auto()
    """Nextcloud's secret, for a user: what AppAPI's proxy carries for a browser."""
    WRONG_SECRET = auto()
    ADMINISTRATOR = auto()
    WRONG_ADMINISTRATOR = auto()
    CHAT_KEY = auto()
    EMBEDDING_KEY = auto()
    COMPLETION_KEY = auto()
    INGEST_KEY = auto()
    UNKNOWN_KEY = auto()
    REVOKED_KEY = auto()
    EXPIRED_KEY = auto()
    TOKEN = auto()
    EXPIRED_TOKEN = auto()
    FOREIGN_TOKEN = auto()
    """Of an issuer that is not configured."""


class Outcome(StrEnum):
    """What becomes of a request."""

    LET_IN = auto()
    """The route looks at what is wanted, whatever comes of that."""
    UNKNOWN = "401"
    NOT_MADE_FOR_IT = "403"


Door = Mapping[Credential, Outcome]
"""What becomes of each credential; of those that are not named: UNKNOWN."""

_ALL_KEYS = (
    Credential.CHAT_KEY, Credential.EMBEDDING_KEY, Credential.COMPLETION_KEY, Credential.INGEST_KEY, Credential.TOKEN
)  # fmt: skip


def _let_in(*credentials: Credential) -> dict[Credential, Outcome]:
    return dict.fromkeys(credentials, Outcome.LET_IN)


def _with_scope(*credentials: Credential) -> Door:
    return dict.fromkeys(_ALL_KEYS, Outcome.NOT_MADE_FOR_IT) | _let_in(*credentials)


EVERYBODY: Door = _let_in(*Credential)
NEXTCLOUD: Door = _let_in(Credential.SYSTEM, Credential.USER)
ADMINISTRATORS: Door = _let_in(Credential.SYSTEM, Credential.ADMINISTRATOR)
ADMINISTRATOR: Door = _let_in(Credential.ADMINISTRATOR)
"""The chat server knows no Nextcloud."""
PROGRAMS: Door = _let_in(*_ALL_KEYS)
CHAT: Door = _with_scope(Credential.CHAT_KEY, Credential.TOKEN)
COMPLETION: Door = _with_scope(Credential.COMPLETION_KEY)
EMBEDDING: Door = _with_scope(Credential.EMBEDDING_KEY)
INGEST: Door = _with_scope(Credential.INGEST_KEY)
TOOLS: Door = {**CHAT, **_let_in(Credential.ADMINISTRATOR)}

DOORS: Mapping[tuple[str, str], Door] = {
    ("GET", "/heartbeat"): EVERYBODY,  # AppAPI and Kubernetes ask before they can sign anything
    ("GET", "/ready"): EVERYBODY,
    ("GET", "/health"): EVERYBODY,
    ("GET", "/openapi.json"): EVERYBODY,
    ("GET", "/docs"): EVERYBODY,
    ("GET", "/"): NEXTCLOUD,
    ("POST", "/init"): NEXTCLOUD,
    ("GET", "/enabled"): NEXTCLOUD,
    ("PUT", "/enabled"): NEXTCLOUD,
    ("POST", "/trigger"): NEXTCLOUD,
    ("GET", "/downloadLogs"): NEXTCLOUD,
    ("PUT", "/loadSources"): NEXTCLOUD,
    ("POST", "/countIndexedDocuments"): NEXTCLOUD,
    ("POST", "/deleteSources"): NEXTCLOUD,
    ("POST", "/deleteProvider"): NEXTCLOUD,
    ("POST", "/deleteSourcesByProvider"): NEXTCLOUD,
    ("POST", "/deleteSourcesByProviderForAllUsers"): NEXTCLOUD,
    ("POST", "/deleteUser"): NEXTCLOUD,
    ("POST", "/updateAccess"): NEXTCLOUD,
    ("POST", "/updateAccessProvider"): NEXTCLOUD,
    ("POST", "/updateAccessDeclarative"): NEXTCLOUD,
    ("POST", "/query"): NEXTCLOUD,
    ("POST", "/docSearch"): NEXTCLOUD,
    ("GET", "/status"): ADMINISTRATORS,
    ("GET", "/metrics"): ADMINISTRATORS,
    ("GET", "/v1/models"): PROGRAMS,
    ("POST", "/v1/chat/completions"): CHAT,
    ("POST", "/v1/chatqna"): CHAT,
    ("POST", "/v1/conversations"): CHAT,
    ("GET", "/v1/conversations"): CHAT,
    ("DELETE", "/v1/conversations"): CHAT,
    ("GET", "/v1/conversations/export"): CHAT,
    ("GET", "/v1/conversations/{conversation}"): CHAT,
    ("DELETE", "/v1/conversations/{conversation}"): CHAT,
    ("POST", "/api/v1/chat/start"): CHAT,
    ("POST", "/api/v1/chat/message"): CHAT,
    ("GET", "/api/v1/chat"): CHAT,
    ("GET", "/api/v1/chat/{conversation}"): CHAT,
    ("PATCH", "/api/v1/chat/{conversation}"): CHAT,
    ("DELETE", "/api/v1/chat/{conversation}"): CHAT,
    ("POST", "/api/v1/tools/compute/search"): TOOLS,
    ("POST", "/api/v1/tools/k8s/search"): TOOLS,
    ("POST", "/api/v1/tools/hf/search"): TOOLS,
    ("POST", "/api/v1/tools/documents/search"): TOOLS,
    ("POST", "/api/v1/tools/local/check"): TOOLS,
    ("POST", "/v1/embeddings"): EMBEDDING,
    ("POST", "/api/refact/chat"): PROGRAMS,  # its body says which scope it needs
    ("POST", "/v1/completions"): COMPLETION,
    ("POST", "/v1/code-completion"): COMPLETION,
    ("POST", "/v1/code-completion-prompt"): PROGRAMS,  # after its body is read
    ("GET", "/refact-caps"): PROGRAMS,
    ("GET", "/coding_assistant_caps.json"): PROGRAMS,
    ("GET", "/tokenizer/{name}"): PROGRAMS,
    ("POST", "/chat"): CHAT,
    ("POST", "/chat/stop"): CHAT,
    ("POST", "/chat/feedback"): CHAT,
    ("GET", "/chat/sessions/{session_id}"): CHAT,
    ("DELETE", "/chat/sessions/{session_id}"): CHAT,
    ("GET", "/health/live"): EVERYBODY,
    ("GET", "/health/ready"): EVERYBODY,
    ("GET", "/.well-known/acme-challenge/{token}"): EVERYBODY,  # whoever issues certificates has no key
    ("POST", "/admin/api-keys"): ADMINISTRATOR,
    ("GET", "/admin/api-keys"): ADMINISTRATOR,
    ("GET", "/admin/api-keys/{api_key}/status"): ADMINISTRATOR,
    ("POST", "/admin/api-keys/deactivate"): ADMINISTRATOR,
    ("POST", "/admin/api-keys/{key_id}/rotate"): ADMINISTRATOR,
    ("DELETE", "/admin/api-keys/{key_id}"): ADMINISTRATOR,
    ("GET", "/admin/collections"): ADMINISTRATOR,
    ("POST", "/admin/collections"): ADMINISTRATOR,
    ("DELETE", "/admin/collections/{name}"): ADMINISTRATOR,
    ("POST", "/admin/collections/{name}/qa-pairs"): ADMINISTRATOR,
    ("POST", "/admin/collections/{name}/documents"): ADMINISTRATOR,
    ("POST", "/v1/documents"): INGEST,
    ("GET", "/v1/documents/{document_id}"): INGEST,
    ("DELETE", "/v1/documents/{document_id}"): INGEST,
}
"""Who is let in, by method and path."""
OF_A_SURFACE: Mapping[tuple[str, str, str], Door] = {("gateway", "GET", "/"): EVERYBODY}
"""Where that differs, by surface, method and path."""


def door_of(surface: str, method: str, path: str) -> Door:
    """Who is let in at a route of a surface."""
    return OF_A_SURFACE.get((surface, method, path), DOORS[method, path])


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route an application serves, those of its description included."""
    described = {id(route) for route in openapi.router.routes}
    included = [route for group in app.routes for route in _within(group)]
    assert {id(route) for route in included} - described == {id(route) for route in app.state.routes}
    for route in included:
        assert isinstance(route, APIRoute), route
        for method in route.methods or ():
            yield method, route.path


def _within(group: Any) -> list[Any]:
    """FastAPI keeps a router that was included as one entry."""
    router = getattr(group, "original_router", None)
    return [group] if router is None else [found for route in router.routes for found in _within(route)]


def routes_at(surface: str) -> set[tuple[str, str]]:
    """Method and path of what is served at a listener of one surface."""
    described = ("openai", "chatqna", "chat", "gateway", "planner")
    routers = [*ROUTERS[surface], *([openapi.router] if surface in described else [])]
    return {
        (method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
