# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process of a local language model: started by `separate.py`, which it talks to over an inherited socket.

A fault in a library of models then costs a restart and not the program. It ends when the socket does.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from context_chat_backend.domain import Ended, Sampling
from context_chat_backend.inference.language.engine import Engine, Order, build_engine
from context_chat_backend.inference.messages import receive, send
from context_chat_backend.inference.processes import error_said

_SACRIFICED = b"500"
"""When memory runs out, the kernel ends this process before database and program: it is started again."""


def main() -> None:
    """Serve on the socket whose number is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_SACRIFICED)
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
    os._exit(0)  # whatever the library is doing


async def _serve(opened: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=opened)
    settings, _ = await receive(reader)
    try:
        engine = build_engine(
            settings["name"], settings["options"], threads=settings["threads"], download=settings["download"]
        )
    except Exception as error:  # libraries of models have errors of their own
        await send(writer, error_said(error, "the language model"))
        return
    await send(writer, {"context_tokens": engine.context_tokens})
    with suppress(EOFError, OSError):
        await _Conversation(engine, writer).follow(reader)


class _Conversation:
    """Writes one order after the other on a thread; counts on others meanwhile."""

    def __init__(self, engine: Engine, writer: asyncio.StreamWriter) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._orders: queue.Queue[tuple[int, Order, threading.Event]] = queue.Queue()
        self._left: dict[int, threading.Event] = {}
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sending = asyncio.create_task(self._send(writer))
        self._counting: set[asyncio.Task[None]] = set()
        threading.Thread(target=self._write_orders, daemon=True).start()

    async def follow(self, reader: asyncio.StreamReader) -> None:
        """Do what is asked until the socket ends. Raises EOFError, OSError."""
        while True:
            asked, _ = await receive(reader)
            number = asked["id"]
            if "count" in asked:
                task = asyncio.create_task(self._count(number, asked["count"]))
                self._counting.add(task)
                task.add_done_callback(self._counting.discard)
            elif "leave" in asked:
                if number in self._left:
                    self._left[number].set()
            else:
                self._left[number] = threading.Event()
                order = Order(asked["messages"], asked["filled"], Sampling(**asked["sampling"]))
                self._orders.put((number, order, self._left[number]))

    async def _count(self, number: int, texts: list[str]) -> None:
        try:
            counts = await asyncio.to_thread(lambda: [self._engine.count(text) for text in texts])
            self._outgoing.put_nowait({"id": number, "counts": counts})
        except Exception as error:
            self._outgoing.put_nowait({"id": number} | error_said(error, "the language model"))

    def _write_orders(self) -> None:
        while True:
            number, order, left = self._orders.get()
            try:
                for piece in () if left.is_set() else self._engine.write(order, left):
                    if left.is_set():
                        break
                    said = {"end": asdict(piece)} if isinstance(piece, Ended) else {"piece": piece}
                    self._say({"id": number} | said)
            except Exception as error:
                self._say({"id": number} | error_said(error, "the language model"))
            self._loop.call_soon_threadsafe(self._left.pop, number, None)

    def _say(self, message: dict[str, Any]) -> None:
        self._loop.call_soon_threadsafe(self._outgoing.put_nowait, message)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                await send(writer, await self._outgoing.get())


if __name__ == "__main__":
    main()
