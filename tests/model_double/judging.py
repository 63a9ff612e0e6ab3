# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model server computes beside text: vectors, relevance, tokens, and whether a text is safe."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

DIMENSION = 64
_UNSAFE = "#unsafe"


def count(text: str) -> int:
    """Words and marks are tokens."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def texts_of(body: Mapping[str, Any]) -> list[str]:
    """What is to be embedded."""
    given = body.get("input", body.get("prompt", ""))
    return [given] if isinstance(given, str) else list(given)


def vectors(texts: Sequence[str], dimension: int) -> list[list[float]]:
    """Vectors of hashed words, so that texts with words in common lie near each other."""
    from context_chat_backend.inference.embedding.hashing import HashingEmbedder

    found: list[list[float]] = asyncio.run(HashingEmbedder(dimension).embed_passages(texts)).tolist()
    return found


def embedded(body: Mapping[str, Any], dimension: int) -> dict[str, Any]:
    """The answer of `/v1/embeddings`; vectors are not of length one."""
    texts = texts_of(body)
    data = [
        {"object": "embedding", "index": index, "embedding": [3 * number for number in vector]}
        for index, vector in enumerate(vectors(texts, dimension))
    ]
    tokens = sum(count(text) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": body.get("model", ""), "data": data, "usage": usage}


def reranked(body: Mapping[str, Any], step: Mapping[str, Any]) -> Any:
    """The answer of `/rerank`: `scores` of the step, or how many words of the question a text holds."""
    texts = list(body.get("documents") or body.get("texts") or ())
    wanted = set(str(body.get("query", "")).lower().split())
    shared = [len(wanted & set(str(text).lower().split())) / max(1, len(wanted)) for text in texts]
    scores = step.get("scores", shared)
    if "texts" in body:
        return [{"index": index, "score": score} for index, score in enumerate(scores)]
    return {"results": [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]}


def moderated(body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `/v1/moderations`: what holds `#unsafe` is not safe."""
    flagged = any(_UNSAFE in text for text in texts_of(body))
    return {"id": "modr-double", "results": [{"flagged": flagged, "categories": {"harm": flagged}}]}
