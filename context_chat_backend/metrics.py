# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is counted and timed while the program works, by name, for Prometheus.

Labels are words of the program (steps, verdicts, reasons, routes): never what users wrote, and never an id. What is
read when somebody asks (the queue, the pool, the disk) is set by wiring/monitoring.py; docs/operations.md lists all.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

REGISTRY = CollectorRegistry(auto_describe=True)
"""Everything this process tells. Processes on one database are told apart by the scraper's `instance`."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
_NAMESPACE = "context_chat"


def _counter(name: str, told: str, *labels: str) -> Counter:
    return Counter(name, told, labels, namespace=_NAMESPACE, registry=REGISTRY)


def _gauge(name: str, told: str, *labels: str) -> Gauge:
    return Gauge(name, told, labels, namespace=_NAMESPACE, registry=REGISTRY)


def _histogram(name: str, told: str, *labels: str) -> Histogram:
    return Histogram(name, told, labels, namespace=_NAMESPACE, registry=REGISTRY, buckets=_SECONDS)


disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of the text, about when this process began, which process_start_time_seconds tells
ProcessCollector(registry=REGISTRY)

# What the program does.
STEP_SECONDS = _histogram("step_seconds", "How long a step took, whether it succeeded or not", "step")
FIRST_WORD_SECONDS = _histogram("first_word_seconds", "From a question to the first words of its answer")
REQUESTS = _counter("requests", "Requests answered over HTTP, by route and status", "route", "status")
REQUEST_SECONDS = _histogram("request_seconds", "How long requests took, to the end of their answer", "route")
VERDICTS = _counter("verdicts", "What became of sources in work here", "verdict", "reason")
CHUNKS = _counter("embedded_chunks", "Chunks that got a vector, from the model or known from the same text", "origin")
PARSER_DEATHS = _counter("parser_deaths", "Parser processes that died of a file or had to be stopped", "reason")
ANSWERS = _counter("answers", "How questions ended", "outcome")
PASSAGES = _counter("passages", "Passages found for answers: read by the model, or left out for want of room", "fate")
TOKENS = _counter("tokens", "Tokens of language models, as they or we count them", "kind")
RIGHTS_CHECKS = _counter("rights_checks", "How often Nextcloud was asked what a user sees now", "outcome")
SOURCES_HIDDEN = _counter("sources_hidden", "Found sources Nextcloud no longer shows to the user who asked")
MODEL_FAILURES = _counter("model_failures", "How often a model did not answer", "model")
LOG_LINES = _counter("log_lines", "Warnings and errors in the log", "level")

# How things stand; set when somebody asks.
BUILD = _gauge("build_info", "1; the version and the role of this process", "version", "role")
READY = _gauge("ready", "1 when this process does its work")
DATABASE_UP = _gauge("database_up", "1 when the database has answered this request")
SOURCES = _gauge("sources", "Sources by state, over all processes", "state")
OLDEST_DUE_SECONDS = _gauge("oldest_due_seconds", "How long the source that waits longest has been due")
SOURCES_PER_SECOND = _gauge("indexed_per_second", "Sources indexed a second in the last ten minutes, by all processes")
STORED_CHUNKS = _gauge("stored_chunks", "Chunks that are indexed")
WAITING_BYTES = _gauge("waiting_bytes", "Bytes of sources that wait to be indexed")
TASKS = _gauge("tasks", "Tasks of Nextcloud, by whether they are in work or ended and not told yet", "state")
EMBEDDED_SHARE = _gauge("space_filled_ratio", "How much of the index has vectors of the configured model, 0 to 1")
POOL = _gauge("pool_connections", "Connections of this process to the database", "state")
POOL_WAITING = _gauge("pool_requests_waiting", "Who waits for a connection in this process")
STORED_BYTES = _gauge("database_bytes", "Size of the database on its disk")
DISK_BYTES = _gauge("storage_bytes", "The disk of the persistent storage", "state")

for _of, _values in (
    (CHUNKS, ("model", "known")),
    (ANSWERS, ("answered", "nothing_found", "blocked", "refused", "failed", "cancelled")),
    (PASSAGES, ("read", "left out")),
    (TOKENS, ("prompt", "answer")),
    (RIGHTS_CHECKS, ("answered", "unanswered")),
    (MODEL_FAILURES, ("embedding", "language", "reranking")),
    (LOG_LINES, ("warning", "error")),
):
    for _value in _values:
        _of.labels(_value)  # there from the start: a rate needs a zero before the first event


def exposition() -> bytes:
    """All values in Prometheus' text format."""
    return generate_latest(REGISTRY)
