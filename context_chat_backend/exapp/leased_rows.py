# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was leased is admitted and applied, each row on its own: a row that is wrong holds up no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from context_chat_backend.domain import SourceRef
from context_chat_backend.errors import InvalidRequest, SourceRejected
from context_chat_backend.exapp import listings
from context_chat_backend.indexing.numbered_action import Action
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.queues import ACTIONS, FILES
from context_chat_backend.store.queued import LeasedRow
from context_chat_backend.wiring import Backend

_AT_ONCE = 4096
_log = get_logger(__name__)


async def settle_leased(backend: Backend) -> None:
    """Admit the documents and apply the actions that are written down. Raises DatabaseUnavailable."""
    while rows := await backend.queued.kept(_AT_ONCE):
        queue = rows[0].queue
        alike = [row for row in rows if row.queue == queue]
        if queue == ACTIONS:
            await _apply_all(backend, alike)
        elif queue == FILES:
            await _admit_files(backend, alike)
        else:
            for row in alike:
                await _admit(backend, row)


async def _admit_files(backend: Backend, rows: Sequence[LeasedRow]) -> None:
    """Files were listed after all actions that are applied by now were read: their readers are newer."""
    now = await backend.queued.now()
    listed = [ref for row in rows if (ref := await _admit(backend, replace(row, readers_since=now))) is not None]
    await backend.applied.note_listed(listed)


async def _admit(backend: Backend, row: LeasedRow) -> SourceRef | None:
    """Admit one document; its source, where it names one."""
    name = (row.queue, row.id)
    try:
        listed = listings.listed(row)
    except InvalidRequest as error:
        _log.warning("delivery_refused", queue=row.queue, row=row.id, reason=str(error))
        await backend.queued.settle([name])
        return None
    try:
        await backend.admission.admit_leased(listed.delivery, listed.body, listed.size, name)
    except SourceRejected as rejection:
        _log.info("delivery_rejected", queue=row.queue, row=row.id, reason=str(rejection.reason))
    return listed.delivery.ref


async def _apply_all(backend: Backend, rows: Sequence[LeasedRow]) -> None:
    actions: list[Action] = []
    for row in rows:
        try:
            action = listings.action(row)
        except InvalidRequest as error:
            _log.warning("action_refused", row=row.id, reason=str(error))
        else:
            if action is None:
                _log.warning("action_names_nothing", row=row.id)
            else:
                actions.append(action)
    await backend.numbered_actions.apply(actions, [(row.queue, row.id) for row in rows])
