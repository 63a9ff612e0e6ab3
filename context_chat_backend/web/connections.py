# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections as long as they are of use: uvicorn's protocol, with the limits it lacks.

It closes what idles between two requests. What never ends its headers, sends more of them than anybody needs, or takes
nothing of an answer it would keep for ever. Slow bodies are the affair of bodies.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from context_chat_backend.limits import Limits

_AROUND_A_HEADER = 4
"""Bytes of `: ` and the end of the line."""


class Connection(HttpToolsProtocol):
    """One connection, looked at about once a second."""

    limits: ClassVar[Limits] = Limits()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._idle_since = self.loop.time()
        self._head_bytes = 0
        """That came since the end of the last request."""
        self._headers_bytes = 0
        """That were told apart."""
        self._header_count = 0
        self._in_body = False
        self._refused = False
        self._pending: tuple[float, int] | None = None
        """Since when somebody is waited for to take an answer, and how much there was to take."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Somebody came."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "too many connections are open: try again", b"retry-after: 5\r\n")

    def data_received(self, data: bytes) -> None:
        """Somebody sent something."""
        if self._refused or self.transport.is_closing():
            return
        if not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_body and self._head_bytes > self.limits.header_bytes and not self.transport.is_closing():
            self._refuse_head()  # of one name or value nothing is told before its end

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._headers_bytes = self._header_count = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the path."""
        super().on_url(url)
        self._headers_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header."""
        self._headers_bytes += len(name) + len(value) + _AROUND_A_HEADER
        self._header_count += 1
        if not self._has_too_much():
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._in_body = True
        self._head_bytes = 0
        if not self._refused and self._has_too_much():
            self._refuse_head()
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_body = False
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer was given."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def resume_writing(self) -> None:
        """Enough of an answer was taken."""
        self._pending = None
        super().resume_writing()

    def look(self, now: float) -> bool:
        """Close the connection when the other side was waited for too long; whether it was closed.

        `now` is a time of the loop.
        """
        if self.transport.is_closing() or self.flow.write_paused:
            return self._look_at_reader(now)
        self._pending = None
        in_work = self.cycle is not None and not self.cycle.response_complete
        if in_work or now - self._idle_since <= self.limits.header_seconds:
            return False
        self.transport.close()
        return True

    def _look_at_reader(self, now: float) -> bool:
        left = self.transport.get_write_buffer_size()
        since, before = self._pending or (now, left)
        if self._pending is not None and now - since <= self.limits.reader_seconds:
            return False
        if self._pending is not None and before - left < self.limits.reader_seconds * self.limits.body_bytes_per_second:
            self.transport.abort()
            return True
        self._pending = now, left
        return False

    def _has_too_much(self) -> bool:
        return self._headers_bytes > self.limits.header_bytes or self._header_count > self.limits.headers

    def _refuse_head(self) -> None:
        most = f"at most {self.limits.headers} headers of {self.limits.header_bytes} bytes in all are taken"
        self._refuse(431, most)

    def _refuse(self, status: int, text: str, header: bytes = b"") -> None:
        self._refused = True
        body = json.dumps({"error": text}).encode()
        self.transport.write(
            STATUS_LINE[status]
            + header
            + b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()
