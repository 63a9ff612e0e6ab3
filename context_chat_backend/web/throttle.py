# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often an address may send secrets, keys and tokens that do not hold.

Only what was refused is counted, after it was looked at: a right one always passes, so that nobody can lock out
Nextcloud by guessing from its address. What keeps secrets from being guessed is their length; this keeps those who try
from filling the log, and tells of them.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from fastapi import Request

from context_chat_backend.logs import get_logger
from context_chat_backend.web.addresses import Address, client_address

_SECONDS = 60.0
_MOST_ADDRESSES = 10_000
_log = get_logger(__name__)


class Throttle:
    """Counts of refusals by address, each over a minute that begins with the first."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """More than `per_minute` refusals of one address are too many."""
        self._per_minute = per_minute
        self._clock = clock
        self._counted: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def refused(self, address: str) -> int | None:
        """Count a refusal; the whole seconds to wait where there were too many in this minute, else None."""
        name, now = Address(address, "").network, self._clock()
        begun, count = self._counted.get(name, (now, 0))
        if now - begun >= _SECONDS:
            begun, count = now, 0
        count += 1
        self._counted[name] = begun, count
        self._counted.move_to_end(name)
        while len(self._counted) > _MOST_ADDRESSES:
            self._counted.popitem(last=False)
        if count <= self._per_minute:
            return None
        if count == self._per_minute + 1:
            _log.warning("refused_too_often", address=name, refusals=count)
        return math.ceil(begun + _SECONDS - now)


def throttle_of(request: Request) -> Throttle:
    """The counts of the listener a request came to."""
    throttle: Throttle = request.app.state.throttle
    return throttle


def address_of(request: Request) -> str:
    """Where a request comes from; of one at a unix socket, where all come from one place, no more is known."""
    return client_address(request, request.app.state.backend.config.chat.trusted_proxies).text
