# SPDX-License-Identifier: AGPL-3.0-or-later
"""The life of the app in Nextcloud, from registration to its end, by pull and by both dialects of push."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.installation import agree, installed, prepare, register
from tests.nextcloud_double.process import CHAT, SEARCH, Nextcloud
from tests.program import ROOT, SECRET, Program, part

DOCUMENTS = sorted(file for file in (ROOT / "samples" / "documents").rglob("*") if file.is_file())
TYPES = {
    ".pdf": "application/pdf", ".odt": "application/vnd.oasis.opendocument.text", ".rtf": "text/rtf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".epub": "application/epub+zip", ".eml": "message/rfc822", ".csv": "text/csv", ".md": "text/markdown",
    ".html": "text/html",
}  # fmt: skip
USERS = ["alice", "bob", "carol"]


@pytest.fixture
def nextcloud() -> Iterator[Nextcloud]:
    with Nextcloud() as running:
        running.do("add_users", names=USERS)
        yield running


@pytest.fixture
def program(nextcloud: Nextcloud, storage: Path, database_url: str) -> Iterator[Program]:
    with installed(nextcloud, storage, database_url) as running:
        yield running


def bodies(count: int) -> Iterator[tuple[str, str, bytes]]:
    """Name, media type and bytes of sources: the samples in their formats first, then texts."""
    for file in DOCUMENTS:
        yield file.name, TYPES.get(file.suffix, "text/plain"), file.read_bytes()
    for n in range(count - len(DOCUMENTS)):
        yield f"note{n}.txt", "text/plain", f"Note {n}: the number of the locker is {1000 + n}.".encode()


def test_registered_filled_asked_disabled_and_removed(nextcloud: Nextcloud, program: Program) -> None:
    count = 500
    files = [
        {"path": name, "readers": ["alice"], "body": base64.b64encode(body).decode(), "media_type": kind}
        for name, kind, body in bodies(count)
    ]
    numbers = nextcloud.do("put_files", files=files)
    register(nextcloud, program)
    flow = [(call["method"], call["path"]) for call in nextcloud.get("/app")["calls"]]
    assert flow[:2] == [("GET", "/heartbeat"), ("POST", "/init")]
    assert flow[-2:] == [("GET", "/heartbeat"), ("PUT", "/enabled?enabled=1")]
    reports = [call["parameters"]["progress"] for call in nextcloud.calls("PUT", "/ex-app/status")]
    assert reports == sorted(reports)
    assert reports[-1] == 100

    nextcloud.wait(nextcloud.queues_are_empty, 120)
    program.wait_for_indexed(count, 240)
    assert nextcloud.companion("get", "/enabled") == {"enabled": True}
    assert nextcloud.companion("post", "/countIndexedDocuments") == {"files__default": count}

    asked = {
        n: nextcloud.schedule(SEARCH, "alice", f"number of the locker of note {n}", limit=20) for n in range(0, 500, 10)
        if n < count - len(DOCUMENTS)
    }  # fmt: skip
    for n, task in asked.items():
        found = [json.loads(one)["id"] for one in nextcloud.ended(task, 60)["output"]["sources"]]
        assert f"files__default: {numbers[len(DOCUMENTS) + n]}" in found
    answer = nextcloud.ended(nextcloud.schedule(CHAT, "alice", "What is the number of the locker in note 7?"), 60)
    assert "1007" in answer["output"]["output"]

    assert nextcloud.order("disable")
    assert program.client.post("/query", json={"query": "locker", "userId": "alice"}).status_code == 503
    assert nextcloud.order("unregister")


@pytest.mark.parametrize("dialect", ["4.6", "beta"])
def test_the_same_by_push(nextcloud: Nextcloud, program: Program, dialect: str) -> None:
    count = 60
    nextcloud.do("set_companion", model="push")
    register(nextcloud, program)
    parts = []
    for n, (name, kind, body) in enumerate(bodies(count)):
        one = part(f"files__default: {n}", body, "alice", title=f"files/{name}", type=kind)
        parts.append(one.replace(b"userIds: ", b"userId: ") if dialect == "beta" else one)

    for start in range(0, count, 1 if dialect == "beta" else 25):
        batch = parts[start : start + (1 if dialect == "beta" else 25)]
        answer = program.load(batch)
        assert answer.status_code == 200
        assert len(answer.json()["loaded_sources"]) == len(batch)

    program.wait_for_indexed(count)
    last = count - len(DOCUMENTS) - 1
    answer = program.post("/query", {"query": f"What is the number of the locker in note {last}?", "userId": "alice"})
    assert f"files__default: {count - 1}" in answer["sources"]
    assert program.search("bob", "locker") == []
    if dialect == "beta":
        program.post("/deleteSources", {"userId": "alice", "sourceNames": [f"files__default: {count - 1}"]})
    else:
        program.post("/deleteSources", {"sourceIds": [f"files__default: {count - 1}"]})
    assert f"files__default: {count - 1}" not in program.search("alice", f"note {last}", limit=100)
    assert nextcloud.get("/tasks")["registered"] == {}
    assert nextcloud.order("disable")


def test_without_a_nextcloud_in_reach_it_starts_and_stays_what_it_was(nextcloud: Nextcloud, program: Program) -> None:
    nextcloud.do("put_file", path="a.txt", readers=["alice"], text="the garden")
    register(nextcloud, program)
    nextcloud.wait(lambda: program.search("alice", "garden") != [])
    nextcloud.stop()
    program.stop()

    program.start(enable=False)

    assert program.client.get("/enabled").json() == {"enabled": True}
    assert program.search("alice", "garden") != []


def test_registering_again_under_another_secret_needs_the_secret(nextcloud: Nextcloud, program: Program) -> None:
    register(nextcloud, program)
    nextcloud.change_app(secret="another")
    nextcloud.wait(lambda: bool(nextcloud.calls("GET", "/queues/") and nextcloud.calls()[-1]["user"] is None))
    assert not nextcloud.order("disable") or program.client.get("/enabled").json() == {"enabled": True}

    nextcloud.change_app(secret=SECRET, enabled=True)
    nextcloud.do("put_file", path="a.txt", readers=["alice"], text="the garden")

    nextcloud.wait(lambda: program.search("alice", "garden") != [], 90)


def test_another_version_in_nextclouds_database_changes_nothing(nextcloud: Nextcloud, program: Program) -> None:
    register(nextcloud, program)
    nextcloud.change_app(version="5.3.0")

    assert nextcloud.order("enable")
    assert nextcloud.companion("get", "/enabled") == {"enabled": True}


def test_initialising_and_enabling_twice_is_doing_it_once(nextcloud: Nextcloud, program: Program) -> None:
    register(nextcloud, program)
    register(nextcloud, program)
    assert nextcloud.order("enable")
    assert nextcloud.order("disable")
    assert nextcloud.order("disable")
    assert nextcloud.order("enable")

    assert len(nextcloud.get("/tasks")["registered"]) == 2


def test_registered_anew_it_knows_what_changed_meanwhile(nextcloud: Nextcloud, program: Program) -> None:
    def put(name: str, **more: object) -> int:
        return int(nextcloud.do("put_file", path=f"{name}.txt", readers=["alice", "bob"], text="the garden", **more))

    def all_is_well() -> bool:
        return bool(nextcloud.queues_are_empty()) and agree(nextcloud, program, USERS)

    _, shared, deleted = put("kept"), put("shared"), put("deleted")
    register(nextcloud, program)
    nextcloud.wait(all_is_well)
    assert nextcloud.order("unregister")
    nextcloud.do("unshare", file_id=shared, users=["bob"])
    nextcloud.do("delete_file", file_id=deleted)
    put("new")

    register(nextcloud, program)

    nextcloud.wait(all_is_well)
    assert program.post("/countIndexedDocuments") == {"files__default": 3}
    assert len(nextcloud.get("/tasks")["registered"]) == 2


def test_two_that_start_at_once_share_one_storage_and_its_work(nextcloud: Nextcloud, storage: Path) -> None:
    with ExitStack() as stack:
        both = [prepare(nextcloud, storage, "", llm="extractive", environment={}) for _ in range(2)]
        for program in both:
            del program.environment["CCB_DB_URL"]  # PostgreSQL runs in the storage
            stack.callback(program.client.close)
            stack.callback(program.stop)
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda program: program.start(enable=False), both))
        for n in range(20):
            nextcloud.do("put_file", path=f"{n}.txt", readers=["alice"], text="the garden")
        register(nextcloud, both[0])

        nextcloud.wait(lambda: nextcloud.queues_are_empty() and agree(nextcloud, both[1], USERS))
        assert len(nextcloud.calls("GET", "/files/")) == 20
        both[0].stop()
        assert agree(nextcloud, both[1], USERS)


def test_warnings_reach_nextclouds_log_without_what_users_wrote(nextcloud: Nextcloud, program: Program) -> None:
    register(nextcloud, program)
    nextcloud.do("enqueue_action", kind="nobody_knows", payload={"sourceId": "a secret of alice"})

    nextcloud.wait(lambda: any("action_refused" in line["message"] for line in nextcloud.get("/log")))

    assert all(line["level"] in (2, 3) for line in nextcloud.get("/log"))
    assert not any("alice" in line["message"] for line in nextcloud.get("/log"))


def test_readiness_is_open_and_tells_nothing_else(program: Program) -> None:
    del program.client.headers["AUTHORIZATION-APP-API"]

    assert program.client.get("/ready").json() == {"ready": True}
    assert program.client.get("/enabled").status_code == 401
