# SPDX-License-Identifier: AGPL-3.0-or-later
"""The parts of a multipart request, one at a time, large ones spooled to files: memory stays flat whatever is sent.

Our own reader over python-multipart's tokenizer, because frameworks read the whole request before the first part can be
used, and lose the headers in front of Content-Disposition that carry everything here (contract push-4x 2.2).
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from context_chat_backend.limits import Limits
from context_chat_backend.web.errors import Refusal

SMALL_BYTES = 64 * 1024
"""What is no larger is kept in memory."""


@dataclass
class Part:
    """One part. The file of a large one is gone when the next part is asked for."""

    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name; values in UTF-8, in Latin-1 where they are not."""
    size: int = 0
    """Bytes that were sent; no more than allowed are kept."""
    small: bytearray = field(default_factory=bytearray)
    file: IO[bytes] | None = None

    @property
    def body(self) -> bytes | Path:
        """The content of a small part, or the file that holds a large one."""
        return bytes(self.small) if self.file is None else Path(self.file.name)

    def keep(self, data: bytes, folder: Path) -> None:
        """Add to the content."""
        if self.file is None and len(self.small) + len(data) <= SMALL_BYTES:
            self.small += data
            return
        if self.file is None:
            self.file = tempfile.NamedTemporaryFile(dir=folder, prefix="part-")  # noqa: SIM115 - see close()
            self.file.write(self.small)
            self.small.clear()
        self.file.write(data)

    def flush(self) -> None:
        """Let others read what was kept."""
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        """Remove the file of a large part."""
        if self.file is not None:
            self.file.close()

    @property
    def name(self) -> str | None:
        """The form field."""
        return self._disposition(b"name")

    @property
    def filename(self) -> str | None:
        """The file name, verbatim."""
        return self._disposition(b"filename")

    def _disposition(self, key: bytes) -> str | None:
        _, options = parse_options_header(self.headers.get("content-disposition", "").encode())
        value = options.get(key)
        return None if value is None else _text(value)


async def read_parts(
    content_type: str, stream: AsyncIterable[bytes], *, folder: Path, max_part_bytes: int, limits: Limits
) -> AsyncGenerator[Part, None]:
    """The parts of a body as they arrive; of each at most `max_part_bytes` + 1 bytes are kept, large ones in `folder`.

    Raises Refusal (400) when the body is not multipart, is cut off, or has too many parts or too long headers.
    """
    kind, options = parse_options_header(content_type.encode())
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refusal(400, "expected a body of type multipart/form-data with a boundary")
    collector = _Collector(folder, max_part_bytes, limits)
    try:
        parser = MultipartParser(
            boundary,
            collector.callbacks(),
            max_header_count=limits.part_headers,
            max_header_size=limits.part_header_bytes,
        )
        async for piece in stream:
            parser.write(piece)
            while (part := collector.take()) is not None:
                with closing(part):
                    yield part
        if not collector.ended:
            raise Refusal(400, "the body ends before its last boundary")
    except FormParserError:
        raise Refusal(400, "the body is not well-formed multipart/form-data") from None
    finally:
        collector.close()


class _Collector:
    """Gathers what the tokenizer finds."""

    def __init__(self, folder: Path, max_part_bytes: int, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._max_part_bytes = max_part_bytes
        self._count = 0
        self._header_bytes = 0
        self._name = bytearray()
        self._value = bytearray()
        self._current: Part | None = None
        self._finished: deque[Part] = deque()
        self.ended = False

    def callbacks(self) -> dict[str, object]:
        """What the tokenizer calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def take(self) -> Part | None:
        """The next part that is complete."""
        return self._finished.popleft() if self._finished else None

    def close(self) -> None:
        """Remove the files of parts nobody took."""
        for part in [*self._finished, *([self._current] if self._current else [])]:
            part.close()

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._limits.parts:
            raise Refusal(400, f"more than {self._limits.parts} parts in one request: send fewer at once")
        self._header_bytes = 0
        self._current = Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += self._counted(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._counted(data[start:end])

    def _header_end(self) -> None:
        assert self._current is not None
        self._current.headers[_text(bytes(self._name)).lower()] = _text(bytes(self._value))
        self._name.clear()
        self._value.clear()

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._current is not None
        room = self._max_part_bytes + 1 - self._current.size
        self._current.keep(data[start : min(end, start + max(room, 0))], self._folder)
        self._current.size += end - start

    def _end(self) -> None:
        assert self._current is not None
        self._current.flush()
        self._finished.append(self._current)
        self._current = None

    def _all(self) -> None:
        self.ended = True

    def _counted(self, data: bytes) -> bytes:
        self._header_bytes += len(data)
        if self._header_bytes > self._limits.part_header_bytes:
            raise Refusal(400, f"the headers of a part are longer than {self._limits.part_header_bytes} bytes")
        return data


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
