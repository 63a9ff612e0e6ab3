# SPDX-License-Identifier: AGPL-3.0-or-later
"""An answer ends on its way when the key it is given to is revoked, or a collection it is written from is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from context_chat_backend.domain import Scope, collections_of
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.envelope import CANCELLED, ApiError
from context_chat_backend.wiring import Backend

_SECONDS = 0.4
"""Between two looks; the first comes after as long, so that short answers cost none."""
_END = object()
T = TypeVar("T")
Look = Callable[[], Awaitable[ApiError | None]]


async def guarded(
    events: AsyncGenerator[T, None],
    look: Look,
    seconds: float = _SECONDS,
    *,
    is_last: Callable[[T], bool] = lambda _event: False,
) -> AsyncGenerator[T, None]:
    """`events`, closed in the middle as soon as `look` finds a reason, which is raised.

    Once a look was due, it is looked again before the event that `is_last`: that may hold the whole answer. Raises what
    that look raises; in between, a database that does not answer is no reason.
    """
    watch = _Watch(look, seconds)
    watching = asyncio.create_task(watch.run())
    try:
        async with aclosing(events):
            while True:
                event = await watch.until(anext(events, _END))
                if event is _END:
                    return
                if watch.is_due and is_last(event) and (reason := await look()) is not None:  # type: ignore[arg-type]
                    raise reason
                yield event  # type: ignore[misc]
    finally:
        watching.cancel()


async def guarded_work(work: Coroutine[Any, Any, T], look: Look, seconds: float = _SECONDS) -> T:
    """What `work` returns; it is cancelled as soon as `look` finds a reason, which is raised."""

    async def done() -> AsyncGenerator[T, None]:
        yield await work

    async with aclosing(guarded(done(), look, seconds, is_last=lambda _result: True)) as results:
        return await anext(results)


class _Watch:
    """Looks now and then, and interrupts whoever waits for the next event."""

    def __init__(self, look: Look, seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._reason: ApiError | None = None
        self._waiting: asyncio.Timeout | None = None
        self.is_due = False

    async def run(self) -> None:
        """Until there is a reason."""
        while self._reason is None:
            await asyncio.sleep(self._seconds)
            self.is_due = True  # before the look: it may wait for a connection until the answer is there
            with suppress(DatabaseUnavailable):  # the next look may succeed, and the last one must
                self._reason = await self._look()
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def until(self, event: Awaitable[T]) -> T:
        """The event. Raises the reason when there is one before it."""
        try:
            async with asyncio.timeout(None) as self._waiting:
                if self._reason is not None:
                    self._waiting.reschedule(asyncio.get_running_loop().time())
                return await event
        except TimeoutError:
            if self._reason is None:
                raise
            raise self._reason from None
        finally:
            self._waiting = None


def still_allowed(backend: Backend, caller: Caller, scope: Scope | None = None, request_id: str | None = None) -> Look:
    """What looks whether the key still holds, and whether the collections of `scope` are still there.

    With `request_id` also whether the key wants no more of that answer. The look raises DatabaseUnavailable.
    """
    collections = frozenset(collections_of(() if scope is None else scope.providers or ())) | (
        caller.collections or set()
    )

    async def look() -> ApiError | None:
        if caller.key_id is not None and not await backend.keys.holds(caller.key_id):
            return ApiError(401, "invalid_api_key", "this key is no longer one that may be used")
        if caller.key_id and request_id and await backend.uses.is_stopped(request_id, caller.key_id):
            return ApiError(CANCELLED, "cancelled", "the caller wants no more of it")
        if collections and await backend.collections.known(collections) != collections:
            return ApiError(404, "collection_not_found", "a collection of this answer was deleted meanwhile")
        return None

    return look
