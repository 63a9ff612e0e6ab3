# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a document: claim, read, parse, chunk, embed, put, verdict.

Sources go this way side by side, each at its own pace; the steps that are cheaper together (embed, put) join whatever
is ready. Processes share nothing but the ledger, so any number of them may run at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta

from context_chat_backend.domain import ClaimedSource, Reason
from context_chat_backend.errors import (
    DatabaseUnavailable,
    FileUnreadable,
    FileUnseen,
    ModelUnavailable,
    NextcloudUnavailable,
    ParserKilled,
    SourceRejected,
    SpaceGone,
    TextRefused,
    finds_no_room,
)
from context_chat_backend.indexing.embedding import Embedding
from context_chat_backend.indexing.preparing import Preparation, Prepared
from context_chat_backend.indexing.room import Room
from context_chat_backend.indexing.settling import Settling
from context_chat_backend.logs import get_logger
from context_chat_backend.metrics import PARSER_DEATHS, VERDICTS
from context_chat_backend.steps import Step, step
from context_chat_backend.store.chunks import IndexedSource, content_of
from context_chat_backend.store.ledger import Ledger

LEASE = timedelta(seconds=20)
"""After it, work of a dead process is done again: within half a minute of its death."""

_PROLONG_SECONDS = 4.0
"""Leases of what is under way: four times may fail, or be late on a busy machine."""

MAX_ATTEMPTS = 5
"""After this many attempts that ended without a verdict a source is rejected, with its reason, until delivered anew."""

_MAX_UNDER_WAY = 128
_CLAIM_WHEN_FREE = 32
"""Sources are claimed several at a time; the others keep everybody busy until then."""
_MAX_CHUNKS_UNDER_WAY = 4000
"""Between parsing and verdict; with their vectors some 20 MB."""
_IDLE_SECONDS = 2.0
_SECONDS_WITHOUT_DATABASE = 2.0
_STOP_SECONDS = 2.0
_CANCEL_SECONDS = 0.5
_END_SECONDS = 10.0
"""At most, though what is to end hangs."""
_WHILE_DOWN = 3
"""While the model, Nextcloud or room on the disk is missing each source waits as after so many attempts."""
_log = get_logger(__name__)


