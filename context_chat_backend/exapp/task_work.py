# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done for a task: an answer with its sources, or the sources alone (contract taskprocessing 4 and 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from pydantic import ValidationError

from context_chat_backend.domain import Answer, Delta, Done, Question
from context_chat_backend.errors import (
    ContextChatError,
    DatabaseUnavailable,
    InvalidRequest,
    ModelUnavailable,
    NextcloudUnavailable,
)
from context_chat_backend.exapp.providers import DEFAULT_LIMIT, SEARCH
from context_chat_backend.exapp.questions_api import MAX_RESULTS, Query, question_from
from context_chat_backend.exapp.sight import NextcloudSight
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.server import Nextcloud
from context_chat_backend.nextcloud.tasks import Task
from context_chat_backend.wiring import Backend

Result = Mapping[str, Any]
_SPARE = 10
"""So many more sources are looked for than wanted, for those Nextcloud hides."""
_CONTEXT_LIMIT = 20
_STREAM_SECONDS = 1.0
_log = get_logger(__name__)


def failed(text: str, cause: str = "") -> Result:
    """The result of a task that has none, with a text for the user; the administrator sees its `cause` too."""
    told = f"{text} ({cause})" if cause else text
    return {"output": None, "errorMessage": told, "userFacingErrorMessage": text}


INTERRUPTED = failed("The answer was interrupted: ask again.")


class TaskWork:
    """Turns tasks into results."""

    def __init__(self, backend: Backend, nextcloud: Nextcloud) -> None:
        self._backend = backend
        self._nextcloud = nextcloud

    async def result(self, task: Task) -> Result:
        """What Nextcloud is to be told; whatever goes wrong is told too."""
        try:
            return {"output": await self._output(task)}
        except ContextChatError as error:
            _log.warning("task_failed", task=task.id, error=type(error).__name__)
            return failed(_explained(error), "" if error.public else str(error))
        except Exception as error:  # a fault of ours must not leave the task open for ever
            _log.error("task_failed", task=task.id, error=type(error).__name__)
            return failed("Context Chat has met an internal error; its log names it.")

    async def _output(self, task: Task) -> dict[str, Any]:
        if task.user is None:
            raise InvalidRequest("the task names no user, so nothing may be read for it")
        question = await self._question(task, task.user)
        sight = NextcloudSight(
            self._nextcloud.sources, task.user, checks=self._backend.config.app.checks_rights_with_nextcloud
        )
        if question is None:
            return {"sources": []} if task.kind == SEARCH else await self._nothing(task)
        if task.kind == SEARCH:
            return {"sources": await self._search(question, sight)}
        answer = await self._answer(task, question, sight)
        return {"output": answer.text, "sources": sight.described(answer.sources)}

    async def _search(self, question: Question, sight: NextcloudSight) -> list[str]:
        limit = question.limit
        found = await self._backend.find_sources(
            Question(question.text, question.asker, question.scope, limit + _SPARE)
        )
        titles = {source.ref: source.title for source in found}
        hidden = frozenset(await sight.hidden(titles)) if titles else frozenset()
        return sight.described([ref for ref in titles if ref not in hidden][:limit])

    async def _answer(self, task: Task, question: Question, sight: NextcloudSight) -> Answer:
        stream = _Stream(self._nextcloud, task)
        async with aclosing(self._backend.stream_answer(question, sight)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    await stream.add(event.text)
                elif isinstance(event, Done):
                    return event.answer
        raise AssertionError("an answer ends with Done")

    async def _nothing(self, task: Task) -> dict[str, Any]:
        nothing = self._backend.nothing_found(str(task.input.get("prompt")))
        return {"output": nothing.text, "sources": []}

    async def _question(self, task: Task, user: str) -> Question | None:
        """The question; None when its scope holds no source. Raises InvalidRequest, NextcloudUnavailable."""
        asked = task.input
        kind = asked.get("scopeType") or "none"
        scope = asked.get("scopeList") or []
        if kind == "source" and isinstance(scope, list):
            ids = [str(one).encode(errors="replace").decode() for one in scope]  # JSON can hold halves of characters
            scope = await self._nextcloud.sources.resolve(ids, user)
            if not scope:
                return None
        try:
            limit = float(asked.get("limit") or DEFAULT_LIMIT) if task.kind == SEARCH else _CONTEXT_LIMIT
            query = Query(
                query=asked.get("prompt"),  # type: ignore[arg-type]  # whatever it is, it is looked at here
                userId=user,
                scopeType=None if kind == "none" else kind,  # type: ignore[arg-type]
                scopeList=None if kind == "none" else scope,
                ctxLimit=max(1, min(int(limit), MAX_RESULTS)),
            )
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise InvalidRequest(f"the input of the task is not valid: {_SLOTS.get(where, where)}") from None
        except (TypeError, ValueError, OverflowError):
            raise InvalidRequest("the input of the task is not valid: limit") from None
        return question_from(query, self._backend.config.limits.question_characters)


_SLOTS = {"query": "prompt", "ctxLimit": "limit"}


class _Stream:
    """Shows an answer while it is written, where Nextcloud wants that."""

    def __init__(self, nextcloud: Nextcloud, task: Task) -> None:
        self._tasks = nextcloud.tasks
        self._task = task
        self._wanted = task.streams
        self._text = ""
        self._sent_at = float("-inf")

    async def add(self, text: str) -> None:
        self._text += text
        now = asyncio.get_running_loop().time()
        if not self._wanted or now < self._sent_at + _STREAM_SECONDS:
            return
        self._sent_at = now
        try:
            shown = {"output": self._text, "sources": []}
            self._wanted = await self._tasks.stream_result(self._task.id, shown)
        except NextcloudUnavailable:
            self._wanted = False


def _explained(error: ContextChatError) -> str:
    if error.public:
        return str(error)
    match error:
        case ModelUnavailable():
            return "The language model does not answer; try again later."
        case NextcloudUnavailable() | DatabaseUnavailable():
            return "Context Chat cannot reach what it needs; try again later."
    return "Context Chat has met an internal error; its log names it."
