# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP by hand, so that every byte of an answer may be wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.model_double.dialects import Chat, Dialect, event


@dataclass
class Asked:
    """One request, and what became of its connection."""

    path: str
    headers: dict[str, str]
    body: Any
    method: str = "POST"
    left: bool = False
    """Whether the client hung up before the answer was complete."""


@dataclass
class Connection:
    """What a step answers through."""

    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client hangs up."""
    dialect: Dialect = field(default_factory=Chat)
    """In which it is answered."""

    async def begin(self) -> None:
        """The head of a stream."""
        await self.head(kind=self.dialect.kind)

    async def piece(self, asked: Mapping[str, Any], text: str | None, **more: Any) -> None:
        """A piece of an answer to the request with the body `asked`."""
        await self.raw(self.dialect.piece(asked, text, **more))

    async def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        """The head of an answer that ends with the connection."""
        lines = [
            f"HTTP/1.1 {status} X",
            f"content-type: {kind}",
            "connection: close",
            "x-elastic-product: Elasticsearch",
        ]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def raw(self, data: bytes) -> None:
        """Bytes as they are. Raises ConnectionError when nobody reads any more."""
        if self.gone.is_set():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def event(self, said: Any) -> None:
        """One server-sent event."""
        await self.raw(event(said))

    async def json(self, said: Any, status: int = 200, **headers: str) -> None:
        """A whole answer."""
        await self.head(status, "application/json", **headers)
        await self.raw(json.dumps(said).encode())

    async def pause(self, seconds: float) -> None:
        """Wait, or less when the client hangs up."""
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return
        raise ConnectionResetError


async def read(reader: asyncio.StreamReader) -> Asked | None:
    """The next request of a connection; None when there is none."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        sent = await reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, path, *_ = first.split()
    return Asked(path, headers, _read(sent), method)


def _read(sent: bytes) -> Any:
    """JSON; of several lines of JSON a list."""
    try:
        return json.loads(sent) if sent else None
    except ValueError:
        return [json.loads(line) for line in sent.splitlines() if line.strip()]