class Indexer:
    """Settles what waits."""

    def __init__(
        self,
        ledger: Ledger,
        preparation: Preparation,
        embedding: Embedding,
        settling: Settling,
        *,
        workers: int,
        admitted: asyncio.Event,
    ) -> None:
        """`workers` sources are read, parsed and cut at once; `admitted` is set when there may be work."""
        self._ledger = ledger
        self._preparation = preparation
        self._embedding = embedding
        self._settling = settling
        self._preparing = asyncio.Semaphore(workers)
        self._chunks_under_way = Room(_MAX_CHUNKS_UNDER_WAY)
        self._admitted = admitted
        self._settled = asyncio.Condition()
        self._under_way: set[ClaimedSource] = set()
        self._work_under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Index until cancelled; what is under way then is due again at once."""
        keeper = asyncio.create_task(self._keep_leases())
        try:
            await self._claim()
        finally:
            await _to_its_end(self._end(keeper))

    async def wait_for_verdict(self, timeout_seconds: float) -> None:
        """Return when some source was settled by this process, or after `timeout_seconds`."""
        try:
            async with asyncio.timeout(timeout_seconds), self._settled:
                await self._settled.wait()
        except TimeoutError:
            return

    async def settle(self, source: ClaimedSource) -> None:
        """Index a claimed source and record the verdict. Raises DatabaseUnavailable."""
        try:
            if source.attempts > MAX_ATTEMPTS:
                raise SourceRejected(Reason.UNREADABLE if source.remote else Reason.INTERNAL)
            with step(Step.INDEX):
                await self._index(source)
        except ParserKilled as killed:
            PARSER_DEATHS.labels(killed.reason).inc()
            delay = _back_off(source.attempts)
            is_quarantined = await self._ledger.killed_its_parser(source, killed.reason, delay)
            event = "source_quarantined" if is_quarantined else "parser_killed"
            VERDICTS.labels("quarantined" if is_quarantined else "retry_later", killed.reason).inc()
            _log.warning(event, source_id=source.id, version=source.version, reason=str(killed.reason))
        except SourceRejected as rejection:
            await self._ledger.reject(source, rejection.reason)
            VERDICTS.labels("rejected", rejection.reason).inc()
            _log.info("source_rejected", source_id=source.id, version=source.version, reason=str(rejection.reason))
        except FileUnseen as unseen:
            if await self._ledger.reject_unseen(source, unseen.users):
                _log.info("source_rejected", source_id=source.id, version=source.version, reason=str(Reason.NOT_FOUND))
            else:
                await self._ledger.postpone(source, Reason.NOT_FOUND, timedelta(0))
        except FileUnreadable as error:
            _log.warning("file_unreadable", source_id=source.id, error=str(error), attempts=source.attempts)
            await self._ledger.retry_later(source, Reason.UNREADABLE, _back_off(source.attempts))
            VERDICTS.labels("retry_later", Reason.UNREADABLE).inc()
        except TextRefused as error:
            await self._ledger.reject(source, Reason.EMBEDDING_REFUSED)
            VERDICTS.labels("rejected", Reason.EMBEDDING_REFUSED).inc()
            _log.warning("embedding_refused", source_id=source.id, version=source.version, error=str(error))
        except DatabaseUnavailable:
            raise
        except Exception as error:
            await self._try_later(source, error)
        finally:
            async with self._settled:
                self._settled.notify_all()

    async def _try_later(self, source: ClaimedSource, error: Exception) -> None:
        """However long something is down, no source is rejected for it; a fault of ours must not stop the others."""
        reason = _missing(error)
        if reason is not None:
            _log.warning("indexing_waits", source_id=source.id, reason=str(reason), error=str(error))
            await self._ledger.postpone(source, reason, _back_off(_WHILE_DOWN))
            VERDICTS.labels("retry_later", reason).inc()
            return
        # The type says where to look; the text of a fault may quote the source.
        _log.error("indexing_failed", source_id=source.id, error=type(error).__name__, attempts=source.attempts)
        await self._ledger.retry_later(source, Reason.INTERNAL, _back_off(source.attempts))
        VERDICTS.labels("retry_later", Reason.INTERNAL).inc()

    async def _claim(self) -> None:
        while True:
            while (free := _MAX_UNDER_WAY - len(self._under_way)) < _CLAIM_WHEN_FREE:
                await self.wait_for_verdict(_IDLE_SECONDS)
            self._admitted.clear()
            try:
                claimed = await self._ledger.claim(free, LEASE)
            except DatabaseUnavailable as error:
                _log.warning("indexing_waits_for_database", error=str(error))
                claimed = []
            for source in claimed:
                self._under_way.add(source)
                work = asyncio.create_task(self._work(source))
                self._work_under_way.add(work)
                work.add_done_callback(self._work_under_way.discard)
            if len(claimed) < free:
                await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                await self._admitted.wait()
        except TimeoutError:
            return

    async def _work(self, source: ClaimedSource) -> None:
        """Settle a source. While the database is gone it is kept, and done again when it is back."""
        while source in self._under_way:
            try:
                await self.settle(source)
            except DatabaseUnavailable as error:
                _log.warning("settling_waits_for_database", source_id=source.id, error=str(error))
                await asyncio.sleep(_SECONDS_WITHOUT_DATABASE)
                continue
            except Exception as error:  # not even the fault could be written down: it is due when its lease ends
                _log.error("settling_failed", source_id=source.id, error=type(error).__name__)
            self._under_way.discard(source)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(_PROLONG_SECONDS)
            try:
                await self._ledger.prolong(list(self._under_way), LEASE)
            except DatabaseUnavailable:
                continue  # whoever takes them over meanwhile does the same work

    async def _end(self, keeper: asyncio.Task[None]) -> None:
        """What was under way is due at once, without this attempt: the process stops, the source is not at fault.

        What cannot be given back is due when its lease ends.
        """
        await _stop({keeper, *self._work_under_way})
        for ending in (self._embedding.close, self._settling.close, self._give_back):
            with suppress(DatabaseUnavailable, TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await ending()

    async def _give_back(self) -> None:
        await self._ledger.give_back(list(self._under_way))

    async def _index(self, source: ClaimedSource) -> None:
        async with self._preparing:
            await self._ledger.begin(source)
            prepared = await self._preparation.prepare(source)
            await self._chunks_under_way.enter(len(prepared.chunks))
        try:
            if await self._settling.put(await self._embed(prepared)):
                VERDICTS.labels("indexed", "").inc()
                _log.info("source_indexed", source_id=source.id, version=source.version, chunks=len(prepared.chunks))
        finally:
            await self._chunks_under_way.leave(len(prepared.chunks))

    async def _embed(self, prepared: Prepared) -> IndexedSource:
        source = prepared.source
        contents = [content_of(source.realm, text) for text in prepared.texts]
        started = time.perf_counter()
        with step(Step.EMBED):
            vectors = await self._embedding.vectors(prepared.texts, contents)
        return IndexedSource(
            source,
            prepared.chunks,
            vectors,
            prepared.content_digest,
            contents,
            parser=prepared.parser,
            characters=prepared.characters,
            parse_ms=prepared.parse_ms,
            embed_ms=round(1000 * (time.perf_counter() - started)),
        )


def _missing(error: Exception) -> Reason | None:
    """What indexing needs and lacks for a while; None when the fault lies elsewhere."""
    if isinstance(error, (ModelUnavailable, SpaceGone)):
        return Reason.EMBEDDING_DOWN
    if isinstance(error, NextcloudUnavailable):
        return Reason.NEXTCLOUD_DOWN
    return Reason.DISK_FULL if finds_no_room(error) else None


async def _stop(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a library may swallow one cancellation."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Await what has to be done at the end: whoever stops us cancels again and again, and must not cut it off."""
    task = asyncio.create_task(work)
    deadline = time.monotonic() + _END_SECONDS
    while not task.done() and (left := deadline - time.monotonic()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task], timeout=left)
    task.cancel()


def _back_off(attempts: int) -> timedelta:
    """Full jitter over a doubling interval, 2 s to 5 min, so that retries neither pile up nor march in step."""
    return timedelta(seconds=random.uniform(0.5, 1.0) * min(300.0, 2.0 * 2**attempts))  # noqa: S311
