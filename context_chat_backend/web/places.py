# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many requests are in work at once, in all and of each asker: who is one too many is told when to come again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import ExitStack, contextmanager

from fastapi import Request

from context_chat_backend.limits import Limits
from context_chat_backend.web.errors import AGAIN_SOON, Refusal

_HELD = "context_chat_backend.places"


class Places:
    """Places for requests; the listeners of a process share them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken = 0
        self._of = Counter[Hashable]()

    @property
    def taken(self) -> int:
        """How many requests are in work."""
        return self._taken

    @contextmanager
    def one(self) -> Iterator[ExitStack]:
        """A place for a request; what is put on the stack ends with it. Raises Refusal (503) when none is free."""
        if self._taken >= self._limits.requests_at_once:
            raise Refusal(503, "too many requests are in work: try again", AGAIN_SOON)
        self._taken += 1
        try:
            with ExitStack() as held:
                yield held
        finally:
            self._taken -= 1

    @contextmanager
    def of(self, asker: Hashable, status: int = 429) -> Iterator[None]:
        """One of the places of `asker`. Raises Refusal (`status`) when he holds as many as he may."""
        if self._of[asker] >= self._limits.requests_at_once_per_asker:
            raise Refusal(status, "too many of your requests are in work: wait for their answers", AGAIN_SOON)
        self._of[asker] += 1
        try:
            yield
        finally:
            self._of[asker] -= 1
            if not self._of[asker]:
                del self._of[asker]  # askers come and go, for years


def hold(request: Request, held: ExitStack) -> None:
    """Remember what the place of `request` holds."""
    request.scope[_HELD] = held


def take_place(request: Request, asker: Hashable, status: int = 429) -> None:
    """A place of `asker`, to the end of the answer. Raises Refusal (`status`)."""
    places: Places = request.app.state.places
    held: ExitStack = request.scope[_HELD]
    held.enter_context(places.of(asker, status))
