# SPDX-License-Identifier: AGPL-3.0-or-later
"""How everything stands, for whoever asks: looked up when it is asked for, and no oftener than that is cheap."""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import Gauge

from context_chat_backend import __version__, metrics
from context_chat_backend.config import Config
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.health import Health
from context_chat_backend.store import standing
from context_chat_backend.store.database import Database
from context_chat_backend.store.overview import Overview
from context_chat_backend.store.standing import Standing

_PATIENCE_SECONDS = 5.0
"""Scrapers wait ten; without a database the rest is told."""
_SHARE = 0.05
"""Counting takes at most so much of one core of the database, however often it is asked for."""
_LEAST_SECONDS = 5.0
_STATES = ("waiting", "in_work", "delayed", "indexed", "rejected", "quarantined")
_OF_THE_DATABASE = (
    metrics.OLDEST_DUE_SECONDS, metrics.STORED_CHUNKS, metrics.WAITING_BYTES, metrics.STORED_BYTES,
    metrics.SOURCES_PER_SECOND, metrics.EMBEDDED_SHARE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Look:
    standing: Standing
    sources_per_second: float | None
    filled: float
    good_until: float


class Monitoring:
    """Tells metrics.py how things stand."""

    def __init__(self, config: Config, health: Health) -> None:
        self._config = config
        self._health = health
        self._database: Database | None = None
        self._looking = asyncio.Lock()
        self._last: _Look | None = None
        metrics.BUILD.labels(__version__, config.app.role).set(1)

    def watch(self, database: Database, filled: Callable[[], Awaitable[float]]) -> None:
        """Look at this database from now on; `filled` tells which part of the index the configured model has."""
        self._database = database
        self._overview = Overview(database)
        self._filled = filled

    async def exposition(self) -> bytes:
        """All values in Prometheus' text format. Never raises for what does not answer: it is missing then."""
        metrics.READY.set(self._health.ready)
        await asyncio.to_thread(self._tell_disk)
        look = await self._look_in_time() if self._health.ready else None
        metrics.DATABASE_UP.set(look is not None)
        if look is None:
            _forget()
        else:
            _tell(look)
        if self._database is not None:
            used, idle, waiting = self._database.pool()
            metrics.POOL.labels("used").set(used)
            metrics.POOL.labels("idle").set(idle)
            metrics.POOL_WAITING.set(waiting)
        return metrics.exposition()

    async def _look_in_time(self) -> _Look | None:
        if self._database is None:
            return None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._looking:
                if self._last is None or time.monotonic() > self._last.good_until:
                    self._last = None
                    self._last = await self._look(self._database)
                return self._last
        except (DatabaseUnavailable, TimeoutError):
            return None

    async def _look(self, database: Database) -> _Look:
        started = time.monotonic()
        found = await standing.look(database)
        pace = await self._overview.sources_per_second()
        filled = await self._filled()
        ended = time.monotonic()
        return _Look(found, pace, filled, ended + max(_LEAST_SECONDS, (ended - started) / _SHARE))

    def _tell_disk(self) -> None:
        try:
            disk = shutil.disk_usage(self._config.storage)
        except OSError:
            metrics.DISK_BYTES.clear()
            return
        metrics.DISK_BYTES.labels("free").set(disk.free)
        metrics.DISK_BYTES.labels("total").set(disk.total)


def _tell(look: _Look) -> None:
    known = look.standing
    for state in _STATES:
        metrics.SOURCES.labels(state).set(known.sources.get(state, 0))
    metrics.OLDEST_DUE_SECONDS.set(known.oldest_due_seconds)
    metrics.STORED_CHUNKS.set(known.chunks)
    metrics.WAITING_BYTES.set(known.waiting_bytes)
    metrics.STORED_BYTES.set(known.database_bytes)
    metrics.SOURCES_PER_SECOND.set(look.sources_per_second or 0.0)
    metrics.EMBEDDED_SHARE.set(look.filled)
    metrics.TASKS.labels("in_work").set(known.tasks_in_work)
    metrics.TASKS.labels("to_tell").set(known.tasks_to_tell)


def _forget() -> None:
    """What was true a while ago is not told as if it were true now."""
    metrics.SOURCES.clear()
    metrics.TASKS.clear()
    gauge: Gauge
    for gauge in _OF_THE_DATABASE:
        gauge.set(math.nan)
