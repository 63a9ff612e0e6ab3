# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process of a local language model: writes one order after the other, for all programs, and counts meanwhile."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from context_chat_backend.domain import Ended, Sampling
from context_chat_backend.inference.language.engine import Engine, Order, build_engine
from context_chat_backend.inference.messages import receive, send
from context_chat_backend.inference.processes import error_said
from context_chat_backend.inference.server import Loaded, serve

WHAT = "the language model"


async def load(told: dict[str, Any]) -> Loaded:
    """The model that is told of."""
    engine = build_engine(told["name"], told["options"], threads=told["threads"], download=told["download"])
    writing = _Writing(engine)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Conversation(engine, writing, writer).follow(reader)

    return Loaded({"context_tokens": engine.context_tokens, "device": engine.device}, converse)


@dataclass(frozen=True)
class _Waiting:
    """An order, whom to tell, and whether somebody still waits."""

    conversation: _Conversation
    number: int
    order: Order
    left: threading.Event


class _Writing:
    """The thread that writes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._orders: queue.Queue[_Waiting] = queue.Queue()
        threading.Thread(target=self._write_orders, daemon=True).start()

    def add(self, waiting: _Waiting) -> None:
        """Write it when its turn comes."""
        self._orders.put(waiting)

    def _write_orders(self) -> None:
        while True:
            waiting = self._orders.get()
            left, tell = waiting.left, waiting.conversation.tell
            try:
                for piece in () if left.is_set() else self._engine.write(waiting.order, left):
                    if left.is_set():
                        break
                    said = {"end": asdict(piece)} if isinstance(piece, Ended) else {"piece": piece}
                    tell(waiting.number, said)
            except Exception as error:  # libraries of models have errors of their own
                tell(waiting.number, error_said(error, WHAT))


class _Conversation:
    """What one program asks, and what it is told."""

    def __init__(self, engine: Engine, writing: _Writing, writer: asyncio.StreamWriter) -> None:
        self._engine = engine
        self._writing = writing
        self._loop = asyncio.get_running_loop()
        self._left: dict[int, threading.Event] = {}
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sending = asyncio.create_task(self._send(writer))
        self._counting: set[asyncio.Task[None]] = set()

    async def follow(self, reader: asyncio.StreamReader) -> None:
        """Do what is asked until the program leaves; what it still waited for is not written. Raises EOFError, …"""
        try:
            while True:
                asked, _ = await receive(reader)
                self._do(asked)
        finally:
            for left in self._left.values():
                left.set()
            self._sending.cancel()

    def tell(self, number: int, message: Mapping[str, Any]) -> None:
        """Send an answer to request `number`, from any thread."""
        self._loop.call_soon_threadsafe(self._outgoing.put_nowait, {"id": number, **message})

    def _do(self, asked: dict[str, Any]) -> None:
        number = asked["id"]
        if "count" in asked:
            task = asyncio.create_task(self._count(number, asked["count"]))
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)
        elif "leave" in asked:
            if (left := self._left.pop(number, None)) is not None:
                left.set()
        else:
            left = self._left[number] = threading.Event()
            order = Order(asked["messages"], asked["filled"], Sampling(**asked["sampling"]))
            self._writing.add(_Waiting(self, number, order, left))

    async def _count(self, number: int, texts: list[str]) -> None:
        try:
            counts = await asyncio.to_thread(lambda: [self._engine.count(text) for text in texts])
            self.tell(number, {"counts": counts})
        except Exception as error:
            self.tell(number, error_said(error, WHAT))

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                await send(writer, await self._outgoing.get())


if __name__ == "__main__":
    serve(WHAT, load)
