# SPDX-License-Identifier: AGPL-3.0-or-later
"""A local language model in a process of its own (`language/server.py`), which programs of one installation share."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import Any

from context_chat_backend.domain import Ended, Finish, Prompt, Usage
from context_chat_backend.errors import ConfigurationError, ModelFailure, ModelUnavailable
from context_chat_backend.inference.breaker import Breaker
from context_chat_backend.inference.messages import receive, send
from context_chat_backend.inference.processes import error_heard
from context_chat_backend.inference.shared_process import Connection, Served, SharedProcess
from context_chat_backend.logs import get_logger

_SILENT_SECONDS = 300.0
"""A process that says nothing for so long, to anybody who waits, hangs: it is ended."""
_log = get_logger(__name__)


class SeparateLanguageModel:
    """Asks the process; it is started with the first question, or by `open()`."""

    def __init__(self, served: Served, *, name: str, answer_tokens: int) -> None:
        """`name` is what answers say they were written by."""
        self.name = name
        self.answer_tokens = answer_tokens
        self._shared = SharedProcess(served, "context_chat_backend.inference.language.server", "the language model")
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()
        self._running: _Process | None = None
        self._breaker = Breaker("the language model", tolerated=1, first_pause=2.0, longest_pause=120.0)

    async def open(self) -> None:
        """Load the model. Raises ModelUnavailable."""
        await self._process()

    @property
    def device(self) -> str | None:
        """What the process computes on; None while it does not run."""
        return None if self._running is None else self._running.device

    async def context_tokens(self) -> int:
        """See ports.LanguageModel."""
        return (await self._process()).context_tokens

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See ports.LanguageModel."""
        if not texts:
            return []
        async with aclosing(self._asked({"count": list(texts)})) as said:
            counts: list[int] = (await anext(said))["counts"]
        return counts

    async def check(self) -> None:
        """See ports.LanguageModel. A process that is not there is started by the next question."""
        if self._running is None and self._starting.locked():
            raise ModelUnavailable("the language model is being loaded", ModelFailure.LOADING)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Ended, None]:
        """See ports.LanguageModel. Questions are written one after the other."""
        messages = [{"role": message.role, "content": message.text} for message in prompt.messages]
        order = {"messages": messages, "filled": prompt.filled, "sampling": asdict(prompt.sampling)}
        async with aclosing(self._asked(order)) as said:
            async for message in said:
                if "end" in message:
                    end = message["end"]
                    yield Ended(Finish(end["finish"]), Usage(**end["usage"]) if end["usage"] else None)
                    return
                yield message["piece"]

    async def close(self) -> None:
        """Leave the process; it ends when nobody else uses it."""
        if self._running is not None:
            self._running.close()
            self._running = None
        await self._shared.close()

    async def _asked(self, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """What the process says to a request. Raises ModelUnavailable, PromptTooLong."""
        process = await self._process()
        number = next(self._numbers)
        answers = process.answers(number)
        try:
            await process.say({"id": number, **request})
            while True:
                message = await process.next(answers)
                if "error" in message:
                    raise error_heard(message)
                yield message
        finally:
            await process.forget(number)

    async def _process(self) -> _Process:
        """The running process, started where there is none. Raises ModelUnavailable."""
        async with self._starting:
            if self._running is None or self._running.dead:
                if self._running is not None:
                    self._running.close()
                with self._breaker.attempt():
                    try:
                        self._running = await _Process.start(self._shared)
                    except ConfigurationError as error:  # other models may answer meanwhile
                        raise ModelUnavailable(str(error)) from None
            return self._running


class _Process:
    """The running process, as this program talks to it."""

    def __init__(self, shared: SharedProcess, connection: Connection, introduction: Mapping[str, Any]) -> None:
        self._shared = shared
        self._connection = connection
        self._answers: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._heard = 0.0
        self.context_tokens = int(introduction["context_tokens"])
        self.device = str(introduction["device"])
        self.dead = False
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, shared: SharedProcess) -> _Process:
        """Find or start it, and wait until the model is loaded. Raises ModelUnavailable, ConfigurationError."""
        connection, introduction = await shared.connect()
        return cls(shared, connection, introduction)

    @property
    def pid(self) -> int:
        """Its number on this machine."""
        return self._connection.pid

    def answers(self, number: int) -> asyncio.Queue[dict[str, Any]]:
        """Where the answers to request `number` will come."""
        return self._answers.setdefault(number, asyncio.Queue())

    async def next(self, answers: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
        """The next answer to a request. A process that says nothing to anybody for too long is ended."""
        while True:
            try:
                async with asyncio.timeout(_SILENT_SECONDS):
                    return await answers.get()
            except TimeoutError:
                if time.monotonic() - self._heard >= _SILENT_SECONDS:
                    self._connection.kill()
                    raise ModelUnavailable("the language model was silent for too long and was ended") from None

    async def say(self, message: Mapping[str, Any]) -> None:
        """Raises ModelUnavailable."""
        try:
            if self.dead:
                raise OSError
            await send(self._connection.writer, message)
        except OSError:
            cause = await asyncio.to_thread(self._shared.cause)
            raise ModelUnavailable(f"the process of the language model died: {cause}") from None

    async def forget(self, number: int) -> None:
        """Nobody waits for the answers to this request any more."""
        if self._answers.pop(number, None) is not None:
            with suppress(ModelUnavailable):
                await self.say({"id": number, "leave": True})

    def close(self) -> None:
        """Leave it; whoever still waits for an answer is told so."""
        self._listening.cancel()
        self._connection.close()
        self._end("the program is ending")

    async def _listen(self) -> None:
        """Give each message to whoever waits for it; at the end tell all that there is none."""
        with suppress(EOFError, OSError, ValueError):
            while True:
                message, _ = await receive(self._connection.reader)
                self._heard = time.monotonic()
                if (waiting := self._answers.get(message["id"])) is not None:
                    waiting.put_nowait(message)
        self.dead = True
        cause = await asyncio.to_thread(self._shared.cause)
        _log.warning("language_model_died", cause=cause)
        self._end(f"the language model's process died: {cause}")

    def _end(self, said: str) -> None:
        self.dead = True
        for waiting in self._answers.values():
            waiting.put_nowait({"error": "ModelUnavailable", "said": said})
