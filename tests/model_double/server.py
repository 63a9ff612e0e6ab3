# SPDX-License-Identifier: AGPL-3.0-or-later
"""The double itself: its routes, and what it remembers of what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tests.model_double import judging
from tests.model_double.dialects import DIALECTS
from tests.model_double.elasticsearch import Elasticsearch
from tests.model_double.faults import FAULTS
from tests.model_double.protocol import Asked, Connection, read
from tests.model_double.writing import MODELS, Writing

_VECTORS = ("/v1/embeddings", "/api/embed", "/api/embeddings")
_RELEVANCE = ("/v1/rerank", "/rerank")
_DETAILS = {"format": "gguf", "family": "llama", "parameter_size": "1B", "quantization_level": "Q4_0"}
_NOT_FOUND = {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}


class Double:
    """One server; `serve()` is its life."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._writing = Writing()
        self._elasticsearch = Elasticsearch()
        self._context: int | None = None
        self._counts = True
        self._dimension = judging.DIMENSION
        self._authorization: str | None = None
        self._cancelled = 0

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
                self._cancelled += 1
        if watching is not None:
            watching.cancel()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, asked: Asked, to: Connection) -> None:
        if asked.path.startswith(("/double/", "/stub/")):
            await self._told(asked, to)
        elif self._authorization not in (None, asked.headers.get("authorization")):
            await to.json({"error": {"message": "missing or wrong credentials", "type": "security_exception"}}, 401)
        elif asked.path in DIALECTS:
            self.asked.append(asked)
            await self._writing.answer(asked, to)
        elif asked.path in (*_VECTORS, *_RELEVANCE, "/v1/moderations"):
            self.asked.append(asked)
            await self._judge(asked, to)
        elif not await self._page(asked, to):
            await self._elasticsearch.answer(asked, to)

    async def _told(self, asked: Asked, to: Connection) -> None:
        """What a test says and asks."""
        match asked.path:
            case "/double/script":
                self._writing.follow(asked.body)
                self.asked.clear()
                await to.json({"steps": len(asked.body)})
            case "/double/server":
                self._be(asked.body)
                await to.json(asked.body)
            case "/double/requests":
                await to.json([vars(one) for one in self.asked])
            case "/double/elasticsearch":
                if asked.method == "POST":
                    self._elasticsearch.forget(asked.body)
                await to.json(self._elasticsearch.told)
            case "/stub/cancelled":
                await to.json({"cancelled": self._cancelled})
            case _:
                await to.json(_NOT_FOUND, 404)

    def _be(self, told: Mapping[str, Any]) -> None:
        self._context, self._counts = told.get("n_ctx"), told.get("counts", True)
        self._dimension = told.get("dimension") or judging.DIMENSION
        self._authorization = told.get("authorization")

    async def _judge(self, asked: Asked, to: Connection) -> None:
        body = asked.body
        step = self._writing.next_step(body, "")
        if "fault" in step:
            await FAULTS[step["fault"]](to, step, body)
        elif asked.path == "/v1/embeddings":
            await to.json(await asyncio.to_thread(judging.embedded, body, self._dimension))
        elif asked.path == "/v1/moderations":
            await to.json(judging.moderated(body))
        elif asked.path in _RELEVANCE:
            await to.json(judging.reranked(body, step))
        else:
            texts = judging.texts_of(body)
            vectors = await asyncio.to_thread(judging.vectors, texts, self._dimension)
            tokens = sum(judging.count(text) for text in texts)
            told = {"embeddings": vectors} if asked.path == "/api/embed" else {"embedding": vectors[0]}
            await to.json({"model": body.get("model", ""), "prompt_eval_count": tokens} | told)

    async def _page(self, asked: Asked, to: Connection) -> bool:
        """What servers say of themselves; whether it was asked for."""
        names = ["double", *MODELS]
        match asked.path:
            case "/health":
                await to.json({"status": "ok"})
            case "/v1/models":
                await to.json({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
            case "/props" if self._context is not None:
                await to.json({"default_generation_settings": {"n_ctx": self._context}})
            case "/tokenize" if self._counts:
                await to.json({"tokens": list(range(judging.count(asked.body["content"])))})
            case "/props" | "/tokenize":
                await to.json(_NOT_FOUND, 404)
            case "/refact-caps" | "/coding_assistant_caps.json":
                models = {name: {"n_ctx": self._context or 4096, "supports_scratchpads": {}} for name in names}
                completion = {"endpoint": "/v1/completions", "default_model": "double", "models": models}
                await to.json({"cloud_name": "double", "completion": completion, "caps_version": 1})
            case "/api/version":
                await to.json({"version": "0.6.8"})
            case "/api/tags" | "/api/ps":
                await to.json({"models": [{"name": name, "model": name, "details": _DETAILS} for name in names]})
            case "/api/show":
                said = {} if self._context is None else {"llama.context_length": self._context}
                await to.json({"details": _DETAILS, "model_info": {"general.architecture": "llama"} | said})
            case _:
                return False
        return True


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
