# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tasks of one kind: fetched as many as can start, watched while they are worked on (contract taskprocessing 3).

Each kind has a loop and places of its own, so that searches never wait behind answers.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from context_chat_backend.errors import DatabaseUnavailable, NextcloudUnavailable
from context_chat_backend.exapp.pauses import Pauses
from context_chat_backend.exapp.providers import provider_id
from context_chat_backend.exapp.task_results import TaskResults
from context_chat_backend.exapp.task_work import INTERRUPTED, Result, TaskWork
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.server import Nextcloud
from context_chat_backend.nextcloud.tasks import Task
from context_chat_backend.store.tasks import HeldTasks
from context_chat_backend.wiring import Backend

_WATCH_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 5.0
"""Triggers are hints: none comes while a task of the kind is in work, and older Nextclouds send none."""
_INTERRUPTION_SECONDS = 3.0
_log = get_logger(__name__)


class TaskLoop:
    """Works on the tasks of one kind, several at once."""

    def __init__(
        self, backend: Backend, nextcloud: Nextcloud, held: HeldTasks, results: TaskResults, kind: str, at_once: int
    ) -> None:
        """At most `at_once` tasks are in work here."""
        self._backend = backend
        self._tasks = nextcloud.tasks
        self._work = TaskWork(backend, nextcloud)
        self._held = held
        self._results = results
        self._kind = kind
        self._places = asyncio.Semaphore(at_once)
        self._pauses = Pauses(shortest=0.5, longest=_LONGEST_PAUSE_SECONDS)
        self._running: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There may be a task."""
        self._pauses.wake()

    async def run(self) -> None:
        """Fetch tasks until cancelled; those in work are answered then."""
        try:
            while True:
                await self._places.acquire()
                self._pauses.begin()
                try:
                    found = await self._fetch()
                except (NextcloudUnavailable, DatabaseUnavailable) as error:
                    self._places.release()
                    _log.warning("tasks_wait", kind=self._kind, reason=str(error))
                    await self._pauses.after_failure(error)
                    continue
                if not found:
                    self._places.release()
                await self._pauses.after(busy=found)
        finally:
            await self.interrupt()

    async def interrupt(self) -> None:
        """End what is in work, and tell Nextcloud, as far as it listens for a few seconds."""
        for work in self._running:
            work.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_INTERRUPTION_SECONDS)

    async def _fetch(self) -> bool:
        """Start work on a task, which gives its place back at the end; False when there is none."""
        switch = self._backend.switch
        if not await switch.is_enabled() or not await switch.pulls():
            return False
        task = await self._tasks.next(provider_id(self._kind), self._kind)
        if task is None:
            return False
        work = asyncio.create_task(self._do(task))
        self._running.add(work)
        work.add_done_callback(self._ended)
        return True

    def _ended(self, work: asyncio.Task[None]) -> None:
        self._running.discard(work)
        self._places.release()
        self._pauses.wake()  # none triggers us for tasks that were scheduled while this one was in work

    async def _do(self, task: Task) -> None:
        result: Result | None = INTERRUPTED
        try:
            with suppress(DatabaseUnavailable):
                await self._held.take(task.id)
            result = await self._watched(task)
        except asyncio.CancelledError:
            _log.warning("task_interrupted", task=task.id)
        if result is not None:
            await self._results.tell(task.id, result)
        else:
            with suppress(DatabaseUnavailable):
                await self._held.forget(task.id)

    async def _watched(self, task: Task) -> Result | None:
        """The result; None when the task was cancelled or deleted meanwhile, so that nobody wants one."""
        work = asyncio.create_task(self._work.result(task))
        progress = 0.1
        try:
            while True:
                done, _ = await asyncio.wait([work], timeout=_WATCH_SECONDS)
                if done:
                    return work.result()
                with suppress(NextcloudUnavailable):
                    if not await self._tasks.report_progress(task.id, round(progress, 3)):
                        _log.info("task_not_wanted", task=task.id)
                        return None
                progress += (0.95 - progress) / 10  # nobody knows how long a model writes
        finally:
            work.cancel()
            await asyncio.wait([work])
