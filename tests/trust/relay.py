# SPDX-License-Identifier: AGPL-3.0-or-later
"""A wire that can be cut: between the program and Nextcloud, its database, or a model elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

Address = tuple[str, int] | Path
"""A host and port, or a unix socket."""
_BYTES = 65536


class Wire(StrEnum):
    """What becomes of bytes."""

    WHOLE = "whole"
    CUT = "cut"  # all connections end, new ones end at once
    HOLE = "hole"  # connections stay, and nothing goes through; at the end they are reset
    LOSES_ANSWERS = "loses answers"  # what is asked arrives; the connection ends before the answer
    SLOW = "slow"  # every piece takes a while


@dataclass(eq=False)
class _Link:
    near: asyncio.StreamWriter
    far: asyncio.StreamWriter | None = None

    def end(self) -> None:
        for writer in (self.near, self.far):
            if writer is not None:
                writer.transport.abort()


class Relay:
    """Listens, and passes on to `target`; has a thread of its own."""

    def __init__(self, target: Address, listen_at: Path | None = None, *, delay_seconds: float = 0.2) -> None:
        """`listen_at` is a unix socket; without it a free port of this machine."""
        self._target = target
        self._listen_at = listen_at
        self._delay = delay_seconds
        self._wire = Wire.WHOLE
        self._links: set[_Link] = set()
        self._mended = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self.port = 0

    def __enter__(self) -> Relay:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def be(self, wire: Wire) -> None:
        """From now on it is so."""
        self._call(self._be(wire))

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        if self._listen_at is not None:
            self._server = await asyncio.start_unix_server(self._serve, str(self._listen_at))
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._be(Wire.CUT)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _be(self, wire: Wire) -> None:
        was, self._wire = self._wire, wire
        if Wire.CUT in (was, wire) or was is Wire.HOLE:
            for link in list(self._links):
                link.end()
        if wire is Wire.HOLE:
            self._mended.clear()
        else:
            self._mended.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            if self._wire is Wire.HOLE:
                await self._mended.wait()
                return
            if self._wire is Wire.CUT:
                return
            if isinstance(self._target, Path):
                back, link.far = await asyncio.open_unix_connection(str(self._target))
            else:
                back, link.far = await asyncio.open_connection(*self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, link.far, lambda: False, link))
                group.create_task(self._pump(back, writer, lambda: self._wire is Wire.LOSES_ANSWERS, link))
        except (OSError, ExceptionGroup):
            pass
        finally:
            link.end()
            self._links.discard(link)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, loses: Callable[[], bool], link: _Link
    ) -> None:
        while data := await source.read(_BYTES):
            if self._wire is Wire.HOLE:
                await self._mended.wait()
                break
            if self._wire is Wire.SLOW:
                await asyncio.sleep(self._delay)
            if loses():
                break
            sink.write(data)
            await sink.drain()
        with contextlib.suppress(OSError):
            link.end()
