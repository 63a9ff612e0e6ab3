# SPDX-License-Identifier: AGPL-3.0-or-later
"""The intake of the companion's queues: one loop under one lease, actions and documents in turn (contract pull-5x).

What is leased is written down first, then admitted, then acknowledged; each step survives a crash. Files are fetched
after their row was acknowledged, since whatever changes from then on is queued anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from context_chat_backend.domain import Realm
from context_chat_backend.errors import DatabaseUnavailable, LeaseLost, NextcloudUnavailable
from context_chat_backend.exapp.leased_rows import settle_leased
from context_chat_backend.exapp.pauses import Pauses
from context_chat_backend.exapp.transfer import Transfer
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.queues import CONTENT, QueuedRow
from context_chat_backend.nextcloud.server import Nextcloud
from context_chat_backend.store.leases import while_ours
from context_chat_backend.store.queued import LeasedRow
from context_chat_backend.wiring import Backend

LEASE_NAME = "intake"
_LEASE = timedelta(seconds=15)
_OTHER_AT_WORK_SECONDS = 2.0
_DOCUMENTS_AT_ONCE = 32
"""What a lost answer costs: so many rows of each kind come back a day later."""
_ACTIONS_AT_ONCE = 4096
_ACKNOWLEDGED_AT_ONCE = 4096
_MAX_REFUSALS = 3
"""The companion may answer 500 to an acknowledgement it has carried out, again and again (trap 8)."""
_LOST_FOR = timedelta(hours=25)
"""Nextcloud gives lost rows out again after a day of its own clock."""
_STOPPING_SECONDS = 3.0
"""For so long a stop waits for rows that were asked for."""
_log = get_logger(__name__)


class _Batch:
    """How many rows are leased at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = most

    async def lease(self, asked: Awaitable[list[QueuedRow]]) -> list[QueuedRow]:
        """The rows. After an answer that cannot be read few are asked for: its rows are lost for a day."""
        try:
            rows = await asked
        except NextcloudUnavailable as error:
            if error.may_have_acted:
                _log.error("leased_rows_may_be_lost", reason=str(error), rows_at_most=self.size)
                self.size = 1
            raise
        self.size = min(self._most, 2 * self.size)
        return rows


@dataclass(frozen=True)
class _Leased:
    """What came of asking for rows."""

    any: bool = False
    actions_are_rest: bool = False
    """Whether the queue of actions holds nothing more."""
    content_is_rest: bool = False
    """The same of content."""
    all_are_rest: bool = False
    """Whether none of the queues does."""
    lost_ago: timedelta | None = None
    """How long ago rows may have been lost that are missing still."""
    failure: NextcloudUnavailable | None = None


