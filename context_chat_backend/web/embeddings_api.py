# SPDX-License-Identifier: AGPL-3.0-or-later
"""Vectors of texts, as OpenAI gives them: POST /v1/embeddings."""

from __future__ import annotations

import base64
import time
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, field_validator

from context_chat_backend.store.uses import Use
from context_chat_backend.web.account import book
from context_chat_backend.web.chat_wire import Text
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.program_route import EmbeddingCaller, Ready
from context_chat_backend.web.rates import RatedRoute

MAX_TEXTS = 128
router = APIRouter(route_class=RatedRoute)


class EmbeddingsRequest(BaseModel):
    """The body; members we do not know are passed over."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
    model: Text = ""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    @field_validator("input")
    @classmethod
    def _texts(cls, given: str | list[str]) -> list[str]:
        texts = [given] if isinstance(given, str) else given
        if not all(text.strip() for text in texts):
            raise ValueError("expected texts that are not blank")
        return texts


@router.post("/v1/embeddings")
async def embeddings(
    request: Request, body: EmbeddingsRequest, backend: Ready, caller: EmbeddingCaller
) -> dict[str, Any]:
    """A vector of length 1 for each text, in their order, as a passage of a document has it."""
    if body.model not in ("", backend.embedding_model):
        raise ApiError(400, "model_not_found", "model: there is no such embedding model: GET /v1/models", param="model")
    begun = time.monotonic()
    vectors, tokens = await backend.embed(list(body.input))
    if body.dimensions not in (None, vectors.shape[1]):
        text = f"dimensions: vectors of this model have {vectors.shape[1]}"
        raise ApiError(400, "invalid_value", text, param="dimensions")
    data = [
        {"object": "embedding", "index": index, "embedding": _coded(vector, body.encoding_format)}
        for index, vector in enumerate(vectors.astype("<f4"))
    ]
    took = round(1000 * (time.monotonic() - begun))
    book(request, Use(caller.key_id, caller.asker, "embeddings", backend.embedding_model, tokens, 0, took, took, 200))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": backend.embedding_model, "usage": usage}


def _coded(vector: np.ndarray[Any, np.dtype[np.float32]], form: str) -> list[float] | str:
    return base64.b64encode(vector.tobytes()).decode() if form == "base64" else vector.tolist()
