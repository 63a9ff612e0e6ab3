# SPDX-License-Identifier: AGPL-3.0-or-later
"""How servers are asked for vectors, and where these stand in what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from context_chat_backend.errors import ModelUnavailable

_NOT_ONE_EACH = "the embedding server does not give one vector for each text"


@dataclass(frozen=True, slots=True)
class Form:
    """The form of one protocol."""

    path: str
    """What follows the base URL."""
    vectors: Callable[[Any, int], list[Any]]
    """The vectors in an answer, in the order of so many texts. Raises ModelUnavailable when they are not as many, and
    AttributeError, KeyError, TypeError or ValueError for what is not in the form."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What stands in a request beside model and texts."""


def _of_openai(answer: Any, count: int) -> list[Any]:
    data = sorted(answer["data"], key=lambda entry: int(entry["index"]))
    if [entry["index"] for entry in data] != list(range(count)):
        raise ModelUnavailable(_NOT_ONE_EACH)
    return [entry["embedding"] for entry in data]


def _of_ollama(answer: Any, count: int) -> list[Any]:
    vectors = list(answer["embeddings"])
    if len(vectors) != count:
        raise ModelUnavailable(_NOT_ONE_EACH)
    return vectors


OPENAI = Form("/embeddings", _of_openai)


def ollama(options: Mapping[str, Any]) -> Form:
    """Ollama's, with `options`, `keep_alive` and the like beside the texts; it cuts texts that are too long itself."""
    return Form("/api/embed", _of_ollama, {"truncate": True, **options})
