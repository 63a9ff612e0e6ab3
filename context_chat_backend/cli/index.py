# SPDX-License-Identifier: AGPL-3.0-or-later
"""Index files of this machine for local users."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from context_chat_backend.domain import Admission, Collection, Delivery, Principal, Realm, SourceRef, clean_title
from context_chat_backend.errors import SourceRejected
from context_chat_backend.wiring import Backend

PROVIDER = "local__files"
_ROOM_SECONDS = 600.0


@dataclass
class Outcome:
    """What became of the files of one call."""

    admitted: int = 0
    unchanged: int = 0
    rejected: int = 0


async def index(
    backend: Backend,
    files: Sequence[Path],
    readers: frozenset[Principal],
    told: Callable[[Path, str], None],
    *,
    base: Path,
    collection: Collection | None = None,
    still_waiting: Callable[[int], None] = lambda _count: None,
) -> Outcome:
    """Admit `files` for `readers`, and wait until all of them have a verdict.

    With `collection` they are put into it, and `readers` read all of it from now on; it is made where there is none.
    Titles are paths below `base`. `told` is called with each file and what became of it at the door, `still_waiting`
    with the number of files that are being indexed.
    """
    outcome = Outcome()
    admitted: list[SourceRef] = []
    if collection is not None:
        await backend.collections.ensure(collection)
        await backend.collections.allow(collection, readers)
    for file in files:
        delivery = _delivery(file, base, readers, PROVIDER if collection is None else collection.provider)
        try:
            admission = await _admit(backend, delivery, file, collection)
        except SourceRejected as rejection:
            outcome.rejected += 1
            told(file, f"rejected: {rejection.reason}")
            continue
        if admission is Admission.UNCHANGED:
            outcome.unchanged += 1
            told(file, "unchanged")
        else:
            outcome.admitted += 1
            admitted.append(delivery.ref)
            told(file, "waiting")
    while admitted and (count := await backend.ledger.prefer(Realm.LOCAL, admitted)):
        still_waiting(count)
        await backend.indexer.wait_for_verdict(1.0)
    return outcome


async def _admit(backend: Backend, delivery: Delivery, file: Path, collection: Collection | None) -> Admission:
    await backend.admission.wait_for_room(_ROOM_SECONDS)
    if collection is not None:
        return await backend.collecting.admit(
            collection,
            delivery.ref.item,
            delivery.title,
            delivery.media_type,
            file,
            modified_at=delivery.modified_at,
        )
    size = file.stat().st_size  # noqa: ASYNC240 - one look at a local file
    return await backend.admission.admit(delivery, file, size)


def _delivery(file: Path, base: Path, readers: frozenset[Principal], provider: str) -> Delivery:
    name = hashlib.sha256(str(file.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
    title = file.relative_to(base) if file.is_relative_to(base) else file
    return Delivery(
        realm=Realm.LOCAL,
        ref=SourceRef(provider, name),
        title=clean_title(str(title).encode(errors="replace").decode()),
        media_type=mimetypes.guess_type(file.name)[0] or "",
        modified_at=datetime.fromtimestamp(file.stat().st_mtime, UTC),
        readers=readers,
    )


def files_in(path: Path) -> Iterator[Path]:
    """The file itself, or the files below the folder that are not hidden, in order."""
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
            yield file
