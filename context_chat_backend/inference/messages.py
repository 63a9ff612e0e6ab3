# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the program and its model process send each other: JSON, and vectors as they lie in memory."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LENGTHS = struct.Struct("<II")
_MOST_BYTES = 256 * 1024**2
"""More is a fault of the other side, and is not read."""


async def send(writer: asyncio.StreamWriter, message: Mapping[str, Any], data: bytes = b"") -> None:
    """One message. Raises OSError when the other side is gone."""
    head = json.dumps(message).encode()
    writer.write(_LENGTHS.pack(len(head), len(data)) + head + data)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """The next message and its data. Raises EOFError when the other side is gone, OSError, ValueError."""
    try:
        head, data = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
        if head + data > _MOST_BYTES:
            raise ValueError(f"a message of {head + data} bytes")
        message: dict[str, Any] = json.loads(await reader.readexactly(head))
        return message, await reader.readexactly(data)
    except asyncio.IncompleteReadError:
        raise EOFError from None


@contextmanager
def address(folder: Path, key: str) -> Iterator[str]:
    """The socket's address, short however deep the folder lies: such addresses have at most 107 bytes."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{key}.sock"
    finally:
        os.close(opened)
