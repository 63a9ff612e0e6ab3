# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/surfaces.md names every route, the surfaces that serve it, and who may call it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fastapi.routing import APIRoute

from context_chat_backend import config
from context_chat_backend.domain import KeyScope
from context_chat_backend.exapp.authentication import AdministratorRoute, NextcloudRoute
from context_chat_backend.settings.listeners import SURFACES
from context_chat_backend.web import acme_api, chat_health_api
from context_chat_backend.web.app import build_app
from context_chat_backend.web.chat_route import AdminRoute
from context_chat_backend.web.program_route import ProgramRoute
from context_chat_backend.wiring import Backend

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "surfaces.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (?P<call>`[A-Z]+ /[^`]*`) \| (?P<surfaces>[a-z, ]+) \| (?P<who>[^|]+) \| (?P<spec>[^|]+) \|$", re.MULTILINE
)
SPECIFICATIONS = {"Nextcloud", "OpenAI", "ChatQnA", "gateway", "chat server", "planner", "ours", "ACME"}


def who(route: APIRoute) -> str:
    if isinstance(route, AdministratorRoute):
        return "administrators"
    if isinstance(route, NextcloudRoute):
        return "Nextcloud"
    if isinstance(route, AdminRoute):
        return "administrators"
    routers = (acme_api.router, chat_health_api.router)
    if any(route in router.routes for router in routers) or not isinstance(route, ProgramRoute):
        return "everybody"
    scopes = [scope for needed in route.dependant.dependencies for scope in _scopes(needed.call)]
    return f"a key for {scopes[0]}" if scopes else "a key"


def _scopes(dependency: object) -> Iterator[KeyScope]:
    """What a key has to be made for, where the route says it by caller_for()."""
    for cell in getattr(dependency, "__closure__", None) or ():
        if isinstance(cell.cell_contents, KeyScope):
            yield cell.cell_contents


def served(folder: Path) -> set[tuple[str, str, str]]:
    """Each call with the surfaces that serve it and who may make it there."""
    backend = Backend(config.load({"APP_PERSISTENT_STORAGE": str(folder)}, cores=1))
    found: dict[tuple[str, str], list[str]] = {}
    for surface in SURFACES:
        for route in build_app(backend, surfaces=[surface]).state.routes:
            if isinstance(route, APIRoute):
                for method in sorted(route.methods or ()):
                    found.setdefault((f"`{method} {route.path}`", who(route)), []).append(surface)
    return {(call, ", ".join(surfaces), allowed) for (call, allowed), surfaces in found.items()}


def test_the_page_has_a_row_for_every_route_and_no_other(tmp_path: Path) -> None:
    rows = [(row["call"], row["surfaces"], row["who"]) for row in ROW.finditer(PAGE)]

    assert sorted(rows) == sorted(served(tmp_path))


def test_every_row_names_what_its_route_follows() -> None:
    assert {row["spec"] for row in ROW.finditer(PAGE)} <= SPECIFICATIONS


def test_every_surface_of_programs_has_a_section_with_a_walk() -> None:
    for surface in ("gateway", "chat", "openai", "chatqna"):
        assert re.search(rf"^## {surface}$.*?^```sh$", PAGE, re.MULTILINE | re.DOTALL | re.IGNORECASE), surface
