# SPDX-License-Identifier: AGPL-3.0-or-later
"""`status SOURCE`: where a source stands, why, and what may be done about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

from context_chat_backend.cli.show import console
from context_chat_backend.indexing.verdicts import CURES
from context_chat_backend.store.overview import SourceReport
from context_chat_backend.wiring import Backend


async def show_sources(backend: Backend, wanted: str, *, as_json: bool) -> int:
    """Print what is known of the sources with this id or title; returns how many. Raises DatabaseUnavailable."""
    reports = await backend.overview.find(wanted)
    if as_json:
        print(json.dumps([_record(report) for report in reports], ensure_ascii=False, default=_time))
        return len(reports)
    for report in reports:
        console.print(report.title or report.ref, style="bold", markup=False)
        for name, said in lines(report, datetime.now(UTC)):
            console.print(f"  {name:>10} {said}", markup=False)
    if not reports:
        console.print("No such source was ever delivered, or it was deleted.", markup=False)
    return len(reports)


def lines(report: SourceReport, now: datetime) -> Iterator[tuple[str, str]]:
    """What people read about a source: names and what is said."""
    yield "id", f"{report.ref} ({report.realm})"
    yield "state", _state(report, now)
    if report.reason is not None:
        yield "reason", report.reason
        yield "cure", CURES.get(report.reason, "see the log")
        if report.state in ("rejected", "quarantined"):
            yield "", "its bytes are kept" if report.bytes_kept else "its bytes are gone: it has to be delivered again"
    if report.indexed_modified_at is not None and report.state != "indexed":
        yield "answers", f"with its version of {_time(report.indexed_modified_at)}"
    yield "delivered", f"{_time(report.admitted_at)}, {report.size} bytes, {report.media_type or 'of no declared type'}"
    yield "modified", _time(report.modified_at)
    if report.started_at is not None:
        yield "attempts", f"{report.attempts}, the last one began {_time(report.started_at)}"
    if report.parser is not None:
        yield "read", f"as {report.parser}, {report.characters} characters, {report.parse_ms} ms"
    if report.chunk_count:
        yield "chunks", f"{report.chunk_count}, embedded in {report.embed_ms} ms"
    yield "readers", str(report.readers)


def _state(report: SourceReport, now: datetime) -> str:
    if report.state != "waiting":
        return f"{report.state} since {_time(report.settled_at)}"
    if report.leased_until is not None and report.leased_until > now:
        return "being indexed"
    if report.next_attempt_at > now:
        return f"waits, to be tried again at {_time(report.next_attempt_at)}"
    return "waits for its turn"


def _record(report: SourceReport) -> dict[str, object]:
    return asdict(report) | {"cure": CURES.get(report.reason) if report.reason is not None else None}


def _time(moment: object) -> str:
    return moment.isoformat(" ", "seconds") if isinstance(moment, datetime) else "never"
