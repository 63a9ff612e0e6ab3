# SPDX-License-Identifier: AGPL-3.0-or-later
"""The companion app pushes sources: PUT /loadSources, of 4.0.0-beta3 to 5.3.1 (contract push-4x 2.2 and 4).

A part that is wrong never fails its request, and `cc-retry` is sent from here alone: in the answer to an action it
would abort the companion's whole job.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError

from context_chat_backend.domain import FILES, Delivery, Realm
from context_chat_backend.errors import DiskFull, InvalidRequest, SourceRejected, WaitingListFull, finds_no_room
from context_chat_backend.exapp.authentication import NextcloudRoute
from context_chat_backend.exapp.deliveries import delivery_from, is_beta
from context_chat_backend.exapp.readiness import Enabled
from context_chat_backend.logs import get_logger
from context_chat_backend.web.errors import Refusal
from context_chat_backend.web.multipart import Part, read_parts
from context_chat_backend.wiring import Backend

HOLD_SECONDS = 600.0
"""How long a request is held while the waiting list is full (ruling 15); the companion waits 3000 s."""

_TOGETHER = 64
_TOGETHER_BYTES = 1024 * 1024
"""So many small sources are admitted in one transaction."""

_log = get_logger(__name__)


class _PushRoute(NextcloudRoute):
    body_limit = "push_body_bytes"


router = APIRouter(route_class=_PushRoute)


@dataclass
class _Outcome:
    """What became of the sources of one request, by id. A source delivered twice counts as its last delivery."""

    loaded: dict[str, None] = field(default_factory=dict)
    retry: dict[str, None] = field(default_factory=dict)
    retry_in_beta: bool = False

    def note(self, part: Part, loaded: bool | None) -> None:
        """Loaded, to be sent again, or (None) of no use now or later."""
        source_id = part.filename or ""
        for ids in (self.loaded, self.retry):
            ids.pop(source_id, None)
        if loaded is not None:
            (self.loaded if loaded else self.retry)[source_id] = None
        if loaded is False and is_beta(part.headers):
            self.retry_in_beta = True


@router.put("/loadSources")
async def load_sources(request: Request, backend: Enabled) -> dict[str, list[str]]:
    """Admit the sources of a request while the rest still arrives, several small ones together."""
    outcome = _Outcome()
    seen = False
    small: list[Part] = []
    kept = 0
    deadline = time.monotonic() + request.app.state.hold_seconds
    received_at = await backend.queued.now()
    try:
        async with aclosing(_parts(request, backend)) as parts:
            async for part in parts:
                if part.name != "sources":
                    continue
                seen = True
                is_small = part.file is None and part.size == len(part.small)
                if is_small:
                    small.append(part)
                    kept += part.size
                if not is_small or len(small) >= _TOGETHER or kept >= _TOGETHER_BYTES:
                    await _load_together(backend, small, received_at, deadline, outcome)
                    small.clear()
                    kept = 0
                if not is_small:
                    outcome.note(part, await _load(backend, part, received_at, deadline))
            await _load_together(backend, small, received_at, deadline, outcome)
    except (OSError, DiskFull) as error:
        if not finds_no_room(error):
            raise
        _log.error("disk_full", path=request.url.path)
        raise Refusal(503, "a disk of the backend is full: make room, then try again", {"cc-retry": "true"}) from error
    if not seen:
        raise RequestValidationError([{"type": "missing", "loc": ("body", "sources"), "msg": "Field required"}])
    # The beta reads nothing but the status, so one source that must come again sends the whole request again.
    if outcome.retry and (not outcome.loaded or outcome.retry_in_beta):
        raise Refusal(503, "there is no room to take these sources in: try again", {"cc-retry": "true"})
    return {"loaded_sources": list(outcome.loaded), "sources_to_retry": list(outcome.retry)}


def _parts(request: Request, backend: Backend) -> AsyncGenerator[Part, None]:
    return read_parts(
        request.headers.get("content-type", ""),
        request.stream(),
        folder=backend.temporary,
        max_part_bytes=backend.config.indexing.max_source_bytes,
        limits=backend.config.limits,
    )


async def _load_together(
    backend: Backend, parts: list[Part], received_at: datetime, deadline: float, outcome: _Outcome
) -> None:
    """Admit small parts: the new ones in one transaction, the others one by one. Raises DatabaseUnavailable."""
    deliveries: list[tuple[Delivery, bytes]] = []
    for part in parts:
        with suppress(InvalidRequest):  # refused below
            deliveries.append((delivery_from(part.filename, part.headers, received_at), bytes(part.small)))
    stored = await backend.admission.admit_new(deliveries)
    for part in parts:
        ref = part.filename or ""
        if ref in stored:
            stored.discard(ref)
            outcome.note(part, True)
        else:
            outcome.note(part, await _load(backend, part, received_at, deadline))


async def _load(backend: Backend, part: Part, received_at: datetime, deadline: float) -> bool | None:
    """True: loaded; False: to be sent again; None: of no use, now or later. Raises DatabaseUnavailable."""
    try:
        delivery = delivery_from(part.filename, part.headers, received_at)
        await _admit(backend, delivery, part, deadline)
    except InvalidRequest as error:
        _log.warning("delivery_refused", reason=str(error))
        return None
    except SourceRejected as rejection:
        _log.info("delivery_rejected", reason=str(rejection.reason))
        return None
    except WaitingListFull:
        _log.warning("delivery_postponed", provider=delivery.ref.provider)
        return False
    return True


async def _admit(backend: Backend, delivery: Delivery, part: Part, deadline: float) -> None:
    """Admit, holding the request while there is no room. Raises SourceRejected, WaitingListFull."""
    while True:
        try:
            await backend.admission.admit(delivery, part.body, part.size)
        except WaitingListFull:
            # What is unchanged needs no room, so the parts after the deadline are tried once too.
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not await backend.admission.wait_for_room(remaining):
                raise
        else:
            return


@router.post("/countIndexedDocuments")
async def count_indexed_documents(backend: Enabled) -> dict[str, int]:
    """Indexed sources by provider. Unless there is nothing, files are named: else the companion takes us for dead."""
    counts = await backend.ledger.count_indexed(Realm.NEXTCLOUD)
    return {FILES: 0} | counts if counts else {}
