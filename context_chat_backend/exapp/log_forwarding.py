# SPDX-License-Identifier: AGPL-3.0-or-later
"""Warnings and errors of the program appear in Nextcloud's log too, few enough that they do not fill it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from context_chat_backend import logs
from context_chat_backend.errors import NextcloudUnavailable
from context_chat_backend.nextcloud.client import NextcloudClient

LINES_PER_MINUTE = 20
_WAITING = 100
_SECONDS = 60.0
_WARNING, _ERROR = 2, 3
_OURS = "context_chat_backend"


class LogForwarding(logging.Handler):
    """Collects lines as they are logged; `run` sends them."""

    def __init__(self, client: NextcloudClient, *, seconds: float = _SECONDS) -> None:
        """In each span of `seconds` at most LINES_PER_MINUTE lines are sent; of the rest the number is."""
        super().__init__(logging.WARNING)
        self._client = client
        self._seconds = seconds
        self._lines: deque[tuple[int, str]] = deque()
        self._left_out = 0
        self._logged = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line, from whatever thread it comes."""
        if record.name.startswith(_OURS):
            line = (_ERROR if record.levelno >= logging.ERROR else _WARNING, self.format(record))
            self._loop.call_soon_threadsafe(self._take, line)

    async def run(self) -> None:
        """Send until cancelled. What Nextcloud does not take is left out: it stands in our own log."""
        logs.add_handler(self)
        try:
            while True:
                await self._logged.wait()
                self._logged.clear()
                await asyncio.sleep(min(1.0, self._seconds))  # what goes wrong at once is sent at once
                await self._send()
                await asyncio.sleep(self._seconds)
        finally:
            logs.remove_handler(self)

    def _take(self, line: tuple[int, str]) -> None:
        if len(self._lines) < _WAITING:
            self._lines.append(line)
        else:
            self._left_out += 1
        self._logged.set()

    async def _send(self) -> None:
        sent = [self._lines.popleft() for _ in range(min(LINES_PER_MINUTE, len(self._lines)))]
        self._left_out += len(self._lines)
        self._lines.clear()
        if self._left_out:
            sent.append((_WARNING, f"{self._left_out} more lines are in the log of the app"))
            self._left_out = 0
        try:
            for level, text in sent:
                await self._client.log(level, text)
        except NextcloudUnavailable:
            return
