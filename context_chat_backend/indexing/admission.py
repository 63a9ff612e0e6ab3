# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door of the index: each delivery gets a verdict on its own, and nothing is acknowledged before it is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from context_chat_backend.domain import Admission, Delivery, Reason
from context_chat_backend.errors import SourceRejected, WaitingListFull
from context_chat_backend.exclusions import Exclusions
from context_chat_backend.store.ledger import Ledger, Waiting

EVERYTHING_WANTED = Exclusions()

_COUNT_SECONDS = 1.0
"""How long a count of the waiting list is trusted; between counts what is admitted here is added."""


class Admissions:
    """Admits deliveries while there is room for them."""

    def __init__(
        self,
        ledger: Ledger,
        accepts: Callable[[str, str], bool],
        *,
        max_source_bytes: int,
        max_waiting_sources: int,
        max_waiting_bytes: int,
        admitted: asyncio.Event,
        exclusions: Exclusions = EVERYTHING_WANTED,
    ) -> None:
        """`accepts` says of media type and title whether there is a parser; `admitted` is set after each admission."""
        self._ledger = ledger
        self._accepts = accepts
        self._max_source_bytes = max_source_bytes
        self._max_waiting = Waiting(max_waiting_sources, max_waiting_bytes)
        self._admitted = admitted
        self._exclusions = exclusions
        self._waiting = Waiting(0, 0)
        self._counted_at = float("-inf")

    async def admit_new(self, deliveries: Sequence[tuple[Delivery, bytes]]) -> set[str]:
        """Store those with small contents that are new, in one transaction; returns the refs of
        what was stored.

        The others are to be admitted one by one: what is known, refused, delivered twice, or finds no room.
        Raises DatabaseUnavailable.
        """
        if not await self.has_room():
            return set()
        room = Waiting(self._max_waiting.sources - self._waiting.sources, self._max_waiting.bytes - self._waiting.bytes)
        wanted: dict[str, tuple[Delivery, bytes]] = {}
        taken = 0
        for delivery, body in deliveries:
            if len(wanted) >= room.sources or taken >= room.bytes:
                break
            if str(delivery.ref) not in wanted and self._refusal(delivery, len(body)) is None:
                wanted[str(delivery.ref)] = (delivery, body)
                taken += len(body)
        stored = await self._ledger.admit_new(list(wanted.values())) if wanted else set()
        if stored:
            self._note_admitted(len(stored), sum(len(wanted[ref][1]) for ref in stored))
        return stored

    async def admit(self, delivery: Delivery, body: Path | bytes, size: int) -> Admission:
        """Store a delivery whose content are the `size` bytes of `body`, a file or the bytes themselves.

        Raises SourceRejected when it can never be indexed (empty, too large, unsupported), WaitingListFull when there
        is no room for now, DatabaseUnavailable.
        """
        await self._turn_away(delivery, size, None)
        if not await self.has_room():
            admission = await self._ledger.admit_known(delivery, size)
            if admission is None:
                raise WaitingListFull("the waiting list is full")
            return admission
        return await self._admit(delivery, body, size, None)

    async def admit_leased(self, delivery: Delivery, body: bytes, size: int, row: tuple[str, int]) -> Admission:
        """Store what was leased from a queue of Nextcloud, and with it that `row` (queue, id) is to be acknowledged.

        Leased rows are always taken; `has_room` is asked before more are leased. Raises SourceRejected, which
        acknowledges it too, and DatabaseUnavailable.
        """
        await self._turn_away(delivery, size, row)
        return await self._admit(delivery, body, size, row)

    async def _turn_away(self, delivery: Delivery, size: int, row: tuple[str, int] | None) -> None:
        if (reason := self._refusal(delivery, size)) is not None:
            await self._ledger.turn_away(delivery, size, reason, row)
            raise SourceRejected(reason)

    async def _admit(self, delivery: Delivery, body: Path | bytes, size: int, row: tuple[str, int] | None) -> Admission:
        admission = await self._ledger.admit(delivery, body, size, row)
        if admission is Admission.ADMITTED:
            self._note_admitted(1, 0 if delivery.remote else size)
        return admission

    def _note_admitted(self, sources: int, size: int) -> None:
        self._waiting = Waiting(self._waiting.sources + sources, self._waiting.bytes + size)
        self._admitted.set()

    def note_acknowledged(self) -> None:
        """Rows were acknowledged: the files in them may be fetched."""
        self._admitted.set()

    async def wait_for_room(self, timeout_seconds: float) -> bool:
        """Wait until the waiting list has room; False when it has none after `timeout_seconds`."""
        deadline = time.monotonic() + timeout_seconds
        while not await self.has_room():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(min(_COUNT_SECONDS, timeout_seconds))
        return True

    def _refusal(self, delivery: Delivery, size: int) -> Reason | None:
        if size == 0 and not delivery.remote:
            return Reason.EMPTY
        if size > self._max_source_bytes:
            return Reason.TOO_LARGE
        if self._exclusions.leave_out(
            path=delivery.title,
            media_type=delivery.media_type,
            provider=delivery.ref.provider,
            size=size,
            modified_at=delivery.modified_at,
            now=datetime.now(UTC),
        ):
            return Reason.EXCLUDED
        return None if self._accepts(delivery.media_type, delivery.title) else Reason.UNSUPPORTED

    async def has_room(self) -> bool:
        """Whether the waiting list takes more. Raises DatabaseUnavailable."""
        if time.monotonic() - self._counted_at > _COUNT_SECONDS:
            self._waiting = await self._ledger.waiting()
            self._counted_at = time.monotonic()
        return self._waiting.sources < self._max_waiting.sources and self._waiting.bytes < self._max_waiting.bytes
