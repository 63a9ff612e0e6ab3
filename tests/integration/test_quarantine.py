# SPDX-License-Identifier: AGPL-3.0-or-later
"""A source that kills its parser twice is kept away from it, until it is let out or changed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from context_chat_backend.domain import Admission, Reason
from context_chat_backend.store.database import Database
from context_chat_backend.store.overview import Overview
from tests.integration.test_ledger import START, Bench

LATER = START + timedelta(days=1)


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path)


async def settle_twice(bench: Bench) -> None:
    await bench.settle_all()
    await bench.due_now()
    await bench.settle_all()


async def spooled(bench: Bench) -> int:
    async with bench.database.transaction() as connection:
        row = await (await connection.execute("SELECT count(*) FROM spool")).fetchone()
    assert row is not None
    return int(row[0])


async def test_the_first_time_it_is_tried_again(bench: Bench) -> None:
    await bench.admit("kill")
    await bench.settle_all()

    assert await bench.states() == {"waiting": 1}


async def test_the_second_time_it_is_quarantined_and_others_go_on(bench: Bench) -> None:
    await bench.admit("kill", item="1")
    await bench.admit("some words", item="2")
    await settle_twice(bench)

    assert await bench.states() == {"quarantined": 1, "indexed": 1}
    (listed,) = await bench.ledger.rejected()
    assert (listed.ref, listed.state, listed.reason) == ("files__default: 1", "quarantined", "its parser crashed")


async def test_an_older_version_answers_no_more(bench: Bench) -> None:
    await bench.admit("some words")
    await bench.settle_all()
    await bench.admit("kill", modified_at=LATER)
    await settle_twice(bench)

    assert await bench.found("words") == []


async def test_the_same_version_is_not_tried_again_and_a_newer_one_is(bench: Bench) -> None:
    await bench.admit("kill")
    await settle_twice(bench)

    assert await bench.admit("kill") is Admission.UNCHANGED
    assert await bench.states() == {"quarantined": 1}
    assert await bench.admit("some words", modified_at=LATER) is Admission.ADMITTED
    await bench.settle_all()
    assert await bench.states() == {"indexed": 1}
    assert await spooled(bench) == 0


@pytest.mark.parametrize("named", [{"reason": "its parser crashed"}, {"ref": "files__default: 1"}])
async def test_it_is_let_out_with_its_bytes(bench: Bench, named: dict[str, str]) -> None:
    await bench.admit("kill")
    await settle_twice(bench)

    assert (await Overview(bench.database).retry(**named)).due == 1
    assert await bench.states() == {"waiting": 1}
    assert await spooled(bench) == 1
    await settle_twice(bench)
    assert await bench.states() == {"quarantined": 1}


async def test_others_stay_inside(bench: Bench) -> None:
    await bench.admit("kill")
    await settle_twice(bench)

    overview = Overview(bench.database)

    assert (await overview.retry()).due == 0  # who is meant must be said
    assert (await overview.retry(ref="files__default: 2")).due == 0
    assert await bench.states() == {"quarantined": 1}


async def test_a_version_that_was_replaced_is_not_judged(bench: Bench) -> None:
    await bench.admit("kill")
    (source,) = await bench.ledger.claim(1, timedelta(minutes=1))
    await bench.admit("some words", modified_at=LATER)

    for _ in range(2):
        assert not await bench.ledger.killed_its_parser(source, Reason.PARSER_DIED, timedelta(0))
    await bench.due_now()
    await bench.settle_all()
    assert await bench.states() == {"indexed": 1}
