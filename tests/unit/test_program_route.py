# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a route for programs puts around an answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient

from context_chat_backend.limits import Limits
from context_chat_backend.web.program_route import ProgramRoute
from context_chat_backend.wiring import Backend


class OpenRoute(ProgramRoute):
    """Anybody may ask."""

    async def admit(self, backend: Backend, request: Request) -> None:
        pass


@pytest.mark.parametrize(
    ("name", "told"),
    [("Llama 3.2 (3B)", "Llama 3.2 (3B)"), ("Größe 7B 🦊", "Gr??e 7B ?"), ("a\r\nX-Other: b", "a??X-Other: b")],
)
def test_a_model_of_any_name_is_told_in_a_header_that_is_one(name: str, told: str) -> None:
    router = APIRouter(route_class=OpenRoute)

    @router.get("/model")
    async def model(request: Request) -> str:
        request.state.model_used = name
        return "said"

    app = FastAPI()
    app.include_router(router)
    app.state.backend = SimpleNamespace(health=SimpleNamespace(ready=True), config=SimpleNamespace(limits=Limits()))

    answer = TestClient(app).get("/model")

    assert answer.headers["X-Model-Used"] == told
    assert "X-Other" not in answer.headers
