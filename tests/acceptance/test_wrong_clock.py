# SPDX-License-Identifier: AGPL-3.0-or-later
"""The program's clock is wrong, by an hour or suddenly: the database's decides what came before what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.clocks import OwnClock, own_clock
from tests.program import Program, part
from tests.waiting import until

pytestmark = pytest.mark.slow  # the program starts for each test
HOUR = 3600
REF = "mail__messages: 1"


@pytest.fixture
def clock(tmp_path: Path) -> OwnClock:
    return own_clock(tmp_path)


@pytest.fixture
def program(storage: Path, clock: OwnClock) -> Iterator[Program]:
    (storage / "config.yaml").write_text("embedding:\n  hashing:\nllm:\n  extractive:\n")
    with Program(storage, clock.environment) as running:
        yield running


def error_of(program: Program) -> float:
    """How many seconds the program's clock is ahead of ours, as its log says."""
    program.load([part("no id", b"x")])  # it is refused, which is logged
    last = json.loads(program.output().splitlines()[-1])["timestamp"]
    return (datetime.fromisoformat(last) - datetime.now(UTC)).total_seconds()


def jumped(program: Program, clock: OwnClock, seconds: int) -> None:
    """Let the program's clock jump, and wait until it has."""
    clock.jump(seconds)
    until(lambda: abs(error_of(program) - seconds) <= HOUR / 2, said=lambda: "the clock did not jump")


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_no_order_is_lost_or_undone_by_a_clock_that_is_wrong(program: Program, clock: OwnClock, seconds: int) -> None:
    jumped(program, clock, seconds)

    def delete() -> object:
        return program.post("/deleteSources", {"sourceIds": [REF]})

    program.load_slowly(part(REF, b"The ferry leaves at nine." + bytes(2_000_000)), delete)
    program.load([part("mail__messages: 2", b"The ferry is blue.")])
    program.wait_for_indexed(1)
    assert program.search("alice", "ferry") == ["mail__messages: 2"]

    delete()
    program.load([part(REF, b"The ferry leaves at noon.", users="alice,bob")])
    program.wait_for_indexed(2)
    assert program.search("bob", "ferry") == [REF]

    program.post("/updateAccess", {"op": "deny", "userIds": ["bob"], "sourceId": REF})
    assert program.search("bob", "ferry") == []
    assert set(program.search("alice", "ferry")) == {REF, "mail__messages: 2"}
