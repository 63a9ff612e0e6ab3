# SPDX-License-Identifier: AGPL-3.0-or-later
"""The double answers what the contract's samples say, and its queues lease as the companion's do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nextcloud_double.apps import ExApp
from tests.nextcloud_double.queues import LEASE_SECONDS
from tests.nextcloud_double.server import State, build
from tests.program import headers

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "contract" / "samples"
SECRET = "s3cret-demo"
OURS = headers(SECRET) | {"OCS-APIRequest": "true", "Accept": "application/json"}
FILES_PATH = "/ocs/v2.php/apps/context_chat/files/101"
DOCUMENTS = "/ocs/v2.php/apps/context_chat/queues/documents/"
ACTIONS = "/ocs/v2.php/apps/context_chat/queues/actions/"


@pytest.fixture
def state() -> State:
    """What the samples speak of."""
    state = State(app=ExApp("context_chat_backend", "5.4.0", SECRET, "http://127.0.0.1:1", enabled=True, action=""))
    world = state.world
    world.add_users(["alice", "bob", "carol"])
    return state


@pytest.fixture
async def client(state: State) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build(state), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://nextcloud", headers=OURS) as client:
        yield client


def requests_of(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if not SAMPLES.exists():
        pytest.skip("the contract's samples are not beside the project")
    sample = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return sample["requests"], sample["responses"]


async def send(client: httpx.AsyncClient, request: dict[str, Any]) -> httpx.Response:
    built = client.build_request(
        request["method"], request["path"], params=request.get("query"), json=request.get("body")
    )
    for name in OURS:
        del built.headers[name]
    built.headers.update(request["headers"])
    return await client.send(built)


def shape(value: Any) -> Any:
    """Names and types; maps by number are alike whatever the numbers."""
    if isinstance(value, dict):
        if value and all(key.isdigit() for key in value):
            return {"<id>": shape(next(iter(value.values())))}
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def schedule(state: State, task_id: int, kind: str = "context_chat:context_chat") -> None:
    for request in requests_of("task-provider-register")[0]:
        state.tasks.register(request["body"])
    state.tasks._last_id = task_id - 1
    named = {"prompt": "When do we ship?", "scopeType": "none", "scopeList": [], "scopeListMeta": "[]"}
    state.tasks.schedule(kind, named, "alice", "assistant")


async def test_listed_documents_look_as_in_the_sample(client: httpx.AsyncClient, state: State) -> None:
    state.world.put_file("Notes/plan.md", ["alice", "bob"], "the plan", file_id=555)
    state.world.submit("mail__messages", "12:34", "Invoice May", "Dear", ["alice"])
    (request, *_), (answer, *_) = requests_of("pull-documents-get")

    got = await send(client, request)

    assert got.status_code == 200
    assert shape(got.json()) == shape(answer["body"])


async def test_listed_actions_look_as_in_the_sample(client: httpx.AsyncClient, state: State) -> None:
    (request, *_), (answer, *_) = requests_of("pull-actions-get")
    for action in answer["body"]["ocs"]["data"]["actions"].values():
        state.world.enqueue_action(action["type"], action["payload"])

    got = await send(client, request)

    listed, wanted = (body["ocs"]["data"]["actions"] for body in (got.json(), answer["body"]))
    assert [{**action, "id": 0} for action in listed.values()] == [{**action, "id": 0} for action in wanted.values()]


@pytest.mark.parametrize("name", ["pull-documents-delete", "pull-actions-delete"])
async def test_acknowledging_needs_every_member(client: httpx.AsyncClient, name: str) -> None:
    (right, _), answers = requests_of(name)
    wrong = right | {"body": {"ids": [1]}}

    good, bad = await send(client, right), await send(client, wrong)

    assert (good.status_code, good.json()) == (200, answers[0]["body"])
    assert bad.status_code == 500


async def test_enriched_sources_look_as_in_the_sample(client: httpx.AsyncClient, state: State) -> None:
    state.world.put_file("Notes/plan.md", ["alice"], "the plan", file_id=555)
    state.world.submit("mail__messages", "12:34", "Invoice May", "Dear", ["alice"])
    (request,), (answer, *_) = requests_of("pull-enrich-sources")

    got = await send(client, request)

    ids = [source["id"] for source in answer["body"]["ocs"]["data"]["sources"]]
    assert [source["id"] for source in got.json()["ocs"]["data"]["sources"]] == ids
    assert shape(got.json()) == shape(answer["body"])


async def test_a_file_is_given_to_its_readers_only(client: httpx.AsyncClient, state: State) -> None:
    state.world.put_file("plan.md", ["alice"], "the plan", file_id=101)

    answers = [
        await client.get(FILES_PATH, params={"userId": user, "format": "json"}) for user in ("alice", "bob", "nobody")
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 500]
    assert answers[0].text == "the plan"
    assert answers[1].json()["ocs"]["data"].keys() == {"error"}


@pytest.mark.parametrize("which", [0, 1], ids=["as a body", "in the query"])
async def test_the_next_task_looks_as_in_the_sample(client: httpx.AsyncClient, state: State, which: int) -> None:
    schedule(state, 7001)
    requests, (answer, *_) = requests_of("task-next")

    first, second = [await send(client, requests[which]) for _ in range(2)]

    expected = shape(answer["body"])
    assert shape(first.json()) == expected
    assert (second.status_code, second.content) == (204, b"")


async def test_progress_and_result_look_as_in_the_samples(client: httpx.AsyncClient, state: State) -> None:
    schedule(state, 7001)
    (progress,), (moved, *_) = requests_of("task-progress")
    (result, *_), (ended, *_) = requests_of("task-result")

    answers = [await send(client, progress), await send(client, result)]

    assert answers[0].json()["ocs"]["data"]["task"]["progress"] == moved["body"]["ocs"]["data"]["task"]["progress"]
    assert answers[1].json()["ocs"]["data"]["task"]["status"] == ended["body"]["ocs"]["data"]["task"]["status"]


async def test_a_text_is_scheduled_and_polled_as_in_the_samples(client: httpx.AsyncClient, state: State) -> None:
    (classic, twin), (answer, *_) = requests_of("task-text2text-schedule")
    (poll,), _ = requests_of("task-text2text-poll")
    state.tasks._last_id = 7099

    answers = [await send(client, classic), await send(client, twin), await send(client, poll)]

    assert answers[0].json()["ocs"]["meta"] == answer["body"]["ocs"]["meta"]
    assert shape(answers[0].json()) == shape(answer["body"])
    assert answers[1].json()["ocs"]["meta"]["statuscode"] == 200
    assert answers[2].json()["ocs"]["data"]["task"]["status"] == "STATUS_SUCCESSFUL"


async def test_too_many_texts_of_one_user_are_refused_without_a_body(client: httpx.AsyncClient, state: State) -> None:
    (classic, _), _ = requests_of("task-text2text-schedule")

    answers = [await send(client, classic) for _ in range(21)]

    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    assert answers[-1].content == b""


async def test_without_a_writer_version_one_fails_inside_a_success(client: httpx.AsyncClient, state: State) -> None:
    state.tasks.writes = None
    (classic, twin), _ = requests_of("task-text2text-schedule")

    first, second = await send(client, classic), await send(client, twin)

    assert (first.status_code, first.json()["ocs"]["meta"]["statuscode"]) == (200, 412)
    assert second.status_code == 412


async def test_a_wrong_secret_is_refused_by_kind_of_route(client: httpx.AsyncClient) -> None:
    requests, answers = requests_of("appapi-auth-failures")

    got = [await send(client, request) for request in requests]

    assert [answer.status_code for answer in got] == [answer["status"] for answer in answers[: len(got)]]
    assert "ocs" not in got[0].json()


async def test_a_leased_row_comes_back_after_a_day_and_its_file_is_not_queued_meanwhile(
    client: httpx.AsyncClient, state: State
) -> None:
    file = state.world.put_file("a.txt", ["alice"], "one")

    async def listed() -> dict[str, Any]:
        answer = await client.get(DOCUMENTS, params={"n": 5, "format": "json"})
        files: dict[str, Any] = answer.json()["ocs"]["data"]["files"]
        return files

    first = await listed()
    state.world.put_file("a.txt", ["alice"], "two", file_id=file)
    second = await listed()
    state.world.move_clock(LEASE_SECONDS + 1)

    assert list(first) == list(await listed()) == ["1"]
    assert second == {}


async def test_row_ids_of_the_two_tables_overlap(client: httpx.AsyncClient, state: State) -> None:
    state.world.put_file("a.txt", ["alice"], "one")
    state.world.submit("mail__messages", "1", "Hello", "Text", ["alice"])

    listed = (await client.get(DOCUMENTS, params={"n": 5, "format": "json"})).json()["ocs"]["data"]
    await client.request("DELETE", DOCUMENTS, params={"format": "json"}, json={"files": [], "content_providers": [1]})

    assert (list(listed["files"]), list(listed["content_providers"])) == (["1"], ["1"])
    assert state.world.queue_lengths() == {"files": 1, "content_providers": 0, "actions": 0}


async def test_a_push_companion_has_no_queues(client: httpx.AsyncClient, state: State) -> None:
    state.world.set_companion("push")
    assert (await client.get(ACTIONS, params={"n": 0, "format": "json"})).status_code == 404
