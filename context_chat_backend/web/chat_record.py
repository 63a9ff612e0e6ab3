# SPDX-License-Identifier: AGPL-3.0-or-later
"""An exchange as it is written down where a chat server runs: one line, whatever became of it."""

from __future__ import annotations

import asyncio
from math import isnan
from typing import Any

from fastapi import Request

from context_chat_backend.domain import Answer, Question, Usage, collections_of
from context_chat_backend.store.uses import Use
from context_chat_backend.web.addresses import client_address
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.sources import confident_sources
from context_chat_backend.wiring import Backend

_FAILED = 500


def write_down(request: Request, question: Question, answer: Answer, use: Use) -> None:
    """Put the exchange into the record, where there is one; nobody waits for that."""
    backend: Backend = request.app.state.backend
    if backend.chat_log is None:
        return
    record = _record(request, backend, question, answer, use)
    writing = asyncio.ensure_future(asyncio.to_thread(backend.chat_log.write, record))
    request.app.state.writing.add(writing)
    writing.add_done_callback(request.app.state.writing.discard)


def _record(request: Request, backend: Backend, question: Question, answer: Answer, use: Use) -> dict[str, Any]:
    caller: Caller | None = request.state.caller
    collections = collections_of(question.scope.providers or ())
    usage = answer.usage or Usage(use.prompt_tokens, use.answer_tokens)
    about = {
        "level": "error" if use.status >= _FAILED else "info",
        "request_id": request.state.request_id,
        "query": question.text,
        "response": answer.text,
        "backend": backend.writer_named(answer.model),
        "blocked": answer.blocked,
        "no_results": use.status == 200 and not answer.passages and not answer.blocked and not answer.model,
        "collection": collections[0].name if len(collections) == 1 else None,
        "session_id": getattr(request.state, "session_id", None),
        "api_key": _key(caller),
        "ip": _address(request, backend),
        "sources": confident_sources(answer.passages),
        "latency_ms": use.total_ms,
        "first_token_ms": use.first_byte_ms,
        "usage": {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.answer_tokens},
        "cancelled": use.cancelled,
        "surface": use.surface,
        "status": use.status,
        "elasticsearch_status": backend.shipping_status,
    }
    if any(passage.judged is not None and isnan(passage.judged) for passage in answer.passages):
        about["rerank"] = "failed"
    return about


def _key(caller: Caller | None) -> dict[str, str] | None:
    if caller is None or caller.use is None:
        return None
    return {"id": caller.use.key.id, "masked": caller.use.key.display}


def _address(request: Request, backend: Backend) -> dict[str, Any]:
    address = client_address(request, backend.config.chat.trusted_proxies)
    return {"address": address.text, "type": address.kind, "isLocal": address.is_local, "source": address.source}
