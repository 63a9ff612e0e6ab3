# SPDX-License-Identifier: AGPL-3.0-or-later
"""The double answers as the real Nextcloud did: every recorded call of an app, with what it needs put in place."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.nextcloud_double.apps import ExApp
from tests.nextcloud_double.server import State, build
from tests.recorded import CONTRACT, WHERE, Recorded, captures, fits, samples

pytestmark = pytest.mark.skipif(not CONTRACT.exists(), reason=WHERE)
RECORDED_SECRET = "FAKE-EXAPP-SECRET"
SECRET_OF_THE_SAMPLES = "s3cret-demo"
OF_SOME_SERVERS = ("allowCleanup", "preferStreaming")
"""Members of tasks that are added by newer servers, or were for the recording."""


def of_apps() -> list[Recorded]:
    """Calls of apps; those with a password are people's."""
    if not CONTRACT.exists():
        return []
    return [
        one for one in captures() if one.to_nextcloud and "authorization" not in {name.lower() for name in one.headers}
    ]


def parameters(one: Recorded) -> dict[str, Any]:
    query = dict(re.findall(r"[?&]([^=&]+)=([^&]*)", one.target))
    return query | (json.loads(one.body) if one.body else {})


def prepare(state: State, one: Recorded) -> None:
    """The world in which this call had its answer."""
    status, body = one.answers[0]
    world, tasks, path = state.world, state.tasks, one.target.partition("?")[0]
    world.add_users(["admin", "alice", "bob"])
    data = body["ocs"]["data"] if isinstance(body, dict) and "ocs" in body else None
    assert state.app is not None
    if "/status" in path:  # it was initialised before: reporting 100 again does not enable it again
        state.app.init = 100
    if status == 412:
        state.app.enabled = False
    if status == 401:  # before it was registered
        state.app = None
    if "/files/" in path and status == 200:
        number = int(path.rpartition("/")[2])
        world.put_file(f"{number}.txt", ["admin", "alice", "bob"], "text", file_id=number)
    if isinstance(data, dict):
        for queue in ("files", "content_providers"):
            for row in dict(data.get(queue) or {}).values():
                world.enqueue_document(queue, row)
        for row in dict(data.get("actions") or {}).values():
            world.enqueue_action(row["type"], row["payload"])
        for source in data.get("sources") or []:
            if source["id"].startswith("files") and source["label"] != "Deleted file":
                number = int(source["id"].rpartition(" ")[2])
                world.put_file(source["label"], ["admin", "alice", "bob"], "text", file_id=number)
        if isinstance(task := data.get("task"), dict):
            register_kinds(state, task["type"])
            tasks._last_id = task["id"] - 1
            tasks.schedule(task["type"], task["input"], task["userId"], "assistant")
    if one.method == "DELETE" and "ai_provider" in path:
        register_kinds(state, parameters(one)["name"].replace("-", ":", 1))
    if "enrich_sources" in path:
        for source in parameters(one)["sources"]:
            provider, _, item = source["source_id"].partition(": ")
            if provider != "files__default" and any(s["id"] == provider for s in (data or {}).get("sources", [])):
                world.submit(provider, item, "T", "text", ["admin"])


def register_kinds(state: State, kind: str) -> None:
    """Our provider of a kind, with whatever it puts out."""
    provider = {
        "id": kind.replace(":", "-"), "name": "n", "task_type": kind, "expected_runtime": 30,
        "optional_input_shape": [], "optional_output_shape": [], "input_shape_enum_values": {},
        "input_shape_defaults": {}, "optional_input_shape_enum_values": {}, "optional_input_shape_defaults": {},
        "output_shape_enum_values": {}, "optional_output_shape_enum_values": {},
    }  # fmt: skip
    sources = {"name": "sources", "description": "", "shape_type": 11}
    output = {"name": "output", "description": "", "shape_type": 1}
    shapes = [sources] if kind.endswith("search") else [output, sources]
    state.tasks.register(
        {"provider": provider, "customTaskType": {"id": kind, "input_shape": [], "output_shape": shapes}}
    )


def comparable(body: Any) -> Any:
    """Without what differs from server to server: its capabilities, and members some add to tasks."""
    data = body["ocs"]["data"] if isinstance(body, dict) and "ocs" in body else None
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name != "capabilities"}
        if isinstance(data.get("task"), dict):
            data["task"] = {name: value for name, value in data["task"].items() if name not in OF_SOME_SERVERS}
        return {"ocs": body["ocs"] | {"data": data}}
    return body


async def answered(one: Recorded, secret: str) -> httpx.Response:
    """What the double says, once what the call needs is in place."""
    app = ExApp("context_chat_backend", "5.4.0", secret, "http://127.0.0.1:1", enabled=True, action="init")
    state = State(app=app)
    prepare(state, one)
    headers = {name: value for name, value in one.headers.items() if name.lower() not in ("host", "content-length")}
    transport = httpx.ASGITransport(build(state), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://nextcloud") as client:
        return await client.request(one.method, one.target, content=one.body, headers=headers)


@pytest.mark.parametrize("one", of_apps(), ids=str)
async def test_a_recorded_call_is_answered_as_it_was(one: Recorded) -> None:
    status, body = one.answers[0]

    got = await answered(one, RECORDED_SECRET)

    assert got.status_code == status, got.text
    if body is not None and "json" in got.headers.get("content-type", ""):
        assert fits(comparable(body), comparable(got.json())), got.text


@pytest.mark.parametrize("one", [one for one in samples() if one.to_nextcloud] if CONTRACT.exists() else [], ids=str)
async def test_a_call_of_the_documents_is_answered_in_one_of_their_ways(one: Recorded) -> None:
    got = await answered(one, SECRET_OF_THE_SAMPLES)

    bodies = [body for status, body in one.answers if status == got.status_code]
    assert bodies, (got.status_code, got.text)
    if "json" in got.headers.get("content-type", ""):
        assert any(fits(data_of(body), data_of(got.json())) for body in bodies), got.text


def data_of(body: Any) -> Any:
    """What is in the envelope, whichever version it has."""
    body = comparable(body)
    return body["ocs"]["data"] if isinstance(body, dict) and "ocs" in body else body
