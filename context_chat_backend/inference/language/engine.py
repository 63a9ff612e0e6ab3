# SPDX-License-Identifier: AGPL-3.0-or-later
"""What runs in the process of a local language model: libraries that block, and may crash."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from context_chat_backend.domain import AS_CONFIGURED, Ended, Sampling


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written."""

    messages: Sequence[Mapping[str, str]]
    """With `role` and `content`."""
    filled: bool
    """See domain.Prompt."""
    sampling: Sampling = AS_CONFIGURED


class Engine(Protocol):
    """A loaded model. One order is written at a time, on one thread; tokens are counted meanwhile on another."""

    context_tokens: int
    """How many tokens prompt and answer may have together."""
    device: str
    """What it computes on: 'cpu', or 'gpu', 'cuda', … as the library calls it."""

    def count(self, text: str) -> int:
        """The tokens of `text`."""
        ...

    def write(self, order: Order, left: threading.Event) -> Iterator[str | Ended]:
        """Pieces of text, none of them empty, and Ended. Stops soon after `left` is set.

        Raises PromptTooLong.
        """
        ...


def build_engine(name: str, options: Mapping[str, Any], *, threads: int, download: bool) -> Engine:
    """Load a model; `options` are those of settings/language.py, with a path or name to load from as `model`.

    With `download` a model may be fetched by its name.

    Raises ConfigurationError, and what the library raises.
    """
    if name == "llama":
        from context_chat_backend.inference.language.llama import LlamaEngine

        return LlamaEngine(Path(options["model"]), options, threads=threads)
    from context_chat_backend.inference.language.hugging_face import HuggingFaceEngine

    return HuggingFaceEngine(str(options["model"]), options, threads=threads, download=download)


class Utf8Pieces:
    """Text out of the bytes of tokens, which end in the middle of characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, data: bytes, *, last: bool = False) -> str:
        """What is complete; with `last` all that is left."""
        return self._decoder.decode(data, last).replace("\0", "")
