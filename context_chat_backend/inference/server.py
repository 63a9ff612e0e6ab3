# SPDX-License-Identifier: AGPL-3.0-or-later
"""The model process: one local embedding model behind a unix socket, for all processes of an installation.

A fault in a library of models then costs a restart and not the program. It is started by whoever needs it first
(`embedding/separate.py`), says on its standard output that it is ready or why it cannot be, serves as long as anybody
is connected, and ends by itself afterwards: nothing has to remember it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from context_chat_backend.inference.embedding import build_local
from context_chat_backend.inference.messages import address, receive, send
from context_chat_backend.inference.processes import error_said
from context_chat_backend.ports import Embedder

PATIENCE_SECONDS = 30.0
"""How long it waits for whoever started it."""
_LINGER_SECONDS = 0.3
"""How long it stays after the last one has gone."""
_SACRIFICED = b"500"
"""When memory runs out, the kernel ends this process before database and program: it is started again."""


def main() -> None:
    """Read what to serve from standard input, load it, serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_SACRIFICED)
    settings = json.loads(sys.stdin.readline())
    program = os.dup(1)
    _fall_silent()
    sys.exit(asyncio.run(_serve(settings, program)))


async def _serve(settings: dict[str, Any], program: int) -> int:
    try:
        embedder = build_local(
            settings["name"],
            settings["options"],
            models=Path(settings["models"]),
            threads=settings["threads"],
            download=settings["download"],
        )
        await embedder.open()
        await embedder.embed_question("ready?")  # what kills this process shall do it now
    except Exception as error:  # libraries of models have errors of their own
        _say(program, error_said(error, "the embedding model"))
        return 1
    server = _Server(embedder)
    os.umask(0o177)
    with address(Path(settings["folder"]), settings["key"]) as path:
        listener = await asyncio.start_unix_server(server.converse, path)
        _say(program, server.introduction)
        await server.wait_until_nobody_is_left()
        os.unlink(path)  # noqa: PTH108 - at once, before a successor can have made its own
        listener.close()
    await embedder.close()
    return 0


class _Server:
    """Counts who is connected, and answers each in turn; the embedder lets questions overtake passages."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._connected = 0
        self._changed = asyncio.Event()
        space = asdict(embedder.space)
        self.introduction = {"space": space, "max_tokens": embedder.max_tokens, "device": embedder.device}

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one program until it closes the connection."""
        introduced = False
        try:
            while True:
                request, _ = await receive(reader)
                if not introduced:  # whoever only looks whether anybody is there does not count
                    self._connected += 1
                    self._changed.set()
                    introduced = True
                answer, data = await self._answer(request)
                await send(writer, answer, data)
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

    async def _answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        if "introduce" in request:
            return self.introduction, b""
        try:
            if "question" in request:
                vectors = (await self._embedder.embed_question(request["question"]))[np.newaxis]
            else:
                vectors = await self._embedder.embed_passages(request["passages"])
        except Exception as error:
            return error_said(error, "the embedding model"), b""
        return {}, vectors.tobytes()


def _say(program: int, message: dict[str, Any]) -> None:
    """The one line the program waits for."""
    os.write(program, json.dumps(message).encode() + b"\n")
    os.close(program)


def _fall_silent() -> None:
    """What a library prints about a text may quote it, and users' content is never logged."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


if __name__ == "__main__":
    main()
