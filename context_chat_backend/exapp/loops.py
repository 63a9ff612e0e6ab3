# SPDX-License-Identifier: AGPL-3.0-or-later
"""What runs beside the routes while the program serves Nextcloud: which loops, by role (ruling 19)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from context_chat_backend.errors import NextcloudUnavailable
from context_chat_backend.exapp.intake import Intake
from context_chat_backend.exapp.log_forwarding import LogForwarding
from context_chat_backend.exapp.providers import CHAT, SEARCH
from context_chat_backend.exapp.task_results import TaskResults
from context_chat_backend.exapp.tasks import TaskLoop
from context_chat_backend.exapp.transfer import Transfer
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.server import Nextcloud
from context_chat_backend.wiring import Backend

_INTAKE_ROLES = ("normal", "updatesproc")
_TASK_ROLES = ("normal", "requestproc")
_log = get_logger(__name__)


class Loops:
    """The loops of one process. Without Nextcloud there are none."""

    def __init__(self, backend: Backend) -> None:
        """`backend` may still be starting."""
        self._backend = backend
        self._transfer: Transfer | None = None
        self._intake: Intake | None = None
        self._tasks: list[TaskLoop] = []
        self._running: list[asyncio.Future[None]] = []

    def start(self) -> None:
        """Start what this process's role has to do; the backend has started."""
        nextcloud = self._backend.nextcloud
        if nextcloud is None:
            return
        role = self._backend.config.app.role
        self._transfer = Transfer(self._backend.switch, nextcloud)
        self._run(LogForwarding(nextcloud.client).run())
        if role in _INTAKE_ROLES:
            self._intake = Intake(self._backend, nextcloud, self._transfer)
            self._run(self._intake.run())
        if role in _TASK_ROLES:
            self._start_tasks(nextcloud)

    def wake(self) -> None:
        """Nextcloud has called: there may be work everywhere."""
        if self._intake is not None:
            self._intake.wake()
        for loop in self._tasks:
            loop.wake()

    async def switched_on(self) -> str:
        """Nextcloud enables the app: look how it hands work over, offer our tasks; what went wrong, or ''."""
        error = ""
        if self._transfer is not None:
            pulls = await self._transfer.look()
            try:
                await self._transfer.offer_tasks(pulls=pulls)
            except NextcloudUnavailable as failure:
                if pulls:
                    error = f"the task providers could not be registered: {failure}"
        self.wake()
        return error

    async def switched_off(self) -> None:
        """Nextcloud disables the app, and still listens: what is in work is answered, our tasks are taken back."""
        for loop in self._tasks:
            await loop.interrupt()
        if self._transfer is not None:
            with suppress(NextcloudUnavailable):  # providers of a disabled app are not seen anyway
                await self._transfer.offer_tasks(pulls=False)

    async def stop(self) -> None:
        """End all loops."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _start_tasks(self, nextcloud: Nextcloud) -> None:
        held = self._backend.held_tasks
        results = TaskResults(held, nextcloud.tasks)
        at_once = self._backend.config.indexing.tasks_at_once
        self._tasks = [TaskLoop(self._backend, nextcloud, held, results, kind, at_once) for kind in (CHAT, SEARCH)]
        for loop in self._tasks:
            self._run(loop.run())
        self._run(results.run())

    def _run(self, loop: Awaitable[None]) -> None:
        task = asyncio.ensure_future(loop)
        task.add_done_callback(self._ended)
        self._running.append(task)

    def _ended(self, task: asyncio.Future[None]) -> None:
        """A loop ends when it is cancelled; anything else is a fault of ours, which a restart may cure."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("loop_failed", error=type(error).__name__)
            self._backend.health.ready = False
