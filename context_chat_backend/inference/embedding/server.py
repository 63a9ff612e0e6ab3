# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process of a local embedding model; the embedder lets questions overtake passages."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from context_chat_backend.inference.embedding import build_local
from context_chat_backend.inference.messages import receive, send
from context_chat_backend.inference.processes import error_said
from context_chat_backend.inference.server import Loaded, serve
from context_chat_backend.ports import Embedder

WHAT = "the embedding model"


async def load(told: dict[str, Any]) -> Loaded:
    """The embedder that is told of."""
    embedder = build_local(
        told["name"],
        told["options"],
        models=Path(told["models"]),
        threads=told["threads"],
        download=told["download"],
    )
    await embedder.open()
    await embedder.embed_question("ready?")  # what kills this process shall do it now

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request, _ = await receive(reader)
            await send(writer, *await _answer(embedder, request))

    introduction = {
        "space": asdict(embedder.space), "max_tokens": embedder.max_tokens, "device": embedder.device
    }  # fmt: skip
    return Loaded(introduction, converse)


async def _answer(embedder: Embedder, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    try:
        if "question" in request:
            vectors = (await embedder.embed_question(request["question"]))[np.newaxis]
        else:
            vectors = await embedder.embed_passages(request["passages"])
    except Exception as error:
        return error_said(error, WHAT), b""
    return {}, vectors.tobytes()


if __name__ == "__main__":
    serve(WHAT, load)
