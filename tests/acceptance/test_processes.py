# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several processes on one database: nothing is done twice, and what a killed one had is taken over by another."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.installation import agree, installed, register
from tests.nextcloud_double.process import SEARCH, Nextcloud
from tests.program import Program

pytestmark = pytest.mark.slow  # six programs start for each test
ROLES = ("requestproc", "updatesproc", "updatesproc", "indexing", "indexing", "requestproc")


@pytest.fixture
def nextcloud() -> Iterator[Nextcloud]:
    with Nextcloud() as running:
        running.do("add_users", names=["alice"])
        yield running


@pytest.fixture
def processes(nextcloud: Nextcloud, storage: Path, database_url: str) -> Iterator[list[Program]]:
    """One for each of ROLES; the first is registered."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(installed(nextcloud, storage / str(n), database_url, APP_ROLE=role))
            for n, role in enumerate(ROLES)
        ]
        register(nextcloud, started[0])
        yield started


def put(nextcloud: Nextcloud, count: int, name: str) -> None:
    files = [{"path": f"{name}{n}.txt", "readers": ["alice"], "text": f"the garden {n}"} for n in range(count)]
    nextcloud.do("put_files", files=files)


def test_several_processes_share_the_work_and_two_may_die(nextcloud: Nextcloud, processes: list[Program]) -> None:
    put(nextcloud, 100, "first")
    nextcloud.wait(lambda: len(nextcloud.calls("GET", "/files/")) > 20)
    processes[1].stop(9)  # one that takes in
    processes[3].stop(9)  # one that indexes
    killed_at = time.time()
    put(nextcloud, 50, "second")

    nextcloud.wait(lambda: nextcloud.queues_are_empty(), 120)
    # What a killed process had in work is due again when its lease ends.
    nextcloud.wait(lambda: len(processes[0].search("alice", "garden", limit=500)) >= 148, 120)
    listed = Counter(
        id_ for call in nextcloud.calls("DELETE", "/queues/documents") for id_ in call["parameters"]["files"]
    )
    assert set(listed) == set(range(1, 151))
    fetched: dict[str, list[float]] = {}
    for call in nextcloud.calls("GET", "/files/"):
        fetched.setdefault(call["path"], []).append(float(call["at"]))
    # Twice is fetched what the killed one had in work, and nothing else.
    assert [times for times in fetched.values() if len(times) > 2 or (times[1:] and times[0] > killed_at)] == []


def test_tasks_of_a_killed_process_are_closed_by_another(nextcloud: Nextcloud, processes: list[Program]) -> None:
    put(nextcloud, 3, "file")
    nextcloud.wait(lambda: nextcloud.queues_are_empty() and agree(nextcloud, processes[0], ["alice"]))
    tasks = [nextcloud.schedule(SEARCH, "alice", "garden") for _ in range(10)]
    assert all(nextcloud.ended(task)["status"] == "STATUS_SUCCESSFUL" for task in tasks)
    results = Counter(call["path"] for call in nextcloud.calls("POST", "/result"))
    assert set(results.values()) == {1}

    nextcloud.fault("POST", "/result", "status", times=1, value=503)
    task = nextcloud.schedule(SEARCH, "alice", "garden")
    nextcloud.wait(lambda: nextcloud.faults_left() == [])
    processes[5].stop(9)
    processes[0].stop(9)
    processes[0].start(enable=False)

    assert nextcloud.ended(task, 90)["status"] == "STATUS_SUCCESSFUL"


def test_each_role_does_its_part_and_says_when_it_is_ready(nextcloud: Nextcloud, processes: list[Program]) -> None:
    assert [process.client.get("/ready").status_code for process in processes] == [200] * len(ROLES)
    for number in (1, 2, 3, 4):
        processes[number].stop()
    put(nextcloud, 3, "file")
    assert nextcloud.ended(nextcloud.schedule(SEARCH, "alice", "garden"))["output"]["sources"] == []
    assert nextcloud.do("queue_lengths")["files"] == 3

    processes[1].start(enable=False)
    nextcloud.wait(nextcloud.queues_are_empty)
    assert nextcloud.calls("GET", "/files/") == []
    processes[3].start(enable=False)

    nextcloud.wait(lambda: agree(nextcloud, processes[0], ["alice"]))
