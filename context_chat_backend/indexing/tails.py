# SPDX-License-Identifier: AGPL-3.0-or-later
"""New vectors are indexed in the background: while nobody is waiting to be indexed, or when too many have come."""

from __future__ import annotations

import asyncio

from context_chat_backend.errors import DatabaseUnavailable, SpaceGone
from context_chat_backend.logs import get_logger
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.tails import Tails

MAX_TAIL = 20_000
"""As many vectors are scanned in the time the index takes; beyond it searches would become slower (ruling 11)."""

_AT_ONCE = 250
"""Less than a second, after which an action that waits for one of them goes on."""
_SECONDS_BETWEEN = 2.0
_log = get_logger(__name__)


async def keep_indexed(spaces: SpacesInUse, tails: Tails, ledger: Ledger) -> None:
    """Index new vectors until cancelled."""
    while True:
        try:
            while await _index_some(spaces, tails, ledger):
                pass
        except SpaceGone:
            pass  # this process looks at the spaces that are there before it comes again
        except DatabaseUnavailable as error:
            _log.warning("new_vectors_wait_for_database", error=str(error))
        await asyncio.sleep(_SECONDS_BETWEEN)


async def _index_some(spaces: SpacesInUse, tails: Tails, ledger: Ledger) -> bool:
    """Index some new vectors of each space where it is time; whether there may be more to do."""
    is_idle = (await ledger.waiting()).sources == 0
    more = False
    for space in spaces.live:
        if is_idle or await tails.size(space.stored) > MAX_TAIL:
            more = await tails.index(space.stored, _AT_ONCE) > 0 or more
    return more
