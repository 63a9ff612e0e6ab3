# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every fault at every kind of call, once: afterwards the index holds what Nextcloud holds, and tasks are answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import agree, installed, register
from tests.nextcloud_double.process import CHAT, SEARCH, Nextcloud
from tests.program import Program

CALLS = [
    ("GET", "/queues/documents"), ("DELETE", "/queues/documents"), ("GET", "/queues/actions"),
    ("DELETE", "/queues/actions"), ("GET", "/files/"), ("POST", "/resolve_scope_list"), ("POST", "/enrich_sources"),
    ("GET", "/tasks_provider/next"), ("POST", "/result"), ("POST", "/taskprocessing/schedule"),
    ("GET", "/taskprocessing/task/"), ("POST", "/api/v1/log"),
]  # fmt: skip
FAULTS = {
    "the answer is lost": ("drop", 0), "no answer": ("lost", 0), "412": ("status", 412), "429": ("status", 429),
    "500": ("status", 500), "500 after the effect": ("status_after", 500), "503": ("status", 503),
    "slow": ("slow", 3), "cut": ("cut", 0), "empty": ("empty", 0), "not UTF-8": ("not_utf8", 0),
    "too short": ("short", 0),
}  # fmt: skip
IN_EVERY_RUN = ("the answer is lost", "500 after the effect")
USERS = ["alice", "bob"]


@pytest.fixture
def nextcloud() -> Iterator[Nextcloud]:
    with Nextcloud() as running:
        running.do("add_users", names=USERS)
        yield running


@pytest.fixture
def program(nextcloud: Nextcloud, storage: Path, database_url: str) -> Iterator[Program]:
    with installed(nextcloud, storage, database_url, llm="nc_texttotext") as running:
        yield running


def live(nextcloud: Nextcloud) -> list[int]:
    """A little of everything; the ids of two tasks."""
    one = nextcloud.do("put_file", path="one.txt", readers=["alice", "bob"], text="the garden one")
    two = nextcloud.do("put_file", path="two.txt", readers=["alice"], text="the garden two")
    nextcloud.do("submit", provider="deck__cards", item="1", title="Card", content="garden", readers=["bob"])
    nextcloud.do("unshare", file_id=one, users=["bob"])
    nextcloud.do("share", file_id=two, users=["bob"])
    asked = {"scopeType": "source", "scopeList": [f"files__default: {two}"]}
    return [
        nextcloud.schedule(SEARCH, "alice", "garden", **asked, trigger=False),
        nextcloud.schedule(CHAT, "alice", "What about the garden?", trigger=False),
    ]


@pytest.mark.parametrize(
    "fault", [name if name in IN_EVERY_RUN else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)
def test_after_a_fault_all_is_as_it_should_be(nextcloud: Nextcloud, program: Program, fault: str) -> None:
    register(nextcloud, program)
    kind, value = FAULTS[fault]
    for method, path in CALLS:
        nextcloud.fault(method, path, kind, value=value)

    tasks = live(nextcloud)

    leases = {("GET", "/queues/documents"), ("GET", "/queues/actions")}
    nextcloud.wait(lambda: not leases & {(left["method"], left["path"]) for left in nextcloud.faults_left()}, 120)
    nextcloud.do("move_clock", seconds=86_401)  # what was leased with a lost answer comes back after a day
    program.client.post("/trigger")
    nextcloud.wait(lambda: nextcloud.queues_are_empty() and agree(nextcloud, program, USERS), 120)
    for task in tasks:
        # A task whose handing over was lost stays open: Nextcloud gives it to nobody else, and tells nobody of it.
        if fault not in ("the answer is lost", "500 after the effect", "cut", "empty", "too short"):
            assert nextcloud.ended(task, 60)["endedAt"] is not None
    again = nextcloud.ended(nextcloud.schedule(SEARCH, "alice", "garden"), 60)
    assert len(again["output"]["sources"]) == 2
