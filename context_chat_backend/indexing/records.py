# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records of exchanges go when they are old, and with the sources they were written from."""

from __future__ import annotations

import asyncio

from context_chat_backend.chat_log import ChatLog, Record
from context_chat_backend.domain import Realm
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.store.overview import Overview

_SECONDS_BETWEEN = 600.0
_log = get_logger(__name__)


async def keep_records(log: ChatLog, overview: Overview) -> None:
    """Forget what is to be forgotten, now and then, until cancelled."""
    while True:
        try:
            await asyncio.to_thread(log.forget_old)
            if forgotten := await forget_gone(log, overview):
                _log.info("records_forgotten", count=forgotten)
        except (OSError, DatabaseUnavailable) as error:
            _log.warning("records_not_forgotten", error=type(error).__name__)
        await asyncio.sleep(_SECONDS_BETWEEN)


async def forget_gone(log: ChatLog, overview: Overview) -> int:
    """Take out records whose sources are gone; returns how many. Raises OSError, DatabaseUnavailable."""
    named: set[str] = set()

    def note(record: Record) -> bool:
        named.update(_sources(record))
        return False

    await asyncio.to_thread(log.forget, note)
    gone = named - await overview.there(Realm.LOCAL, named) if named else set()
    if not gone:
        return 0
    return await asyncio.to_thread(log.forget, lambda record: not gone.isdisjoint(_sources(record)))


def _sources(record: Record) -> set[str]:
    return {str(source.get("id")) for source in record.get("sources") or () if isinstance(source, dict)}
