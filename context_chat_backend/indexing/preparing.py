# SPDX-License-Identifier: AGPL-3.0-or-later
"""From bytes to chunks: read or fetch, parse, cut. Each source on its own; nothing here waits for a model."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from context_chat_backend.domain import Chunk, ClaimedSource, Document, Location, Reason
from context_chat_backend.errors import ModelUnavailable, NextcloudUnavailable, SourceRejected
from context_chat_backend.indexing.chunking import header, split
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.steps import Step, step
from context_chat_backend.store.ledger import Ledger


class Parser(Protocol):
    """What turns bytes into a document; parsing/sandbox.py in the product."""

    async def parse(self, content: Path, media_type: str, title: str) -> Document:
        """The document in the file `content`. Raises SourceRejected."""
        ...


class Fetcher(Protocol):
    """What downloads files; nextcloud/files.py in the product."""

    async def fetch(self, file_id: str, users: AsyncIterator[str], size: int, to: Path) -> bytes:
        """Write a file to `to`, return its SHA-256.

        Raises SourceRejected, FileUnseen, FileUnreadable, NextcloudUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A source that is ready to be embedded."""

    source: ClaimedSource
    chunks: Sequence[Chunk]
    texts: Sequence[str]
    """What is embedded of each chunk."""
    content_digest: bytes
    parser: str | None
    characters: int
    parse_ms: int


class Preparation:
    """Prepares sources."""

    def __init__(
        self,
        ledger: Ledger,
        parser: Parser,
        spaces: SpacesInUse,
        *,
        folder: Path,
        chunk_tokens: int,
        chunk_overlap_tokens: int,
        fetcher: Fetcher | None = None,
    ) -> None:
        """`folder` takes bodies while they are parsed.

        `chunk_tokens` is how long a chunk with its header may be; what the model does not read is left out of it.
        Without a `fetcher` what is to be fetched waits.
        """
        self._fetcher = fetcher
        self._ledger = ledger
        self._parser = parser
        self._spaces = spaces
        self._folder = folder
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap_tokens = chunk_overlap_tokens

    async def prepare(self, source: ClaimedSource) -> Prepared:
        """The chunks of a claimed source.

        Raises SourceRejected, FileUnseen, FileUnreadable, NextcloudUnavailable, ModelUnavailable, DatabaseUnavailable.
        """
        document, digest, parse_ms = await self._parse(source)
        with step(Step.CHUNK):
            chunks = await asyncio.to_thread(self._split, document, source.title)
        if not chunks:
            raise SourceRejected(Reason.EMPTY)
        if source.ref.is_pair:
            texts = [source.title] * len(chunks)
        else:
            texts = [embedded_text(source.title, chunk) for chunk in chunks]
        characters = sum(len(part.text) for part in document.parts)
        return Prepared(source, chunks, texts, digest, document.parser, characters, parse_ms)

    async def _parse(self, source: ClaimedSource) -> tuple[Document, bytes, int]:
        """The document, the digest of its bytes, and how many milliseconds its parser took."""
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="parse-") as content:
            with step(Step.READ):
                digest = await self._read(source, Path(content.name))
            started = time.perf_counter()
            with step(Step.PARSE):
                document = await self._parser.parse(Path(content.name), source.media_type, source.title)
            return document, digest, round(1000 * (time.perf_counter() - started))

    async def _read(self, source: ClaimedSource, to: Path) -> bytes:
        """Write the bytes of a source to a file; returns their SHA-256."""
        if source.remote:
            if self._fetcher is None:
                raise NextcloudUnavailable("NEXTCLOUD_URL or APP_SECRET is not set")
            return await self._fetcher.fetch(source.ref.item, self._ledger.readers(source), source.size, to)
        digest = hashlib.sha256()
        with to.open("wb") as file:
            async for piece in self._ledger.read(source):
                file.write(piece)
                digest.update(piece)
        return digest.digest()

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


def embedded_text(title: str, chunk: Chunk) -> str:
    """What is embedded of a chunk: the file name and the heading say what the text is about (ruling 9)."""
    location = chunk.location
    if location.heading is not None and location.heading in chunk.text:
        location = Location()  # the first chunk below a heading begins with it
    return "\n".join(text for text in (header(title, location), chunk.text) if text)
