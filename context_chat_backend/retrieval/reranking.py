# SPDX-License-Identifier: AGPL-3.0-or-later
"""The best passages are read again by a re-ranker; when it is down, the order of the search stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan, nan

from context_chat_backend.domain import Passage
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.metrics import MODEL_FAILURES
from context_chat_backend.ports import Reranker

RERANKED = 30
"""So many passages are judged at most: a cross-encoder reads each of them."""
_QUESTION_CHARACTERS = 2000
_log = get_logger(__name__)


async def rerank(reranker: Reranker, question: str, passages: Sequence[Passage]) -> list[Passage]:
    """The passages with the first 30 in the re-ranker's order, like ones in the order before. Never raises."""
    best = passages[:RERANKED]
    if len(best) < 2:
        return list(passages)
    try:
        scores = await reranker.scores(question[:_QUESTION_CHARACTERS], [_judged(passage) for passage in best])
    except ModelUnavailable as error:
        MODEL_FAILURES.labels("reranking").inc()
        _log.warning("reranking_failed", reason=str(error), passages=len(best))
        return [*(replace(passage, judged=nan) for passage in best), *passages[RERANKED:]]
    if len(set(scores)) == 1 or all(map(isnan, scores)):
        return list(passages)
    known = [
        passage if isnan(score) else replace(passage, judged=score) for passage, score in zip(best, scores, strict=True)
    ]
    return [*sorted(known, key=_rank, reverse=True), *passages[RERANKED:]]


def _rank(passage: Passage) -> float:
    return passage.similarity if passage.judged is None else passage.judged


def _judged(passage: Passage) -> str:
    """What the embedding model reads too: file name and heading say what a text is about."""
    heading = passage.location.heading
    if heading is not None and heading in passage.text:
        heading = None
    return "\n".join(line for line in (passage.title.rsplit("/", 1)[-1], heading, passage.text) if line)
