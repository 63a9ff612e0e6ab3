# SPDX-License-Identifier: AGPL-3.0-or-later
"""Exclusion rules are applied to what is there already: after they have changed, and daily where they speak of age."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from context_chat_backend.domain import Reason
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.exclusions import Exclusions
from context_chat_backend.logs import get_logger
from context_chat_backend.store.excluded import Excluded

_AT_ONCE = 2000
_AGAIN = timedelta(days=1)
_SECONDS_BETWEEN = 3600.0
_SECONDS_AFTER_FAULT = 10.0
_log = get_logger(__name__)


async def keep_excluded(excluded: Excluded, exclusions: Exclusions) -> None:
    """Apply the rules whenever that is due, until cancelled."""
    while True:
        try:
            await apply(excluded, exclusions, datetime.now(UTC))
        except DatabaseUnavailable as error:
            _log.warning("exclusions_wait_for_database", error=str(error))
            await asyncio.sleep(_SECONDS_AFTER_FAULT)
        else:
            await asyncio.sleep(_SECONDS_BETWEEN)


async def apply(excluded: Excluded, exclusions: Exclusions, now: datetime) -> int:
    """Reject what the rules leave out, unless that was done with these rules; returns how many sources.

    Raises DatabaseUnavailable.
    """
    again = None if exclusions.older_than is None else now - _AGAIN
    if await excluded.was_applied(exclusions.digest, since=again):
        return 0
    after = rejected = 0
    while sources := await excluded.some(after, _AT_ONCE):
        after = sources[-1].id
        left_out = [
            source.id
            for source in sources
            if exclusions.leave_out(
                path=source.title,
                media_type=source.media_type,
                provider=source.provider,
                size=source.size,
                modified_at=source.modified_at,
                now=now,
            )
        ]
        if left_out:
            rejected += await excluded.reject(left_out, Reason.EXCLUDED)
    await excluded.note_applied(exclusions.digest, now)
    if rejected:
        _log.info("sources_excluded", sources=rejected)
    return rejected
