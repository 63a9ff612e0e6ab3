# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records of exchanges go to Elasticsearch too, in bulks, from the files they were written to.

The files are the queue: however long Elasticsearch is away, nothing is held in memory, nothing is lost as long as the
files are kept, and after a restart the work goes on where it was. One process at a time does it, under a lock in the
folder of the files; how far it is stands beside them. A line that was sent twice is one document: its id is its place.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from context_chat_backend.bounded_answers import MOST, bound
from context_chat_backend.chat_log import ChatLog
from context_chat_backend.logs import get_logger

_LINES = 200
_SECONDS = 2.0
_RETRY_SECONDS = 30.0
_TIMEOUT_SECONDS = 10.0
_MOST_BYTES = 8 * 1024 * 1024
"""Of a bulk, unless a single line has more."""
_TOO_MANY = 429
_PLACE, _HELD = ".shipped.json", ".shipping"
_MAPPINGS = {
    "properties": {
        "timestamp": {"type": "date"},
        "query": {"type": "text"},
        "response": {"type": "text"},
        "backend": {"type": "keyword"},
        "collection": {"type": "keyword"},
        "api_key_id": {"type": "keyword"},
        "blocked": {"type": "boolean"},
        "ip": {"type": "ip"},
        "details": {"type": "object"},
    }
}
_log = get_logger(__name__)


class _Unreachable(Exception):
    """Elasticsearch does not take what is sent: later it may."""


@dataclass(frozen=True, slots=True)
class _Line:
    place: str
    """File and offset."""
    end: int
    text: str


class Shipping:
    """Sends what is written to Elasticsearch."""

    def __init__(
        self,
        log: ChatLog,
        node: str,
        index: str,
        login: tuple[str, str],
        *,
        verifies: bool = True,
        retry_seconds: float = _RETRY_SECONDS,
        answer_bytes: int = MOST,
    ) -> None:
        """`node` is the address of Elasticsearch."""
        self._log = log
        self._index = index
        self._retry_seconds = retry_seconds
        client = httpx.AsyncClient(
            base_url=node.rstrip("/"), auth=login, verify=verifies, timeout=httpx.Timeout(_TIMEOUT_SECONDS)
        )
        self._client = bound(client, answer_bytes)

    @property
    def status(self) -> str:
        """'enabled' while Elasticsearch takes what is sent, else 'unavailable'; whichever process sends it."""
        return "enabled" if self._place().get("available") else "unavailable"

    async def run(self) -> None:
        """Send until cancelled; while another process does, wait."""
        descriptor = os.open(self._log.folder / _HELD, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_SECONDS)
            while True:
                seconds = await self._round()
                await asyncio.sleep(seconds)
        finally:
            os.close(descriptor)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _round(self) -> float:
        """Send what there is; returns the seconds until the next look."""
        try:
            await self._ensure_index()
            while lines := await asyncio.to_thread(self._waiting):
                await self._send(lines)
                self._note(lines[-1].place.partition(":")[0], lines[-1].end, available=True)
                if len(lines) < _LINES:
                    break
        except (_Unreachable, httpx.HTTPError) as error:
            if self.status == "enabled":
                _log.warning("elasticsearch_unavailable", error=type(error).__name__)
            self._note(available=False)
            return self._retry_seconds
        except OSError as error:
            _log.warning("records_not_read", error=type(error).__name__)
            return self._retry_seconds
        if self.status != "enabled":
            self._note(available=True)
        return _SECONDS

    async def _ensure_index(self) -> None:
        found = await self._client.head(f"/{self._index}")
        if found.status_code == httpx.codes.NOT_FOUND:
            made = await self._client.put(f"/{self._index}", json={"mappings": _MAPPINGS})
            if made.is_error and "resource_already_exists" not in made.text:
                raise _Unreachable
        elif found.is_error:
            raise _Unreachable

    async def _send(self, lines: list[_Line]) -> None:
        """Send documents until each was taken, or refused for what it is."""
        left = [(line.place, document) for line in lines if (document := _document(line.text)) is not None]
        while left:
            body = "".join(
                f"{json.dumps({'index': {'_id': place}})}\n{json.dumps(document, ensure_ascii=False)}\n"
                for place, document in left
            )
            kind = {"Content-Type": "application/x-ndjson"}
            answer = await self._client.post(f"/{self._index}/_bulk", content=body.encode(), headers=kind)
            if answer.is_error:
                raise _Unreachable
            try:
                outcomes = [next(iter(item.values())) for item in answer.json()["items"]]
                statuses = [int(outcome["status"]) for outcome in outcomes]
            except (ValueError, KeyError, TypeError, StopIteration):
                raise _Unreachable from None
            refused = [status for status in statuses if status >= httpx.codes.BAD_REQUEST and status != _TOO_MANY]
            if refused:
                _log.warning("records_refused", count=len(refused))
            again = [one for one, status in zip(left, statuses, strict=True) if status == _TOO_MANY]
            if len(again) == len(left):
                raise _Unreachable
            left = again

    def _waiting(self) -> list[_Line]:
        """The next lines that were not sent."""
        found: list[_Line] = []
        size = 0
        for line in self._lines():
            if found and (size + len(line.text) > _MOST_BYTES or not _same_file(found[-1], line)):
                break
            found.append(line)
            size += len(line.text)
            if len(found) == _LINES:
                break
        return found

    def _lines(self) -> Iterator[_Line]:
        place = self._place()
        files = self._log.files()
        names = [file.name for file in files]
        begun = names.index(place["file"]) if place.get("file") in names else 0
        for file in files[begun:]:
            offset = int(place.get("offset", 0)) if file.name == place.get("file") else 0
            with file.open("rb") as content:
                content.seek(offset)
                for line in content:
                    if not line.endswith(b"\n"):  # it is being written
                        break
                    offset += len(line)
                    yield _Line(f"{file.name}:{offset - len(line)}", offset, line.decode("utf-8", "replace"))

    def _place(self) -> dict[str, Any]:
        try:
            told = json.loads((self._log.folder / _PLACE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def _note(self, file: str | None = None, offset: int = 0, *, available: bool) -> None:
        place = self._place() | {"available": available, "at": round(time.time())}
        if file is not None:
            place |= {"file": file, "offset": offset}
        beside = self._log.folder / f"{_PLACE}.new"
        beside.write_text(json.dumps(place), encoding="utf-8")
        beside.replace(self._log.folder / _PLACE)


def _same_file(one: _Line, other: _Line) -> bool:
    return one.place.partition(":")[0] == other.place.partition(":")[0]


def _document(text: str) -> dict[str, Any] | None:
    """A line as Elasticsearch keeps it; None where it was taken out."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    known = {name: record.get(name) for name in ("timestamp", "query", "response", "backend", "collection", "blocked")}
    details = {name: value for name, value in record.items() if name not in known and name not in ("ip", "api_key")}
    known["api_key_id"] = (record.get("api_key") or {}).get("id")
    address = record.get("ip") or {}
    known["ip"] = address.get("address") if address.get("type") in ("ipv4", "ipv6") else None
    return known | {"details": details | {"api_key": (record.get("api_key") or {}).get("masked")}}
