# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a document: claim, read, parse, chunk, embed, put, verdict.

Workers share nothing but the ledger, so any number of them, in any number of processes, may run at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import numpy as np

from context_chat_backend.domain import Chunk, ClaimedSource, Document, Location, Reason
from context_chat_backend.errors import DatabaseUnavailable, ModelUnavailable, SourceRejected, TextRefused
from context_chat_backend.indexing.chunking import header, split
from context_chat_backend.logs import get_logger
from context_chat_backend.ports import Embedder, Vectors
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.chunks import Chunks
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.spaces import StoredSpace

LEASE = timedelta(minutes=10)
"""Longer than any step between two prolongations may take; after it, work of a dead process is done again."""

MAX_ATTEMPTS = 5
"""After this many attempts that ended without a verdict a source is rejected, with its reason, until delivered anew."""

_EMBED_AT_ONCE = 64
_IDLE_SECONDS = 2.0
_MODEL_DOWN = 3
"""While the model is down each source waits as after so many attempts."""
_log = get_logger(__name__)


class Parser(Protocol):
    """What turns bytes into a document; parsing/sandbox.py in the product."""

    async def parse(self, content: Path, media_type: str, title: str) -> Document:
        """The document in the file `content`. Raises SourceRejected."""
        ...


class Indexer:
    """Workers that settle what waits."""

    def __init__(
        self,
        ledger: Ledger,
        chunks: Chunks,
        parser: Parser,
        spaces: SpacesInUse,
        *,
        folder: Path,
        chunk_tokens: int,
        chunk_overlap_tokens: int,
        workers: int,
        admitted: asyncio.Event,
    ) -> None:
        """`folder` takes bodies while they are parsed; `admitted` is set when there may be work.

        `chunk_tokens` is how long a chunk with its header may be; what the model does not read is left out of it.
        """
        self._ledger = ledger
        self._chunks = chunks
        self._parser = parser
        self._spaces = spaces
        self._folder = folder
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap_tokens = chunk_overlap_tokens
        self._workers = workers
        self._admitted = admitted
        self._settled = asyncio.Condition()

    async def run(self) -> None:
        """Index until cancelled. What a cancelled worker had claimed is due again when its lease ends."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._workers):
                workers.create_task(self._work())

    async def wait_for_verdict(self, timeout_seconds: float) -> None:
        """Return when some source was settled by this process, or after `timeout_seconds`."""
        try:
            async with asyncio.timeout(timeout_seconds), self._settled:
                await self._settled.wait()
        except TimeoutError:
            return

    async def _work(self) -> None:
        while True:
            try:
                claimed = await self._ledger.claim(1, LEASE)
                if claimed:
                    await self.settle(claimed[0])
                    continue
            except DatabaseUnavailable as error:
                _log.warning("indexing_waits_for_database", error=str(error))
            await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        self._admitted.clear()
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                await self._admitted.wait()
        except TimeoutError:
            return

    async def settle(self, source: ClaimedSource) -> None:
        """Index a claimed source and record the verdict. Raises DatabaseUnavailable."""
        try:
            if source.attempts > MAX_ATTEMPTS:
                raise SourceRejected(Reason.INTERNAL)
            await self._index(source)
        except SourceRejected as rejection:
            await self._ledger.reject(source, rejection.reason)
            _log.info("source_rejected", source_id=source.id, version=source.version, reason=str(rejection.reason))
        except ModelUnavailable as error:
            _log.warning("embedding_unavailable", source_id=source.id, error=str(error))
            # Not an attempt: however long the model is down, no source is rejected for it.
            await self._ledger.wait_for_model(source, _back_off(_MODEL_DOWN))
        except TextRefused as error:
            await self._ledger.reject(source, Reason.EMBEDDING_REFUSED)
            _log.warning("embedding_refused", source_id=source.id, version=source.version, error=str(error))
        except DatabaseUnavailable:
            raise
        except Exception as error:  # a fault of ours must not stop the other sources; the type says where to look
            _log.error("indexing_failed", source_id=source.id, error=type(error).__name__, attempts=source.attempts)
            await self._ledger.retry_later(source, Reason.INTERNAL, _back_off(source.attempts))
        finally:
            async with self._settled:
                self._settled.notify_all()

    async def _index(self, source: ClaimedSource) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="parse-") as content:
            digest = hashlib.sha256()
            async for piece in self._ledger.read(source):
                content.write(piece)
                digest.update(piece)
            content.flush()
            document = await self._parser.parse(Path(content.name), source.media_type, source.title)
        chunks = await asyncio.to_thread(self._split, document, source.title)
        if not chunks:
            raise SourceRejected(Reason.EMPTY)
        vectors = await self._embed(source, chunks)
        if await self._chunks.put(source, chunks, vectors, content_digest=digest.digest()):
            _log.info("source_indexed", source_id=source.id, version=source.version, chunks=len(chunks))

    def _split(self, document: Document, title: str) -> Sequence[Chunk]:
        """Chunks no live model would cut, measured in tokens of the one that is to answer in the long run."""
        usable = [space.embedder for space in self._spaces.live if space.embedder is not None]
        if not usable:
            raise ModelUnavailable("the embedding model that answers cannot be used here")
        return split(
            document,
            title,
            usable[-1].token_starts,
            max_tokens=min(self._chunk_tokens, *(embedder.max_tokens for embedder in usable)),
            overlap_tokens=self._chunk_overlap_tokens,
        )

    async def _embed(self, source: ClaimedSource, chunks: Sequence[Chunk]) -> dict[StoredSpace, Vectors]:
        """Vectors of the chunks in the live spaces; where the model of one is down it gets them later.

        Raises ModelUnavailable when no model answers.
        """
        texts = [embedded_text(source.title, chunk) for chunk in chunks]
        vectors: dict[StoredSpace, Vectors] = {}
        down: ModelUnavailable | None = None
        for space in self._spaces.live:
            if space.embedder is None:
                continue
            try:
                vectors[space.stored] = await self._embed_in(space.embedder, source, texts)
            except ModelUnavailable as error:
                down = error
        if down is not None and not vectors:
            raise down
        return vectors

    async def _embed_in(self, embedder: Embedder, source: ClaimedSource, texts: Sequence[str]) -> Vectors:
        """Vectors in one space; the lease is kept while a long document is embedded."""
        vectors = []
        for start in range(0, len(texts), _EMBED_AT_ONCE):
            if start:
                await self._ledger.prolong(source, LEASE)
            vectors.append(await embedder.embed_passages(texts[start : start + _EMBED_AT_ONCE]))
        return np.concatenate(vectors)


def embedded_text(title: str, chunk: Chunk) -> str:
    """What is embedded of a chunk: the file name and the heading say what the text is about (ruling 9)."""
    location = chunk.location
    if location.heading is not None and location.heading in chunk.text:
        location = Location()  # the first chunk below a heading begins with it
    return "\n".join(text for text in (header(title, location), chunk.text) if text)


def _back_off(attempts: int) -> timedelta:
    """Full jitter over a doubling interval, 2 s to 5 min, so that retries neither pile up nor march in step."""
    return timedelta(seconds=random.uniform(0.5, 1.0) * min(300.0, 2.0 * 2**attempts))  # noqa: S311
