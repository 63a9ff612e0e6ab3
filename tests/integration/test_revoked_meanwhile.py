# SPDX-License-Identifier: AGPL-3.0-or-later
"""An answer that is being written ends when its key is revoked or its collection is deleted: at every route there is.

The model goes on for ever: nothing but the revocation can end these requests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from context_chat_backend.domain import Collection, KeyScope
from tests.model_double.client import ModelDouble, running_double
from tests.streams import sent_in
from tests.worlds import ALICE, World, world

LIMITS = "rate_limits: {ip_per_minute: 1000000, key_per_minute: 1000000}\n"
SCOPES = [KeyScope.CHAT, KeyScope.COMPLETION]
SAID = {"messages": [{"role": "user", "content": "Which heron is old?"}]}
CODE = {"inputs": {"sources": {"a.py": "x\n"}, "cursor": {"file": "a.py", "line": 0, "character": 1}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@dataclass(frozen=True)
class Route:
    """Where an answer is written."""

    surface: str
    path: str
    body: dict[str, Any]


ROUTES = [
    *[
        Route(surface, path, {**body, "stream": streams})
        for surface, path, body in (
            ("nextcloud", "/v1/chat/completions", {**SAID, "retrieval": True}),
            ("nextcloud", "/v1/chat/completions", {**SAID, "retrieval": False}),
            ("nextcloud", "/v1/chat/completions", {**SAID, "retrieval": True, "model": "patient", "tools": [TOOL]}),
            ("nextcloud", "/v1/chatqna", {"messages": "Which heron is old?"}),
            ("chat", "/chat", {"message": "Which heron is old?"}),
            ("gateway", "/v1/completions", {"prompt": "The heron", "retrieval": True}),
            ("gateway", "/api/refact/chat", {**SAID, "retrieval": True}),
            ("gateway", "/api/refact/chat", {"prompt": "The heron"}),
        )
        for streams in (True, False)
    ],
    Route("gateway", "/v1/code-completion", {**CODE, "no_cache": True}),
    Route("planner", "/api/v1/chat/message", {"stream": True, "message": "Deploy Llama 8B"}),
    Route("planner", "/api/v1/chat/message", {"stream": False, "message": "Deploy Llama 8B"}),
]


@pytest.fixture
async def patient(storage: Path, database_url: str) -> AsyncIterator[tuple[World, ModelDouble]]:
    """An installation whose models say a word a second."""
    with running_double() as double:
        more = (
            f"{LIMITS}models:\n  patient: {{provider: openai, base_url: '{double.root}', model: s, n_ctx: 16384}}\n"
            "roles: {completion: [patient], chat: [patient]}\n"
            "planner: {extractor: model, model_seconds: 600}\nsafety: {enabled: false}\n"
        )
        llm = f"  openai:\n    base_url: {double.url}\n    model: double\n"
        async with world(storage, database_url, more, ("chat", "gateway", "planner"), llm) as there:
            double.script({"fault": "endless", "seconds": 1})
            yield there, double


async def asked(there: World, key: str, route: Route) -> httpx.Response:
    body = dict(route.body)
    headers = {"Authorization": f"Bearer {there.keys[key]}"}
    if route.surface == "planner":
        body["conversation_id"] = await there.begin("/api/v1/chat/start", key, "planner")
        headers |= {"Accept": "text/event-stream"} if body.pop("stream") else {}
    return await there.clients[route.surface].post(route.path, json=body, headers=headers, timeout=600)


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Its status, and the code of what went wrong: of a stream the last event that is one."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return answer.status_code, answer.json()["error"]["code"]
    lines = [sent for sent in sent_in(answer.text) if sent.startswith("{")]
    told = [event for event in map(json.loads, lines) if "error" in event or "code" in event][-1]
    error = told.get("error", told)
    return answer.status_code, error if isinstance(error, str) else error["code"]


async def test_what_is_being_written_ends_with_its_key_or_its_collection(patient: tuple[World, ModelDouble]) -> None:
    there, double = patient
    of_key, of_collection = Collection("town"), Collection("passing")
    for collection in (of_key, of_collection):
        await there.collect(collection, ALICE, ["The heron is old. The heron is grey."])
        there.keys[collection.name], made = await there.backend.keys.add(
            "tests", user=None, collections=[collection], scopes=SCOPES
        )
        if collection == of_key:
            revoked = made.id
    running = {
        (key, number): asyncio.create_task(asked(there, key, route))
        for key in ("town", "passing")
        for number, route in enumerate(ROUTES)
    }
    async with asyncio.timeout(120):
        while len(double.requests) < len(running):
            assert not any(task.done() for task in running.values())
            await asyncio.sleep(0.1)
        await there.backend.keys.revoke(revoked)
        assert await there.backend.collections.delete(of_collection)
        await asyncio.gather(*running.values())

    for (key, number), task in running.items():
        route, (status, code) = ROUTES[number], error_of(task.result())
        is_stream = task.result().headers["content-type"].startswith("text/event-stream")
        names = {"town": ("invalid_api_key", "invalid_token"), "passing": ("collection_not_found",)}
        assert code in names[key], (route, status, code)
        assert is_stream == route.body.get("stream", False), route
        assert is_stream or status == {"town": 401, "passing": 404}[key], route
