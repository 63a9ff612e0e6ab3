# SPDX-License-Identifier: AGPL-3.0-or-later
"""Room is bounded, and nobody waits for ever."""

from __future__ import annotations

import asyncio

from context_chat_backend.indexing.room import Room


async def test_what_finds_no_room_waits_until_enough_has_left() -> None:
    room = Room(10)
    await room.enter(6)
    second = asyncio.create_task(room.enter(5))
    await asyncio.sleep(0.01)
    assert not second.done()

    await room.leave(6)
    await asyncio.wait_for(second, 5)


async def test_what_is_larger_than_the_room_enters_alone() -> None:
    room = Room(10)
    await room.enter(1)
    large = asyncio.create_task(room.enter(100))
    small = asyncio.create_task(room.enter(1))
    await asyncio.sleep(0.01)
    assert not large.done()
    assert not small.done()  # whoever came later does not overtake: the large one would wait for ever

    await room.leave(1)
    await asyncio.wait_for(large, 5)
    assert not small.done()
    await room.leave(100)
    await asyncio.wait_for(small, 5)
