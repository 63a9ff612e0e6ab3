# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is compared: a way to rank, and what may be changed beside it, by names joined with `+` ('vectors+fp32')."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from context_chat_backend.errors import InvalidRequest
from context_chat_backend.retrieval.retrieve import FOREIGN, NATIVE
from context_chat_backend.store.search import Weights

RANKINGS: Mapping[str, tuple[Weights | None, str]] = {
    "hybrid": (None, "as the program searches: words and vectors, weighted by the language of the question"),
    "words": (Weights(meaning=0.0), "words alone"),
    "vectors": (Weights(words=0.0), "vectors alone"),
    "native": (NATIVE, "hybrid with the weights for languages the model knows"),
    "foreign": (FOREIGN, "hybrid with the weights for other languages"),
    "ranks": (Weights(), "hybrid by reciprocal ranks, both lists alike"),
    "scores": (Weights(by_score=True), "hybrid by normalised scores, both lists alike"),
}
"""Ways to rank by name: the weights (None: the program chooses) and what they are."""
CHANGES: Mapping[str, str] = {
    "int8": "the packaged model with 8-bit weights",
    "fp32": "the packaged model with its own weights",
    "untitled": "documents without their titles",
}
DEFAULT = ("hybrid", "words", "vectors", "ranks", "scores")


@dataclass(frozen=True, slots=True)
class Index:
    """What differs already while documents are indexed: configurations that agree in it share an index."""

    titled: bool = True
    quantised: bool | None = None
    """Of the packaged model; None: as configured."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One thing that is measured."""

    name: str
    weights: Weights | None
    index: Index


def parse(name: str) -> Configuration:
    """The configuration of that name. Raises InvalidRequest when it is none."""
    first, *changes = name.split("+")
    unknown = [change for change in changes if change not in CHANGES]
    if first not in RANKINGS or unknown or {"int8", "fp32"} <= set(changes):
        raise InvalidRequest(
            f"--configuration {name}: expected one of {', '.join(RANKINGS)}, and after a + one or more of "
            f"{', '.join(CHANGES)} (not both precisions), for example 'vectors+fp32'"
        )
    precision = True if "int8" in changes else False if "fp32" in changes else None
    return Configuration(name, RANKINGS[first][0], Index("untitled" not in changes, precision))
