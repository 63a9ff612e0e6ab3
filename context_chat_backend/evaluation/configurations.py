# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is compared: a way to rank with its numbers (`scores:0.8`), and what is changed beside it, joined by `+`.

Most changes are made with what the program takes anyway (its configuration, titles, questions), so that measuring needs
no options in the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from context_chat_backend.errors import InvalidRequest
from context_chat_backend.store.search import Weights

RANKINGS: Mapping[str, str] = {
    "hybrid": "as the program searches",
    "words": "words alone",
    "vectors": "vectors alone",
    "ranks:MEANING:K": "hybrid by reciprocal ranks, vectors weighted MEANING (1), with the constant K (60)",
    "scores:MEANING": "hybrid as the program joins them; vectors count MEANING (1) where words count 1",
}
"""Ways to rank, with their numbers, and what they are."""
CHANGES: Mapping[str, str] = {
    "untitled": "documents are called by numbers",
    "uncompounded": "compound words are not taken apart",
    "unquoted": "questions without their quotation marks",
    "unranked": "without the re-ranker of the configuration",
    "int8": "the packaged model with 8-bit weights",
    "fp32": "the packaged model with its own weights",
    "tokens:LENGTH:OVERLAP": "chunks of so many tokens",
}
DEFAULT = ("hybrid", "words", "vectors")
_MOST = 1000.0
"""Larger numbers are typing errors."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Reciprocal rank fusion (Cormack, Clarke, Büttcher 2009): the sum of weight / (k + rank).

    The program adds scores instead. To compare both, this is made of two searches, by meaning and by words alone.
    """

    meaning: float = 1.0
    """What the list by meaning counts where the one by words counts 1."""
    k: float = 60.0


@dataclass(frozen=True, slots=True)
class Index:
    """What differs already while documents are indexed: configurations that agree in it share an index."""

    titled: bool = True
    compounds: bool = True
    quantised: bool | None = None
    """Of the packaged model; None: as configured."""
    chunk_tokens: int | None = None
    """None: as configured, like the overlap."""
    chunk_overlap_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """One thing that is measured."""

    name: str
    weights: Weights | Ranks | None
    """None: the program chooses."""
    index: Index = Index()
    quoted: bool = True
    reranked: bool = True


def parse(name: str) -> Configuration:
    """The configuration of that name. Raises InvalidRequest when it is none."""
    first, *changes = name.split("+")
    try:
        configuration = Configuration(name, _weights(first))
        for change in changes:
            configuration = _changed(configuration, change)
    except ValueError:
        raise InvalidRequest(
            f"--configuration {name}: expected one of {', '.join(RANKINGS)}, and after a + one or more of "
            f"{', '.join(CHANGES)} (each once, not both precisions, numbers may be left out), for example "
            "'vectors+fp32' or 'scores:0.8'"
        ) from None
    return configuration


def _weights(ranking: str) -> Weights | Ranks | None:
    """The weights a way to rank means. Raises ValueError when it is none."""
    kind, *texts = ranking.split(":")
    numbers = [float(text) for text in texts]
    if not all(0 <= number <= _MOST for number in numbers):
        raise ValueError(ranking)
    match kind, numbers:
        case "hybrid", []:
            return None
        case "words", []:
            return Weights(meaning=0.0)
        case "vectors", []:
            return Weights(words=0.0)
        case "ranks", []:
            return Ranks()
        case "ranks", [meaning]:
            return Ranks(meaning=meaning)
        case "ranks", [meaning, k]:
            return Ranks(meaning=meaning, k=k)
        case "scores", []:
            return Weights()
        case "scores", [meaning]:
            return Weights(meaning=meaning)
        case _:
            raise ValueError(ranking)


def _changed(configuration: Configuration, change: str) -> Configuration:
    """The configuration with one change more. Raises ValueError when there is no such change, or it is made already."""
    index = configuration.index
    match change.split(":"):
        case ["untitled"]:
            changed = replace(configuration, index=replace(index, titled=False))
        case ["uncompounded"]:
            changed = replace(configuration, index=replace(index, compounds=False))
        case ["unquoted"]:
            changed = replace(configuration, quoted=False)
        case ["unranked"]:
            changed = replace(configuration, reranked=False)
        case ["int8" | "fp32"] if index.quantised is None:
            changed = replace(configuration, index=replace(index, quantised=change == "int8"))
        case ["tokens", length, overlap] if index.chunk_tokens is None and 32 <= int(length) >= 2 * int(overlap) >= 0:
            changed = replace(
                configuration, index=replace(index, chunk_tokens=int(length), chunk_overlap_tokens=int(overlap))
            )
        case _:
            raise ValueError(change)
    if changed == configuration:
        raise ValueError(change)
    return changed
