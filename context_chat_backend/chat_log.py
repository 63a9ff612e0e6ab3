# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was asked of the chat server and answered: a line of JSON for each exchange, in a file for each day (UTC).

It is a record about people rather than a log (ruling 29): its folder is closed to others, /downloadLogs does not hold
it, files go after some days, and lines with what they were written from. Several processes write at once: whoever
writes, begins another file or takes lines out holds a lock for that long.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from context_chat_backend.logs import masked

_NAME = re.compile(r"chat-(\d{4}-\d{2}-\d{2})(?:\.(\d+))?\.log")
_LOCK = ".lock"
_PII = re.compile(
    r"(?P<mail>(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})"
    r"|(?P<iban>\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){3,7}(?:[ ]?[A-Z0-9]{1,3})?\b)"
    r"|(?P<number>(?<![\w.])\+?\(?\d(?:[ ()/.-]{0,2}\d){6,}(?!\w))"
)
"""What names a person: addresses of mail, accounts, numbers of phones and cards."""
_ALL = "[redacted]"

Record = Mapping[str, Any]


class ChatLog:
    """The record of one installation."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        retention_days: int,
        redact: str = "none",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`redact` is 'none', 'pii' or 'all' of questions and answers. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        folder.chmod(0o750)
        self.folder = folder
        self._max_bytes = max_bytes
        self._retention_days = retention_days
        self._redact = redact
        self._now = now

    def write(self, record: Record) -> None:
        """Write an exchange down. What cannot be written is said on standard error, and work goes on."""
        now = self._now()
        stamped = {"timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"} | dict(record)
        for name in ("query", "response"):
            if isinstance(stamped.get(name), str):
                stamped[name] = redacted(stamped[name], self._redact)
        line = masked(json.dumps(stamped, ensure_ascii=False)) + "\n"
        try:
            with self._locked():
                _append(self._current(now.date(), len(line.encode())), line.encode())
        except OSError as error:
            sys.stderr.write(f"{self.folder}: an exchange cannot be written down ({error.strerror}): make room there\n")

    def files(self) -> list[Path]:
        """The files there are, the oldest first."""
        named = [(found[1], int(found[2] or 0), path) for path in self.folder.iterdir() if (found := _named(path))]
        return [path for _, _, path in sorted(named)]

    def forget_old(self) -> None:
        """Delete what is older than it may be. Raises OSError."""
        oldest = self._now().date() - timedelta(days=self._retention_days)
        with self._locked():
            for path in self.files():
                if date.fromisoformat(path.name[5:15]) < oldest:
                    path.unlink(missing_ok=True)

    def forget(self, concerns: Callable[[Record], bool]) -> int:
        """Take out the lines that `concerns` names; returns how many there were. Raises OSError."""
        count = 0
        with self._locked():
            for path in self.files():
                kept = []
                lines = path.read_bytes().splitlines(keepends=True)  # of bytes: texts may hold separators of lines
                for line in lines:
                    if _concerned(line, concerns):
                        # As long as before: whoever reads on from a place in the file finds the next line there.
                        line = b" " * (len(line) - 1) + b"\n"
                        count += 1
                    kept.append(line)
                if kept != lines:
                    _replace(path, b"".join(kept))
        return count

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _current(self, day: date, size: int) -> Path:
        """The file of today that has room for a line."""
        number = max((int(found[2] or 0) for path in self.folder.iterdir() if (found := _named(path, day))), default=0)
        path = self._path(day, number)
        if path.exists() and path.stat().st_size + size > self._max_bytes and path.stat().st_size > 0:
            path = self._path(day, number + 1)
        return path

    def _path(self, day: date, number: int) -> Path:
        return self.folder / (f"chat-{day}.{number}.log" if number else f"chat-{day}.log")


def redacted(text: str, how: str) -> str:
    """`text` as far as it may be written down: 'none' of it is taken out, what names a person ('pii'), or 'all'."""
    if how == "all":
        return _ALL
    return _PII.sub(lambda found: f"[{found.lastgroup}]", text) if how == "pii" else text


def _named(path: Path, day: date | None = None) -> re.Match[str] | None:
    found = _NAME.fullmatch(path.name)
    return found if found and (day is None or found[1] == str(day)) else None


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        while line:
            line = line[os.write(descriptor, line) :]
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(content)
    beside.chmod(0o640)
    beside.replace(path)


def _concerned(line: bytes, concerns: Callable[[Record], bool]) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and concerns(record)
