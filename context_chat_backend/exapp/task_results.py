# SPDX-License-Identifier: AGPL-3.0-or-later
"""Results go to Nextcloud until it has them: also after a failed call, a restart, and the end of another process."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from context_chat_backend.errors import DatabaseUnavailable, NextcloudUnavailable
from context_chat_backend.exapp.task_work import INTERRUPTED, Result
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.tasks import Tasks
from context_chat_backend.store.tasks import HeldTasks

_PAUSE_SECONDS = 5.0
_log = get_logger(__name__)


class TaskResults:
    """Tells Nextcloud the results of this process, and of those that are no more."""

    def __init__(self, held: HeldTasks, tasks: Tasks) -> None:
        self._held = held
        self._tasks = tasks
        self._being_told: set[int] = set()

    async def tell(self, task_id: int, result: Result) -> None:
        """Keep a result and report it; what Nextcloud does not take now is told again later."""
        with suppress(DatabaseUnavailable):
            await self._held.end(task_id, result)
        try:
            await self._report(task_id, result)
        except (NextcloudUnavailable, DatabaseUnavailable) as error:
            _log.warning("result_not_taken", task=task_id, reason=str(error))

    async def run(self) -> None:
        """Tell again what was not taken, until cancelled."""
        while True:
            try:
                await self._held.prolong()
                await self._held.adopt_orphans(INTERRUPTED)
                for task_id, result in await self._held.ended():
                    if task_id not in self._being_told:
                        await self._tell_again(task_id, result)
            except (NextcloudUnavailable, DatabaseUnavailable) as error:
                _log.warning("results_wait", reason=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _tell_again(self, task_id: int, result: Result) -> None:
        """One that makes Nextcloud stumble holds up no other. Raises NextcloudUnavailable when it takes none."""
        try:
            await self._report(task_id, result)
        except NextcloudUnavailable as error:
            if error.status != 500:
                raise
            _log.warning("result_not_taken", task=task_id, reason=str(error))

    async def _report(self, task_id: int, result: Result) -> None:
        self._being_told.add(task_id)
        try:
            status = await self._tasks.report_result(task_id, result)
            if status == "STATUS_FAILED" and result.get("output") is not None:
                _log.error("output_refused", task=task_id)
            await self._held.forget(task_id)
        finally:
            self._being_told.discard(task_id)
