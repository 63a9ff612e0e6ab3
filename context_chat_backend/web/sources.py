# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sources of an answer, each once: as OpenAI's clients are told them, and as those of the chat server are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from context_chat_backend.domain import Passage, SourceRef

Names = Mapping[SourceRef, str]
"""What the caller calls sources he brought himself."""


def sources_of(passages: Iterable[Passage], names: Names) -> list[dict[str, Any]]:
    """Each source with the score of its best passage, in the order they come in."""
    best: dict[SourceRef, dict[str, Any]] = {}
    for passage in passages:
        source = source_of(passage, names)
        known = best.setdefault(passage.source, source)
        if known["score"] is not None:
            known["score"] = max(known["score"], source["score"])
    return list(best.values())


def source_of(passage: Passage, names: Names) -> dict[str, Any]:
    """Where a passage stands."""
    name = names.get(passage.source)
    if name is not None:  # nobody has compared it with the question
        return {"id": name, "title": passage.title, "score": None, "origin": "request"}
    score = round(passage.similarity, 4)
    return {"id": str(passage.source), "title": passage.title, "score": score, "origin": "retrieved"}


def confident_sources(passages: Iterable[Passage]) -> list[dict[str, Any]]:
    """Each source as its best passage has it, which comes first."""
    best: dict[SourceRef, dict[str, Any]] = {}
    for passage in passages:
        best.setdefault(passage.source, _confident(passage))
    return list(best.values())


def _confident(passage: Passage) -> dict[str, Any]:
    similarity = round(min(1.0, max(0.0, passage.similarity)), 4)
    about = {"id": str(passage.source), "title": passage.title, "confidence": similarity}
    if passage.judged is not None and 0 <= passage.judged <= 1:
        about |= {"confidence": round(passage.judged, 4), "similarity": similarity}
    return about
