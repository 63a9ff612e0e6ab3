# SPDX-License-Identifier: AGPL-3.0-or-later
"""The double itself: routes, the script, and a right answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tests.model_double.faults import FAULTS, delta, overflow, tokens
from tests.model_double.protocol import Asked, Connection, read

_SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "#slow": {"fault": "silence"},
    "#500": {"fault": "status", "status": 500},
    "#loading": {"fault": "status", "status": 503, "error": {"type": "unavailable_error", "message": "Loading model"}},
    "#overflow": {"n_ctx": 512},
    "#cut": {"fault": "cut"},
    "#think": {"thinks": "hm"},
}
_USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}


class Double:
    """One server; `serve()` is its life."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._script: list[Mapping[str, Any]] = []
        self._context: int | None = None
        self._counts = True

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; the connection ends with it."""
        to = Connection(writer)
        watching: asyncio.Task[None] | None = None
        asked = await read(reader)
        if asked is not None:
            watching = asyncio.create_task(_watch(reader, to))
            try:
                await self._answer(asked, to)
            except ConnectionError:
                asked.left = True
        if watching is not None:
            watching.cancel()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, asked: Asked, to: Connection) -> None:
        match asked.path:
            case "/v1/chat/completions":
                self.asked.append(asked)
                await self._generate(asked.body, to)
            case "/double/script":
                self._script = list(asked.body)
                self.asked.clear()
                await to.json({"steps": len(self._script)})
            case "/double/server":
                self._context, self._counts = asked.body.get("n_ctx"), asked.body.get("counts", True)
                await to.json(asked.body)
            case "/double/requests":
                await to.json([vars(one) for one in self.asked])
            case "/health":
                await to.json({"status": "ok"})
            case "/v1/models":
                await to.json({"object": "list", "data": [{"id": "double", "object": "model"}]})
            case "/props" if self._context is not None:
                await to.json({"default_generation_settings": {"n_ctx": self._context}})
            case "/tokenize" if self._counts:
                await to.json({"tokens": list(range(len(re.findall(r"\w+|[^\w\s]", asked.body["content"]))))})
            case _:
                await to.json({"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}, 404)

    async def _generate(self, asked: Mapping[str, Any], to: Connection) -> None:
        last = str(asked["messages"][-1]["content"])
        step: Mapping[str, Any] = next((step for word, step in _SWITCHES.items() if word in last), {})
        if self._script:
            step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if "n_ctx" in step and tokens(asked) > step["n_ctx"]:
            await overflow(to, step, asked)
        elif "fault" in step:
            await FAULTS[step["fault"]](to, step, asked)
        else:
            await self._say({**step, "says": last} if "#echo" in last else step, asked, to)

    async def _say(self, step: Mapping[str, Any], asked: Mapping[str, Any], to: Connection) -> None:
        text = str(step.get("says", "stub answer"))
        quarter = max(1, -(-len(text) // 4))
        pieces = step.get("pieces") or [text[start : start + quarter] for start in range(0, len(text), quarter)]
        await to.head()
        await to.event(delta(None, role="assistant"))
        if "thinks" in step:
            await to.event(delta(None, reasoning_content=step["thinks"]))
        if "calls" in step:
            await to.event(delta(None, tool_calls=step["calls"]))
        for piece in pieces:
            await to.event(delta(piece))
        await to.event(delta(None, step.get("finish", "stop")))
        if asked.get("stream_options", {}).get("include_usage"):
            await to.event({"choices": [], "usage": step.get("usage", _USAGE)})
        await to.raw(b"data: [DONE]\n\n")


async def _watch(reader: asyncio.StreamReader, to: Connection) -> None:
    """A client that sends its end has left."""
    with suppress(ConnectionError):
        await reader.read()
    to.gone.set()


async def serve(port: int) -> None:
    """Serve on the loopback for ever, and print the port."""
    double = Double()
    server = await asyncio.start_server(double.connected, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()