async def _to_the_end(work: Coroutine[Any, Any, _Leased], seconds: float) -> _Leased:
    """Await `work`; whoever is cancelled meanwhile lets it go on for at most `seconds`, and is cancelled then."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
        raise


class Intake:
    """Takes in what Nextcloud's queues hold, while this process holds the lease."""

    def __init__(self, backend: Backend, nextcloud: Nextcloud, transfer: Transfer) -> None:
        """`transfer` knows whether there are queues."""
        self._backend = backend
        self._queues = nextcloud.queues
        self._transfer = transfer
        self._pauses = Pauses()
        self._documents = _Batch(_DOCUMENTS_AT_ONCE)
        self._actions = _Batch(_ACTIONS_AT_ONCE)
        self._refusals = 0
        self._rows_are_asked_for = False

    def wake(self) -> None:
        """There may be something in the queues."""
        self._pauses.wake()

    async def run(self) -> None:
        """Take in until cancelled, whenever no other process does."""
        while True:
            try:
                await self._run_while_ours()
            except (DatabaseUnavailable, LeaseLost) as error:
                _log.warning("intake_waits", reason=str(error))
            await asyncio.sleep(_OTHER_AT_WORK_SECONDS)

    async def _run_while_ours(self) -> None:
        """Turn after turn, until another process takes over: what was read here may be older then than what that one
        has done, and nothing more is done with it. Raises DatabaseUnavailable, LeaseLost.
        """
        async with self._backend.leases.hold(LEASE_NAME, _LEASE) as held:
            if held is None:
                return
            self._rows_are_asked_for = False
            try:
                with while_ours(held):
                    while True:
                        await self._turn()
            except LeaseLost:
                if self._rows_are_asked_for:
                    await self._backend.lost_rows.lost()
                raise

    async def _turn(self) -> None:
        """One turn, where Nextcloud wants it, and the pause after it. Raises DatabaseUnavailable, LeaseLost."""
        self._pauses.begin()
        try:
            busy = await self._is_wanted() and await self._take_in()
        except NextcloudUnavailable as error:
            _log.warning("intake_waits", reason=str(error))
            await self._pauses.after_failure(error)
        else:
            await self._pauses.after(busy=busy)

    async def _is_wanted(self) -> bool:
        return await self._backend.switch.is_enabled() and await self._transfer.pulls()

    async def _take_in(self) -> bool:
        """Actions first, then documents: what is listed after an action was read is newer than it.

        Documents are left for the next turn while more actions wait than are leased at once, or cannot be read.
        """
        await settle_leased(self._backend)  # what a process that died had leased
        leased = await _to_the_end(self._lease(), _STOPPING_SECONDS)
        failure = leased.failure
        await settle_leased(self._backend)
        await self._conclude(leased)
        try:
            await self._acknowledge()
        except NextcloudUnavailable as error:
            failure = failure or error
        if failure is not None:
            await self._transfer.doubt(failure)
            raise failure
        return leased.any

    async def _conclude(self, leased: _Leased) -> None:
        """What holds once everything that was waiting has been read and settled."""
        lost_ago = leased.lost_ago
        if lost_ago is not None:
            if lost_ago < _LOST_FOR or not leased.all_are_rest:
                return
            await self._backend.lost_rows.all_came_back()
        if leased.actions_are_rest:
            await self._backend.actions.let_emptied_go(Realm.NEXTCLOUD)
        if leased.content_is_rest:
            await self._backend.switch.set_content_read_empty_at(await self._backend.queued.now())

    async def _lease(self) -> _Leased:
        """Ask for rows and write them down."""
        lost_ago = await self._backend.lost_rows.ask()
        self._rows_are_asked_for = True
        leased = await self._lease_actions(_Leased(lost_ago=lost_ago))
        self._rows_are_asked_for = False
        if leased.failure is None or not leased.failure.may_have_acted:
            await self._backend.lost_rows.arrived()
        return leased

    async def _lease_actions(self, leased: _Leased) -> _Leased:
        """Actions, and documents when there were no more of these."""
        asked_for = self._actions.size
        try:
            rows = await self._actions.lease(self._queues.lease_actions(asked_for))
        except NextcloudUnavailable as error:
            return replace(leased, failure=error)
        now = await self._backend.queued.now()
        await self._backend.queued.keep([LeasedRow(row.queue, row.id, row.payload, now) for row in rows])
        leased = replace(leased, any=bool(rows), actions_are_rest=len(rows) < asked_for)
        return await self._lease_documents(leased) if leased.actions_are_rest else leased

    async def _lease_documents(self, leased: _Leased) -> _Leased:
        """Documents, as far as there is room."""
        if not await self._backend.admission.has_room():
            return leased
        asked_for = self._documents.size
        try:
            rows = await self._documents.lease(self._queues.lease_documents(asked_for))
        except NextcloudUnavailable as error:
            return replace(leased, failure=error)
        # The readers of content were read when it was submitted: after the last time its queue was seen empty.
        since = await self._backend.switch.content_read_empty_at()
        await self._backend.queued.keep([LeasedRow(row.queue, row.id, row.payload, since) for row in rows])
        content = sum(row.queue == CONTENT for row in rows)
        return replace(
            leased,
            any=leased.any or bool(rows),
            content_is_rest=content < asked_for,
            all_are_rest=max(content, len(rows) - content) < asked_for,
        )

    async def _acknowledge(self) -> None:
        """Tell Nextcloud what was done, all of it."""
        while rows := await self._backend.queued.unacknowledged(_ACKNOWLEDGED_AT_ONCE):
            ids: dict[str, list[int]] = {}
            for queue, id_ in rows:
                ids.setdefault(queue, []).append(id_)
            try:
                await self._queues.acknowledge(ids)
            except NextcloudUnavailable as error:
                self._refusals += error.status == 500
                if self._refusals < _MAX_REFUSALS:
                    raise
                _log.error("acknowledgement_given_up", rows=len(rows))
            self._refusals = 0
            await self._backend.queued.acknowledged(rows)
            self._backend.admission.note_acknowledged()
