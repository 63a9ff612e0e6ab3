# SPDX-License-Identifier: AGPL-3.0-or-later
"""The program as `benchmarks/indexing.py` starts it: CPU time of its steps is counted, and the model may cost nothing.

`python -m benchmarks.service [--instant] STEPS.json`: serves, and writes at the end how many seconds each step took.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import SPACE, Corpus
from context_chat_backend.cli.app import main as program
from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.exapp import push_api
from context_chat_backend.indexing import preparing
from context_chat_backend.inference.embedding.estimate import token_starts
from context_chat_backend.ports import Vectors
from context_chat_backend.store import terms, words
from context_chat_backend.wiring import models as wiring

_SOURCES = 2000

spent: defaultdict[str, float] = defaultdict(float)


class InstantEmbedder:
    """Vectors that lie as those of texts do, chosen by the text's checksum: a model that costs nothing."""

    def __init__(self) -> None:
        corpus = Corpus(_SOURCES, seed=8)
        self._vectors = np.concatenate([corpus.vectors(source) for source in range(_SOURCES)])

    @property
    def space(self) -> EmbeddingSpace:
        """That of the synthetic corpus."""
        return SPACE

    @property
    def max_tokens(self) -> int:
        """As many as a small model reads."""
        return 512

    def token_starts(self, text: str) -> Sequence[int]:
        """Estimated, so that chunks are as long as with a model."""
        return token_starts(text)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """One vector for each text."""
        return self._vectors[[zlib.crc32(text.encode()) % len(self._vectors) for text in texts]]

    async def embed_question(self, text: str) -> Vectors:
        """The vector of a question."""
        vector: Vectors = self._vectors[zlib.crc32(text.encode()) % len(self._vectors)]
        return vector

    async def open(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to give back."""


def count(module: object, name: str, step: str) -> None:
    """Add the CPU time of a function, in the thread it runs in, to `spent[step]`."""
    counted: Callable[..., Any] = getattr(module, name)

    def counting(*arguments: Any, **named: Any) -> Any:
        started = time.thread_time()
        try:
            return counted(*arguments, **named)
        finally:
            spent[step] += time.thread_time() - started

    setattr(module, name, counting)


def main() -> int:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instant", action="store_true")
    parser.add_argument("steps", type=Path)
    arguments = parser.parse_args()
    if arguments.instant:
        embedder = InstantEmbedder()
        setattr(wiring, "build_embedder", lambda *_given, **_options: embedder)  # noqa: B010
    count(preparing, "split", "cut into chunks, find languages")
    count(words, "_names", "find words")
    count(words, "_impacts", "weigh words")
    count(terms, "taken_apart", "take words apart")
    count(push_api, "delivery_from", "read headers")
    try:
        return program(["serve"])
    finally:
        arguments.steps.write_text(json.dumps(spent), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
