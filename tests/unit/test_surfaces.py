# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/surfaces.md names every route, the surfaces that serve it, and who may call it."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.routing import APIRoute

from context_chat_backend import config
from context_chat_backend.settings.listeners import SURFACES
from context_chat_backend.web.app import build_app
from context_chat_backend.wiring import Backend
from tests.doors import (
    ADMINISTRATOR,
    ADMINISTRATORS,
    CHAT,
    COMPLETION,
    EMBEDDING,
    EVERYBODY,
    INGEST,
    NEXTCLOUD,
    PROGRAMS,
    TOOLS,
    door_of,
)  # fmt: skip

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "surfaces.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (?P<call>`[A-Z]+ /[^`]*`) \| (?P<surfaces>[a-z, ]+) \| (?P<who>[^|]+) \| (?P<spec>[^|]+) \|$", re.MULTILINE
)
SPECIFICATIONS = {"Nextcloud", "OpenAI", "ChatQnA", "gateway", "chat server", "planner", "ours", "ACME"}


WHO = (
    (EVERYBODY, "everybody"),
    (NEXTCLOUD, "Nextcloud"),
    (ADMINISTRATORS, "administrators"),
    (ADMINISTRATOR, "administrators"),
    (PROGRAMS, "a key"),
    (CHAT, "a key for chat"),
    (COMPLETION, "a key for completion"),
    (EMBEDDING, "a key for embedding"),
    (INGEST, "a key for ingest"),
    (TOOLS, "a key for chat, administrators"),
)


def who(surface: str, method: str, path: str) -> str:
    """As the page says it; tests/integration/test_doors.py asks every route whether it is true."""
    return next(told for door, told in WHO if door == door_of(surface, method, path))


def served(folder: Path) -> set[tuple[str, str, str]]:
    """Each call with the surfaces that serve it and who may make it there."""
    backend = Backend(config.load({"APP_PERSISTENT_STORAGE": str(folder)}, cores=1))
    found: dict[tuple[str, str], list[str]] = {}
    for surface in SURFACES:
        for route in build_app(backend, surfaces=[surface]).state.routes:
            if isinstance(route, APIRoute):
                for method in sorted(route.methods or ()):
                    found.setdefault((f"`{method} {route.path}`", who(surface, method, route.path)), []).append(surface)
    return {(call, ", ".join(surfaces), allowed) for (call, allowed), surfaces in found.items()}


def test_the_page_has_a_row_for_every_route_and_no_other(tmp_path: Path) -> None:
    rows = [(row["call"], row["surfaces"], row["who"]) for row in ROW.finditer(PAGE)]

    assert sorted(rows) == sorted(served(tmp_path))


def test_every_row_names_what_its_route_follows() -> None:
    assert {row["spec"] for row in ROW.finditer(PAGE)} <= SPECIFICATIONS


def test_every_surface_of_programs_has_a_section_with_a_walk() -> None:
    for surface in ("gateway", "chat", "openai", "chatqna", "planner"):
        assert re.search(rf"^## {surface}$.*?^```sh$", PAGE, re.MULTILINE | re.DOTALL | re.IGNORECASE), surface
