# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process of a local model: behind a unix socket, for all programs of an installation.

A fault in a library of models then costs a restart and not the program. It is started by whoever needs it first
(`shared_process.py`), says on its standard output that it is ready or why it cannot be, serves as long as anybody is
connected, and ends by itself afterwards: nothing has to remember it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from context_chat_backend.inference.messages import address, receive, send
from context_chat_backend.inference.processes import error_said

PATIENCE_SECONDS = 30.0
"""How long it waits for whoever started it."""
_LINGER_SECONDS = 0.3
"""How long it stays after the last one has gone."""
_SACRIFICED = b"500"
"""When memory runs out, the kernel ends this process before database and program: it is started again."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready."""

    introduction: Mapping[str, Any]
    """What each program is told of it first."""
    converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    """Answers one program until EOFError, OSError or ValueError."""


def serve(what: str, load: Callable[[dict[str, Any]], Awaitable[Loaded]]) -> None:
    """Read from standard input what to load, load it, serve, end the process. `what` it is called in errors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_SACRIFICED)
    told = json.loads(sys.stdin.readline())
    program = os.dup(1)
    _fall_silent()
    os._exit(asyncio.run(_serve(what, load, told, program)))  # whatever the library is doing


async def _serve(what: str, load: Callable[[dict[str, Any]], Awaitable[Loaded]], told: dict[str, Any], to: int) -> int:
    try:
        loaded = await load(told)
    except Exception as error:  # libraries of models have errors of their own
        _say(to, error_said(error, what))
        return 1
    server = _Server(loaded)
    os.umask(0o177)
    with address(Path(told["folder"]), told["key"]) as path:
        listener = await asyncio.start_unix_server(server.converse, path)
        _say(to, loaded.introduction)
        await server.wait_until_nobody_is_left()
        os.unlink(path)  # noqa: PTH108 - at once, before a successor can have made its own
        listener.close()
    return 0


class _Server:
    """Counts who is connected."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._connected = 0
        self._changed = asyncio.Event()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Introduce the model to one program, and answer it until it closes the connection."""
        introduced = False
        try:
            await receive(reader)  # whoever only looks whether anybody is there says nothing, and does not count
            introduced = True
            self._connected += 1
            self._changed.set()
            await send(writer, self._loaded.introduction)
            await self._loaded.converse(reader, writer)
        except (EOFError, OSError, ValueError):
            pass
        finally:
            if introduced:
                self._connected -= 1
                self._changed.set()
            writer.close()

    async def wait_until_nobody_is_left(self) -> None:
        """Return when for a while nobody has been connected."""
        patience = PATIENCE_SECONDS
        while True:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), None if self._connected else patience)
                patience = _LINGER_SECONDS
            except TimeoutError:
                return


def _say(program: int, message: Mapping[str, Any]) -> None:
    """The one line the program waits for."""
    os.write(program, json.dumps(message).encode() + b"\n")
    os.close(program)


def _fall_silent() -> None:
    """What a library prints about a text may quote it, and users' content is never logged."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
