# SPDX-License-Identifier: AGPL-3.0-or-later
"""Take over an index of the reference: its sources, their readers, their texts, and vectors of the same model.

Nothing is fetched and nothing parsed. Whether the model is the same is not written anywhere: some texts are embedded
once more and compared. Where it is another, words find everything at once, and vectors are made in the background from
the stored texts. A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

import numpy as np

from context_chat_backend.domain import MAX_TITLE_CHARACTERS, Chunk, Delivery, Principal, Realm, SourceRef
from context_chat_backend.language import detect
from context_chat_backend.logs import get_logger
from context_chat_backend.spaces import SpaceInUse
from context_chat_backend.store.reference import OldChunk, OldCounts, OldSource, Reference
from context_chat_backend.store.spaces import StoredSpace
from context_chat_backend.store.takeover import TakenSource, Takeover

_SAME_MODEL = 0.95
"""Cosine of vectors two builds of one model make of a text (differently quantised ones stay above .97); those of two
models are not above .2."""
_PROBES = 12
_AT_ONCE = 2
"""While the database works on one batch the next one is prepared."""
_MAX_SOURCES = 64
_MAX_CHUNKS = 500
_SAMPLED_SOURCES = 200
_SHORT_CHARACTERS = 40
"""The language of shorter texts is a guess."""
_LONG_AGO = datetime.fromtimestamp(0, UTC)
_EARLIER = "passed over by an earlier run, or deleted since"
_log = get_logger(__name__)


@dataclass
class Outcome:
    """What became of an old index."""

    counts: OldCounts
    with_vectors: bool
    """False: made with another model; texts are embedded again in the background."""
    taken: int = 0
    """Sources of this run."""
    known: int = 0
    """Sources that were here already."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """Sources that were not taken over, by reason."""
    chunks: int = 0
    wrong: list[str] = field(default_factory=list)
    """What verification found, one sentence each; empty: all is well."""

    other_readers: int = 0
    """Sources of the sample whose readers are not those of the old tables: Nextcloud may have changed them since."""

    def pass_over(self, reason: str, count: int) -> None:
        """Count sources that were not taken over."""
        if count:
            self.passed_over[reason] = self.passed_over.get(reason, 0) + count


class ReferenceImport:
    """One run."""

    def __init__(
        self,
        reference: Reference,
        takeover: Takeover,
        live: Sequence[SpaceInUse],
        *,
        zone: tzinfo | None,
        progress: Callable[[int], None] = lambda _sources: None,
    ) -> None:
        """`zone` is that of the times in the old tables, this machine's where it is None.

        `progress` is told of each batch of sources.
        """
        self._reference = reference
        self._takeover = takeover
        self._live = live
        self._zone = zone
        self._progress = progress

    async def matching_space(self) -> StoredSpace | None:
        """The live space whose model made the old vectors. Raises DatabaseUnavailable, ModelUnavailable."""
        samples = await self._reference.samples(_PROBES)
        for space in self._live:
            fitting = [(text, vector) for text, vector in samples if len(vector) == space.stored.space.dimension]
            if space.embedder is None or len(fitting) * 2 <= len(samples):
                continue
            made = await space.embedder.embed_passages([text for text, _ in fitting])
            old = np.stack([vector for _, vector in fitting])
            norms = np.maximum(np.linalg.norm(old, axis=1), 1e-12)
            cosine = float(np.median(np.sum(made * old, axis=1) / norms))
            _log.info("old_vectors_compared", model=space.stored.space.model, cosine=round(cosine, 3))
            if cosine >= _SAME_MODEL:
                return space.stored
        return None

    async def run(self, space: StoredSpace | None, *, into_tail: bool) -> Outcome:
        """Take over everything that is not here yet; old vectors go to `space`.

        Not `into_tail`: the index of the space is built afterwards. Raises DatabaseUnavailable.
        """
        outcome = Outcome(await self._reference.counts(), with_vectors=space is not None)
        batches: asyncio.Queue[list[OldSource] | None] = asyncio.Queue(maxsize=_AT_ONCE)

        async def work() -> None:
            while (batch := await batches.get()) is not None:
                await self._take(batch, space, outcome, into_tail=into_tail)
                self._progress(len(batch))

        async def feed() -> None:
            async with aclosing(self._unknown(outcome)) as found:
                async for batch in found:
                    await batches.put(batch)
            for _ in range(_AT_ONCE):
                await batches.put(None)

        async with asyncio.TaskGroup() as group:
            group.create_task(feed())
            for _ in range(_AT_ONCE):
                group.create_task(work())
        return outcome

    async def verify(self, outcome: Outcome) -> None:
        """Compare every source's count of chunks, and texts and readers of a sample, with the old tables.

        Every source of an index that was not finished before is here, or was passed over for a reason.
        What is not as it was goes to `outcome`. Raises DatabaseUnavailable.
        """
        sample: list[OldSource] = []
        seen = here_now = absent = 0
        async with aclosing(self._reference.sources()) as pages:
            async for page in pages:
                known = await self._takeover.known(Realm.NEXTCLOUD, [source.ref for source in page])
                counts = await self._reference.chunk_counts(page)
                for source, count in zip(page, counts, strict=True):
                    here = known.get(source.ref)
                    absent += here is None
                    here_now += here is not None
                    if here is None or not here.taken:
                        continue
                    if here.chunks != count:
                        outcome.wrong.append(f"{source.ref} has {here.chunks} chunks, not {count}")
                    seen += 1
                    if len(sample) < _SAMPLED_SOURCES:
                        sample.append(source)
                    elif (place := random.randrange(seen)) < _SAMPLED_SOURCES:  # noqa: S311
                        sample[place] = source
        if outcome.counts.digest in await self._takeover.finished():
            outcome.known = here_now
            outcome.pass_over(_EARLIER, absent)
        elif (lacking := absent - sum(outcome.passed_over.values())) > 0:
            outcome.wrong.append(f"{lacking} sources are not here, and no reason is known")
        await self._verify_sample(sample, outcome)

    async def _verify_sample(self, sample: Sequence[OldSource], outcome: Outcome) -> None:
        old = await self._reference.chunks(sample, vectors=False)
        readers = await self._takeover.readers(Realm.NEXTCLOUD, [source.ref for source in sample])
        for source, chunks in zip(sample, old, strict=True):
            texts = [(source.ref, number, chunk.text) for number, chunk in enumerate(chunks)]
            same = await self._takeover.same_texts(Realm.NEXTCLOUD, texts)
            if same != len(texts):
                outcome.wrong.append(f"{source.ref}: {len(texts) - same} of {len(texts)} texts differ")
            outcome.other_readers += readers.get(source.ref) != set(source.readers)

    async def _unknown(self, outcome: Outcome) -> AsyncGenerator[list[OldSource], None]:
        """What is not here yet and never was, in batches of bounded size; the rest is counted."""
        if outcome.counts.digest in await self._takeover.finished():
            return
        done = await self._takeover.batches(outcome.counts.digest)
        firsts = [first for first, _ in done]
        batch: list[OldSource] = []
        chunks = 0
        async with aclosing(self._reference.sources()) as pages:
            async for page in pages:
                here = await self._takeover.known(Realm.NEXTCLOUD, [source.ref for source in page])
                for source in page:
                    earlier = bisect_right(firsts, source.ref) - 1
                    if source.ref in here:
                        outcome.known += 1
                    elif earlier >= 0 and source.ref <= done[earlier][1]:
                        outcome.pass_over(_EARLIER, 1)
                    else:
                        if batch and (len(batch) == _MAX_SOURCES or chunks + len(source.chunks) > _MAX_CHUNKS):
                            yield batch
                            batch, chunks = [], 0
                        batch.append(source)
                        chunks += len(source.chunks)
                        continue
                    self._progress(1)
        if batch:
            yield batch

    async def _take(
        self, batch: Sequence[OldSource], space: StoredSpace | None, outcome: Outcome, *, into_tail: bool
    ) -> None:
        old = await self._reference.chunks(batch, vectors=space is not None)
        taken: list[TakenSource] = []
        for source, chunks in zip(batch, old, strict=True):
            reason, one = self._taken(source, chunks, space)
            if one is None:
                outcome.pass_over(reason, 1)
            else:
                taken.append(one)
        if taken:
            became = await self._takeover.put(taken, space, digest=outcome.counts.digest, into_tail=into_tail)
            outcome.taken += became["taken"]
            outcome.known += became["known"]
            outcome.pass_over("deleted, or taken from all readers, since", became["lost"])
            outcome.chunks += sum(len(one.chunks) for one in taken)

    def _taken(
        self, source: OldSource, chunks: Sequence[OldChunk], space: StoredSpace | None
    ) -> tuple[str, TakenSource | None]:
        """The source as it is to stand here; else None, and why."""
        try:
            ref = SourceRef.parse(source.ref)
        except ValueError:
            return "not a source id", None
        readers = frozenset(
            Principal(Realm.NEXTCLOUD, name) for name in source.readers if name and "\x00" not in name
        )  # fmt: skip
        if not readers:
            return "nobody may read them", None
        if not chunks:
            return "without text", None
        title = next((chunk.title for chunk in chunks if chunk.title), source.ref)[:MAX_TITLE_CHARACTERS]
        media_type = next((chunk.media_type for chunk in chunks if chunk.media_type), "text/plain")
        language = detect(max((chunk.text for chunk in chunks), key=len))
        made = tuple(
            Chunk(number, chunk.text, language=_language(chunk.text, language)) for number, chunk in enumerate(chunks)
        )
        modified = source.modified or _LONG_AGO
        delivery = Delivery(
            Realm.NEXTCLOUD,
            ref,
            title,
            media_type,
            self._aware(modified),
            readers,
            # All that happened since the old tables were written counts.
            received_at=_LONG_AGO,
            readers_since=_LONG_AGO,
        )
        vectors = [chunk.vector for chunk in chunks]
        if space is None or any(one is None or len(one) != space.space.dimension for one in vectors):
            return "", TakenSource(delivery, made, None)
        return "", TakenSource(delivery, made, np.stack([one for one in vectors if one is not None]))

    def _aware(self, modified: datetime) -> datetime:
        if modified.tzinfo is not None:
            return modified
        return modified.astimezone() if self._zone is None else modified.replace(tzinfo=self._zone)


def _language(text: str, otherwise: str) -> str:
    return detect(text, otherwise=otherwise) if len(text) >= _SHORT_CHARACTERS else otherwise
