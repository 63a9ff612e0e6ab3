# SPDX-License-Identifier: AGPL-3.0-or-later
"""More is asked of the running program than it can do: it says so, stays well, and goes on."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.memory import used_bytes
from tests.program import Program, headers, part
from tests.waiting import until

OPEN = 10_000
AT_ONCE = 120
WORDS = ("roof", "repair", "garden", "budget", "council", "meeting", "water", "school", "street", "library")


@pytest.fixture(scope="module")
def program(module_storage: Path, module_database_url: str) -> Iterator[Program]:
    """Three users with a few sources; eight requests may be in work, four of them of one user."""
    (module_storage / "config.yaml").write_text(
        "embedding:\n  hashing:\nllm:\n  extractive:\n"
        "limits:\n  requests_at_once: 8\n  requests_at_once_per_asker: 4\n  header_seconds: 60\n",
        encoding="utf-8",
    )
    with Program(module_storage, {"CCB_DB_URL": module_database_url}) as program:
        push(program, range(1, 41))
        program.wait_for_indexed(40)
        yield program


def push(program: Program, numbers: range) -> None:
    """Sources of some length."""
    text = " ".join(f"The {first} is near the {second}." for first in WORDS for second in WORDS).encode()
    parts = [part(f"files__default: {number}", text + b" %d" % number, users="alice,bob,carol") for number in numbers]
    assert program.load(parts).json()["loaded_sources"]


async def asked(program: Program, requests: int, users: tuple[str, ...]) -> tuple[list[httpx.Response], list[int]]:
    """The answers to so many questions at once, and how the program said it was meanwhile."""
    async with httpx.AsyncClient(
        base_url=program.client.base_url, headers=headers(), timeout=60, limits=httpx.Limits(max_connections=None)
    ) as client:
        questions = [
            asyncio.create_task(
                client.post("/query", json={"query": " ".join(WORDS[n % 5 :]), "userId": users[n % len(users)]})
            )
            for n in range(requests)
        ]
        well = []
        while not all(question.done() for question in questions):
            well.append((await client.get("/heartbeat")).status_code)
            well.append((await client.get("/status")).status_code)
            await asyncio.sleep(0.02)
        return [await question for question in questions], well


async def test_who_asks_too_much_is_told_when_to_come_again_and_others_are_answered(program: Program) -> None:
    answers, well = await asked(program, AT_ONCE, ("alice", "bob", "carol"))
    told = Counter(answer.status_code for answer in answers)

    assert set(told) <= {200, 503}
    assert told[200]
    assert told[503]
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code != 200)
    assert set(well) == {200}


async def test_one_user_does_not_take_the_places_of_all(program: Program) -> None:
    answers, _ = await asked(program, 8, ("alice",) * 7 + ("bob",))
    assert answers[7].status_code == 200
    assert {answer.status_code for answer in answers[:7]} <= {200, 503}


async def test_afterwards_everybody_is_answered(program: Program) -> None:
    await asked(program, AT_ONCE, ("alice",))
    for user in ("alice", "bob", "carol"):
        assert program.search(user, "roof repair")


def test_it_stays_well_and_answers_while_it_indexes(program: Program) -> None:
    push(program, range(100, 400))
    for _ in range(20):
        assert program.client.get("/heartbeat").status_code == 200
        assert program.search("bob", "garden budget")
    program.wait_for_indexed(340)


@pytest.mark.slow
def test_ten_thousand_open_connections_keep_nobody_out_and_cost_little(program: Program) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN + 1000:
        pytest.skip(f"this machine lets a process open {hard} files")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, OPEN + 1000) if hard > 0 else OPEN + 1000, hard))
    assert program.process is not None
    before = used_bytes([program.process.pid])
    try:
        with ExitStack() as held:
            for _ in range(OPEN - 100):
                one = held.enter_context(socket.create_connection(("127.0.0.1", program.port), timeout=30))
                one.sendall(b"GET /heart")
            assert program.client.get("/heartbeat").status_code == 200
            assert program.search("alice", "roof repair")
            cost = used_bytes([program.process.pid]) - before
            assert cost < OPEN * 40_000
            refused = 0
            for _ in range(300):
                one = held.enter_context(socket.create_connection(("127.0.0.1", program.port), timeout=30))
                one.settimeout(0.2)
                try:
                    refused += b"503" in one.recv(100)
                except TimeoutError:
                    continue
                if refused:
                    break
            assert refused
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: program.client.get("/heartbeat").status_code == 200)
    assert program.search("alice", "roof repair")
