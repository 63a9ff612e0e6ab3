# SPDX-License-Identifier: AGPL-3.0-or-later
"""Traces: a span for each step, below the one it is part of, without words; nothing at all unless they are wanted."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from context_chat_backend import config, traces
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.steps import Step, step


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    traces.export_by(SimpleSpanProcessor(exporter), "normal")
    yield exporter
    traces.close()


def named(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def above(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def own(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def test_steps_are_spans_below_the_step_they_are_part_of(exported: InMemorySpanExporter) -> None:
    with step(Step.ANSWER):
        with step(Step.SEARCH):
            pass
        with step(Step.WRITE):
            pass
    with step(Step.FIND):
        pass

    spans = named(exported)
    assert set(spans) == {"answer", "search", "write", "find"}
    assert above(spans["answer"]) is above(spans["find"]) is None
    assert above(spans["search"]) == above(spans["write"]) == own(spans["answer"])


def test_a_span_holds_no_words_not_even_of_a_failure(exported: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError), step(Step.PARSE):
        raise ValueError("what a user wrote")

    (span,) = exported.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert dict(span.attributes or {}) == {}
    assert span.events == ()
    assert "wrote" not in span.to_json()


async def test_an_answer_that_goes_on_in_another_task_is_one_trace(
    exported: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """The first piece of a streamed answer is waited for in a task of its own."""

    async def pieces() -> AsyncIterator[int]:
        with step(Step.ANSWER):
            with step(Step.SEARCH):
                pass
            with step(Step.WRITE):
                yield 1
                yield 2

    stream = pieces()
    await asyncio.create_task(anext(stream))  # type: ignore[arg-type]
    assert [piece async for piece in stream] == [2]

    spans = named(exported)
    assert len({span.context.trace_id for span in spans.values() if span.context is not None}) == 1
    assert caplog.records == []


async def test_questions_at_the_same_time_do_not_mix(exported: InMemorySpanExporter) -> None:
    async def question() -> None:
        with step(Step.ANSWER):
            await asyncio.sleep(0)
            with step(Step.SEARCH):
                await asyncio.sleep(0)

    await asyncio.gather(question(), question())

    spans = exported.get_finished_spans()
    answers = {own(span) for span in spans if span.name == "answer"}
    assert {above(span) for span in spans if span.name == "search"} == answers
    assert len(answers) == 2


def test_the_program_loads_nothing_of_it_unless_it_is_wanted() -> None:
    told = "import sys, context_chat_backend.steps; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_wanted_without_the_extra_is_told_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "find_spec", lambda name: None)
    (tmp_path / "config.yaml").write_text("traces: http://localhost:4318/v1/traces\n")
    with pytest.raises(ConfigurationError, match=r"traces: .*pip install 'context-chat-backend\[otel\]'"):
        config.load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=2)


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("traces: true\n")
    with pytest.raises(ConfigurationError, match="traces: expected a URL"):
        config.load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=2)


class Collector(BaseHTTPRequestHandler):
    """Takes what is sent to it."""

    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_spans_reach_a_collector_when_the_program_ends() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        traces.configure(f"http://127.0.0.1:{server.server_port}/v1/traces", "indexing")
        with step(Step.PARSE):
            pass
        traces.close()
        server.shutdown()

    sent = b"".join(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body for body in Collector.bodies)
    for told in (b"parse", b"context_chat_backend", b"indexing"):
        assert told in sent
