# SPDX-License-Identifier: AGPL-3.0-or-later
"""Taking over an old index into a running backend: with the indexes of search built afterwards, when it is large."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import tzinfo
from pathlib import Path

from context_chat_backend.hardware import usable_cores, usable_memory
from context_chat_backend.indexing.tails import MAX_TAIL
from context_chat_backend.indexing.takeover import Outcome, ReferenceImport
from context_chat_backend.store.reference import Reference
from context_chat_backend.store.takeover import Takeover
from context_chat_backend.wiring.backend import Backend
from context_chat_backend.wiring.databases import old_index


def opened(backend: Backend, place: str | None, postgres: Path | None) -> AbstractAsyncContextManager[Reference]:
    """The old index at `place`: see wiring.databases.old_index."""
    return old_index(backend.our_database, backend.database, backend.config.storage, place, postgres)


async def take_over(
    backend: Backend, reference: Reference, zone: tzinfo | None, progress: Callable[[int], None]
) -> Outcome:
    """Take over what is not here yet, and verify it. Raises DatabaseUnavailable, ModelUnavailable."""
    takeover = Takeover(backend.database)
    run = ReferenceImport(reference, takeover, backend.spaces.live, zone=zone, progress=progress)
    space = await run.matching_space()
    indexes, counts = backend.search_indexes, await reference.counts()
    is_bulk = counts.chunks > max(MAX_TAIL, await takeover.count_chunks())
    if is_bulk:
        await indexes.drop()
    outcome = await run.run(space, into_tail=not is_bulk)
    for name in await indexes.missing():
        await indexes.build(name, memory=usable_memory() // 4, workers=usable_cores() - 1)
    await run.verify(outcome)
    if not outcome.wrong:
        await takeover.note_finished(outcome.counts.digest)
    return outcome
