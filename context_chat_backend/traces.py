# SPDX-License-Identifier: AGPL-3.0-or-later
"""Traces by OpenTelemetry, where they are wanted: one span for each step, with its name and how it ended, and no text.

Off by default, and then nothing of the library is loaded.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from context_chat_backend import __version__
from context_chat_backend.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has begun, and the one it is part of."""

    span: Any
    outer: Span | None


_EXPORT_SECONDS = 2
"""A collector that does not answer must not hold up the end of the program."""
_tracer: Any = None
_provider: Any = None
_current: ContextVar[Span | None] = ContextVar("span", default=None)


def check_installed() -> None:
    """Raises ConfigurationError with the cure where the packages are missing."""
    try:
        found = all(find_spec(name) for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        found = False
    if not found:
        raise ConfigurationError(
            "traces: OpenTelemetry is not installed: pip install 'context-chat-backend[otel]', or remove traces from "
            "config.yaml"
        )


def configure(endpoint: str, role: str) -> None:
    """Send spans to an OTLP collector, for example http://localhost:4318/v1/traces. Raises ConfigurationError."""
    check_installed()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    export_by(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=_EXPORT_SECONDS)), role)


def export_by(processor: Any, role: str) -> None:
    """Hand spans to a processor of the library."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    global _tracer, _provider
    about = {"service.name": "context_chat_backend", "service.version": __version__, "context_chat.role": role}
    _provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("context_chat_backend")


def close() -> None:
    """Send what is left, and trace no more."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


def begin(name: str) -> Span | None:
    """Begin a span below the current one, and make it the current one; None while traces are off."""
    if _tracer is None:
        return None
    from opentelemetry.trace import set_span_in_context

    outer = _current.get()
    above = None if outer is None else set_span_in_context(outer.span)
    # Not opentelemetry's own current span: an answer that streams goes on in other tasks, where that one complains.
    span = Span(_tracer.start_span(name, context=above), outer)
    _current.set(span)
    return span


def end(span: Span | None, failure: type[BaseException] | None) -> None:
    """End a span. Of a failure its kind is told; its words may quote what users wrote."""
    if span is None:
        return
    if failure is not None:
        from opentelemetry.trace import Status, StatusCode

        span.span.set_status(Status(StatusCode.ERROR, failure.__name__))
    span.span.end()
    _current.set(span.outer)
