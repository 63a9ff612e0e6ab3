# SPDX-License-Identifier: AGPL-3.0-or-later
"""An embedder without a model: words and their pieces are hashed into a vector (Weinberger et al. 2009).

Deterministic and fast; near in its space is what shares words. For tests, and for machines too small for a model.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.inference.embedding.estimate import token_starts
from context_chat_backend.ports import Vectors

_WORD = re.compile(r"\w+")
_PIECE = 4
_PIECE_WEIGHT = 0.3
_MAX_CHARACTERS = 100_000


class HashingEmbedder:
    """Signed feature hashing of words and of their pieces of four characters."""

    def __init__(self, dimension: int = 384) -> None:
        """`dimension` is the length of the vectors."""
        self._dimension = dimension

    async def open(self) -> None:
        """There is nothing to load."""

    @property
    def device(self) -> str:
        """See ports.Embedder."""
        return "cpu"

    @property
    def space(self) -> EmbeddingSpace:
        """One space for each dimension."""
        return EmbeddingSpace("hashing", self._dimension)

    @property
    def max_tokens(self) -> int:
        """Rather many: words are counted, whatever the length."""
        return _MAX_CHARACTERS // 10

    def token_starts(self, text: str) -> Sequence[int]:
        """See ports.Embedder; estimated, so that chunks are as long as with a model."""
        return token_starts(text)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """See ports.Embedder; texts are cut at 100 000 characters."""
        return np.array([self._vector(text) for text in texts], dtype=np.float32).reshape(-1, self._dimension)

    async def embed_question(self, text: str) -> Vectors:
        """See ports.Embedder."""
        return self._vector(text)

    async def close(self) -> None:
        """Nothing is held."""

    def _vector(self, text: str) -> Vectors:
        vector = np.zeros(self._dimension, dtype=np.float32)
        for feature, weight in _features(text[:_MAX_CHARACTERS].lower()).items():
            hashed = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
            vector[(hashed >> 1) % self._dimension] += weight if hashed & 1 else -weight
        length = float(np.linalg.norm(vector))
        if length == 0:
            vector[0] = length = 1.0  # a text without words lies somewhere, too
        return vector / np.float32(length)


def _features(text: str) -> dict[str, float]:
    weights: Counter[str] = Counter()
    features: dict[str, float] = {}
    for word in _WORD.findall(text):
        weights[word] += 1
    for word, count in weights.items():
        features[word] = features.get(word, 0.0) + float(np.log1p(count))
        for start in range(len(word) - _PIECE):
            piece = "#" + word[start : start + _PIECE]
            features[piece] = features.get(piece, 0.0) + _PIECE_WEIGHT
    return features
