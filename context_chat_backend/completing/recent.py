# SPDX-License-Identifier: AGPL-3.0-or-later
"""Completions that were given a moment ago: editors ask for the same again and again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Some answers in memory, the latest used kept longest."""

    def __init__(self, most: int = 500, seconds: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        """What was answered to `key`, while it is young enough."""
        kept = self._kept.get(key)
        if kept is None or self._clock() - kept[0] > self._seconds:
            self._kept.pop(key, None)
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def put(self, key: Hashable, answer: T) -> None:
        """Remember; the one that was used longest ago goes where there are too many."""
        self._kept[key] = (self._clock(), answer)
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
