# SPDX-License-Identifier: AGPL-3.0-or-later
"""Leaves a model alone that failed several times in a row, so that nobody waits for what is known to be down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.logs import get_logger

_log = get_logger(__name__)


class Breaker:
    """Counts failures of one model. After some it refuses at once, and lets one attempt through now and then."""

    def __init__(
        self,
        what: str,
        *,
        tolerated: int,
        first_pause: float,
        longest_pause: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`what` is named in errors; more than `tolerated` failures in a row bring a pause (seconds) that doubles."""
        self._what = what
        self._tolerated = tolerated
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0
        self._said = ""

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around one attempt: a ModelUnavailable out of it is a failure, its end a success, all else neither.

        Raises ModelUnavailable, without an attempt, while the model is left alone.
        """
        now = self._clock()
        if now < self._closed_until:
            raise ModelUnavailable(f"{self._what} is left alone for {self._closed_until - now:.0f} s: {self._said}")
        tried_alone = self._failures > self._tolerated
        if tried_alone:  # the others wait for the outcome of this one
            self._closed_until = now + self._pause()
        try:
            yield
        except ModelUnavailable as error:
            self._failed(str(error))
            raise
        except BaseException:  # cancelled, or a matter of the text: that says nothing about the model
            if tried_alone:
                self._closed_until = 0.0
            raise
        self._succeeded()

    def _failed(self, said: str) -> None:
        self._failures += 1
        self._said = said
        if self._failures > self._tolerated:
            self._closed_until = self._clock() + self._pause()
            _log.warning("model_left_alone", model=self._what, seconds=round(self._pause()), error=said)

    def _succeeded(self) -> None:
        if self._failures > self._tolerated:
            _log.info("model_answers_again", model=self._what)
        self._failures = 0
        self._closed_until = 0.0

    def _pause(self) -> float:
        exponent = min(32, self._failures - self._tolerated - 1)
        return float(min(self._longest_pause, self._first_pause * 2**exponent))
