# SPDX-License-Identifier: AGPL-3.0-or-later
"""An answer that may not be given any more ends, whether its writer is busy, slow or silent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.guarding import guarded, guarded_work

REVOKED = ApiError(401, "invalid_api_key", "gone")


class Writer:
    """Writes numbers, and is silent after some of them."""

    def __init__(self, *, silent_after: int | None = None, pause: float = 0.001) -> None:
        self.silent_after = silent_after
        self.pause = pause
        self.closed = False

    async def numbers(self) -> AsyncGenerator[int, None]:
        try:
            number = 0
            while number != self.silent_after:
                yield number
                number += 1
                await asyncio.sleep(self.pause)
            await asyncio.sleep(3600)
        finally:
            self.closed = True


class Looking:
    """Finds a reason at the n-th look."""

    def __init__(self, finds_at: int | None) -> None:
        self.looks = 0
        self.finds_at = finds_at

    async def __call__(self) -> ApiError | None:
        self.looks += 1
        return REVOKED if self.looks == self.finds_at else None


@pytest.mark.parametrize("silent_after", [None, 3, 0])
async def test_the_writer_is_stopped_when_there_is_a_reason(silent_after: int | None) -> None:
    writer, looking = Writer(silent_after=silent_after), Looking(2)
    heard: list[int] = []

    async def hear() -> None:
        async with asyncio.timeout(60):
            async for number in guarded(writer.numbers(), looking, 0.02):
                heard.append(number)

    with pytest.raises(ApiError) as caught:
        await hear()

    assert caught.value is REVOKED
    assert heard == list(range(len(heard)))
    assert writer.closed
    assert looking.looks == 2


async def test_what_came_before_an_end_without_reason_is_whole() -> None:
    async def three() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number
            await asyncio.sleep(0.03)

    looking = Looking(None)
    assert [number async for number in guarded(three(), looking, 0.01)] == [0, 1, 2]
    looks = looking.looks
    await asyncio.sleep(0.05)
    assert looking.looks == looks > 0  # nobody looks any more


async def test_who_leaves_closes_the_writer() -> None:
    writer = Writer()
    async with aclosing(guarded(writer.numbers(), Looking(None), 0.02)) as events:
        assert await anext(events) == 0

    assert writer.closed


async def test_an_error_of_the_writer_comes_through() -> None:
    async def failing() -> AsyncGenerator[int, None]:
        yield 1
        raise TimeoutError

    with pytest.raises(TimeoutError):
        async for _ in guarded(failing(), Looking(None), 0.02):
            pass


async def test_what_comes_last_is_looked_at_again_where_it_took_long() -> None:
    async def whole() -> AsyncGenerator[int, None]:
        await asyncio.to_thread(looked.wait, 60)
        yield 1

    looked = threading.Event()
    looking = Looking(2)

    async def look() -> ApiError | None:
        looked.set()
        return await looking()

    async with aclosing(guarded(whole(), look, 0.02, is_last=lambda _: True)) as events:
        with pytest.raises(ApiError):
            await anext(events)


async def test_what_comes_last_is_looked_at_while_the_first_look_waits() -> None:
    async def look() -> ApiError | None:
        if not looking.is_set():
            looking.set()
            await asyncio.Event().wait()  # for ever: there is no connection
        return REVOKED

    async def whole() -> AsyncGenerator[int, None]:
        await looking.wait()
        yield 1

    looking = asyncio.Event()
    async with aclosing(guarded(whole(), look, 0.02, is_last=lambda _: True)) as events:
        with pytest.raises(ApiError):
            await anext(events)


async def test_a_database_that_is_away_ends_nothing_on_its_way_but_what_comes_last_is_not_given() -> None:
    looks: list[int] = []

    async def look() -> ApiError | None:
        looks.append(1)
        raise DatabaseUnavailable("it fails over")

    async def two() -> AsyncGenerator[int, None]:
        while len(looks) < 2:
            await asyncio.sleep(0.01)
        yield 1
        yield 2

    async with asyncio.timeout(60), aclosing(guarded(two(), look, 0.02, is_last=lambda event: event == 2)) as events:
        assert await anext(events) == 1
        with pytest.raises(DatabaseUnavailable):
            await anext(events)


async def test_work_is_cancelled_when_there_is_a_reason_and_else_it_is_done() -> None:
    cancelled = asyncio.Event()

    async def work(seconds: float) -> int:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 5

    assert await guarded_work(work(0), Looking(None), 0.02) == 5
    with pytest.raises(ApiError):
        await guarded_work(work(3600), Looking(2), 0.02)
    assert cancelled.is_set()
