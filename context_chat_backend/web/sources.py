# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sources of an answer as the chat server tells them."""

from __future__ import annotations

from typing import Any

from context_chat_backend.domain import Answer, Passage


def sources_of(answer: Answer) -> list[dict[str, Any]]:
    """Each source of an answer once, as its best passage has it."""
    best: dict[str, dict[str, Any]] = {}
    for passage in answer.passages:
        best.setdefault(str(passage.source), _source(passage))
    return list(best.values())


def _source(passage: Passage) -> dict[str, Any]:
    similarity = round(min(1.0, max(0.0, passage.similarity)), 4)
    about = {"id": str(passage.source), "title": passage.title, "confidence": similarity}
    if passage.judged is not None and 0 <= passage.judged <= 1:
        about |= {"confidence": round(passage.judged, 4), "similarity": similarity}
    return about
