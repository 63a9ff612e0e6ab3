# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of the two ways, of a document and of a question: each is timed, and one span where traces are wanted."""

from __future__ import annotations

import time
from enum import StrEnum
from types import TracebackType

from context_chat_backend import metrics, traces


class Step(StrEnum):
    """What takes time. The first of each way holds the others."""

    INDEX = "index"
    READ = "read"
    PARSE = "parse"
    CHUNK = "chunk"
    EMBED = "embed"
    PUT = "put"

    ANSWER = "answer"
    FIND = "find"
    """The way of a search, which ends with what was found."""
    WAIT = "wait"
    """For sources in scope that are being indexed."""
    EMBED_QUESTION = "embed_question"
    SEARCH = "search"
    RERANK = "rerank"
    RECHECK = "recheck"
    PROMPT = "prompt"
    WRITE = "write"


_SECONDS = {one: metrics.STEP_SECONDS.labels(one.value) for one in Step}


class step:  # noqa: N801 - reads as a verb: `with step(Step.PARSE):`
    """Time what is done inside, whether it ends well or not. Costs some microseconds."""

    __slots__ = ("_name", "_span", "_started")

    def __init__(self, name: Step) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._span = traces.begin(self._name)
        self._started = time.perf_counter()

    async def __aenter__(self) -> None:
        """So that it can stand before another asynchronous context."""
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        _SECONDS[self._name].observe(time.perf_counter() - self._started)
        traces.end(self._span, kind)
