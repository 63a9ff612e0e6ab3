# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP by hand, so that every byte of an answer may be wrong."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """One request, and what became of its connection."""

    path: str
    headers: dict[str, str]
    body: Any
    left: bool = False
    """Whether the client hung up before the answer was complete."""


@dataclass
class Connection:
    """What a step answers through."""

    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client hangs up."""

    async def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        """The head of an answer that ends with the connection."""
        lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", "connection: close"]
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
        await self.raw(f"data: {json.dumps(said, ensure_ascii=False)}\n\n".encode())

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
    return Asked(first.split()[1], headers, json.loads(sent) if sent else None)
