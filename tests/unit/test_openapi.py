# SPDX-License-Identifier: AGPL-3.0-or-later
"""The description of the HTTP API says all of every route, and its examples are taken by the routes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from context_chat_backend import config
from context_chat_backend.settings.listeners import SURFACES
from context_chat_backend.web.app import build_app
from context_chat_backend.web.examples import EXAMPLES
from context_chat_backend.web.openapi import described
from context_chat_backend.wiring import Backend


def app(folder: Path, *surfaces: str) -> FastAPI:
    return build_app(Backend(config.load({"APP_PERSISTENT_STORAGE": str(folder)}, cores=1)), surfaces=surfaces)


def operations(schema: Any) -> list[tuple[str, str, Any]]:
    return [
        (method.upper(), path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


@pytest.mark.parametrize("surface", SURFACES)
def test_every_route_has_a_summary_an_example_and_its_errors(tmp_path: Path, surface: str) -> None:
    served = app(tmp_path, surface)
    found = operations(described(served))

    routes = [route for route in served.state.routes if isinstance(route, APIRoute)]
    assert len(routes) > 3
    assert {(method, path) for method, path, _ in found} == {
        (method, route.path) for route in routes for method in route.methods or ()
    }
    for method, path, operation in found:
        assert len(operation["summary"]) > 10, (method, path)
        (done,) = [status for status in operation["responses"] if status.startswith("2")]
        if done != "204":
            (content,) = operation["responses"][done]["content"].values()
            assert content["example"] is not None
        errors = [status for status in operation["responses"] if status != done]
        assert errors
        for status in errors:
            assert operation["responses"][status]["content"]["application/json"]["example"]
        if (method == "PUT" and path == "/loadSources") or (method == "POST" and operation.get("requestBody")):
            assert all(content["example"] for content in operation["requestBody"]["content"].values())


def test_there_is_an_example_of_no_other_route(tmp_path: Path) -> None:
    found = operations(described(app(tmp_path, *SURFACES)))
    assert {(method, path) for method, path, _ in found} == set(EXAMPLES)


def test_the_bodies_of_examples_are_those_the_routes_take(tmp_path: Path) -> None:
    checked = 0
    for route in app(tmp_path, *SURFACES).state.routes:
        if isinstance(route, APIRoute) and route.body_field is not None:
            for method in route.methods or ():
                _, errors = route.body_field.validate(EXAMPLES[method, route.path].request, {}, loc=("body",))
                assert not errors, (method, route.path, errors)
                checked += 1
    assert checked > 10


async def test_it_is_served_beside_what_it_describes_and_not_to_nextcloud(tmp_path: Path) -> None:
    async def get(path: str, *surfaces: str) -> httpx.Response:
        transport = httpx.ASGITransport(app(tmp_path, *surfaces))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path)

    schema = (await get("/openapi.json", "chatqna")).json()
    assert "/v1/chatqna" in schema["paths"]
    assert "/query" not in schema["paths"]
    assert "/v1/embeddings" not in schema["paths"]
    page = await get("/docs", "chatqna", "openai")
    assert "POST /v1/chatqna" in page.text
    assert "POST /v1/embeddings" in page.text
    assert "src=" not in page.text
    assert (await get("/docs", "nextcloud")).status_code == 404
    assert (await get("/docs", "metrics")).status_code == 404
    assert (await get("/openapi.json", "nextcloud")).status_code == 404
