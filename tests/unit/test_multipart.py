# SPDX-License-Identifier: AGPL-3.0-or-later
"""The reader of multipart requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from context_chat_backend.limits import Limits
from context_chat_backend.web.errors import Refusal
from context_chat_backend.web.multipart import read_parts

TYPE = "multipart/form-data; boundary=b0undary"
LIMITS = Limits()
END = b"--b0undary--\r\n"


@dataclass
class Seen:
    headers: dict[str, str]
    name: str | None
    filename: str | None
    size: int
    kept: bytes


def one(body: bytes, *headers: str | bytes, filename: str = "files__default: 5") -> bytes:
    lines = [header if isinstance(header, bytes) else header.encode() for header in headers]
    lines.append(f'Content-Disposition: form-data; name="sources"; filename="{filename}"'.encode())
    return b"--b0undary\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body + b"\r\n"


async def read(
    folder: Path,
    body: bytes,
    *,
    piece: int = 64 * 1024,
    most: int = 10_000,
    content_type: str = TYPE,
    limits: Limits = LIMITS,
) -> list[Seen]:
    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    return [
        Seen(
            part.headers,
            part.name,
            part.filename,
            part.size,
            (part.body if isinstance(part.body, bytes) else part.body.read_bytes()),
        )
        async for part in read_parts(content_type, stream(), folder=folder, max_part_bytes=most, limits=limits)
    ]


@pytest.mark.parametrize("piece", [1, 2, 7, 64 * 1024])
async def test_parts_are_the_same_however_the_body_is_cut(tmp_path: Path, piece: int) -> None:
    first = one(b"a\r\n--b0undar\r\n\x00\xff", "userIds: alice,bob", "title: pl\u00e4n, \u201cgut\u201d.md")
    body = first + one(b"", "userIds: ") + one(b"third") + END

    parts = await read(tmp_path, body, piece=piece)

    assert [part.kept for part in parts] == [b"a\r\n--b0undar\r\n\x00\xff", b"", b"third"]
    assert [part.size for part in parts] == [16, 0, 5]
    assert parts[0].headers["userids"] == "alice,bob"
    assert parts[0].headers["title"] == "pl\u00e4n, \u201cgut\u201d.md"
    assert parts[1].headers["userids"].strip() == ""
    assert {part.filename for part in parts} == {"files__default: 5"}
    assert {part.name for part in parts} == {"sources"}
    assert list(tmp_path.iterdir()) == []


async def test_a_title_may_hold_quotes_semicolons_a_line_feed_and_latin_1(tmp_path: Path) -> None:
    parts = await read(tmp_path, one(b"x", 'title: "a"; b=\nc, d') + one(b"x", b"title: caf\xe9") + END)

    assert parts[0].headers["title"] == '"a"; b=\nc, d'
    assert parts[1].headers["title"] == "caf\u00e9"


@pytest.mark.parametrize("filename", ["mail__messages: 12:34", "files__default: 5; x=y", "files__default: \u00e4"])
async def test_file_names_are_kept_verbatim(tmp_path: Path, filename: str) -> None:
    assert (await read(tmp_path, one(b"x", filename=filename) + END))[0].filename == filename


async def test_every_reader_of_a_popular_file_has_room_in_the_header(tmp_path: Path) -> None:
    users = ",".join(f"user-{number:05}" for number in range(100_000))

    parts = await read(tmp_path, one(b"x", f"userIds: {users}", *(f"X-{n}: {n}" for n in range(20))) + END)

    assert parts[0].headers["userids"] == users


async def test_a_part_that_is_too_large_is_counted_and_not_kept(tmp_path: Path) -> None:
    parts = await read(tmp_path, one(b"x" * 300_000) + one(b"small") + END, most=1000)

    assert [(part.size, len(part.kept)) for part in parts] == [(300_000, 1001), (5, 5)]


async def test_parts_are_given_out_while_the_rest_still_arrives(tmp_path: Path) -> None:
    sent = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal sent
        for number in range(3):
            sent += 1
            yield one(str(number).encode())
        yield END

    reading = read_parts(TYPE, stream(), folder=tmp_path, max_part_bytes=10, limits=Limits())
    async with aclosing(reading):
        first = await anext(reading)
        assert first.body == b"0"
        assert sent < 3
    assert list(tmp_path.iterdir()) == []


async def test_nothing_stays_behind_when_the_caller_hangs_up(tmp_path: Path) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield one(b"1") + one(b"2") + one(b"3" * 100)[:-50]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        async for _ in read_parts(TYPE, stream(), folder=tmp_path, max_part_bytes=1000, limits=Limits()):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_nothing_stays_behind_when_reading_stops_at_a_part(tmp_path: Path) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield one(b"1") + one(b"2") + one(b"3" * 100)[:-50]

    reading = read_parts(TYPE, stream(), folder=tmp_path, max_part_bytes=1000, limits=Limits())
    await anext(reading)
    await reading.aclose()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", END),
        ("application/json", b"{}"),
        ("multipart/form-data", END),
        ("multipart/form-data; boundary=", END),
        (f"multipart/form-data; boundary={'b' * 5000}", END),
        ("multipart/mixed; boundary=b0undary", one(b"x") + END),
        (TYPE, b""),
        (TYPE, b"nonsense" * 100),
        (TYPE, one(b"x")),
        (TYPE, one(b"x")[:-5]),
        (TYPE, one(b"x", "a header without colon") + END),
        (TYPE, one(b"x", "sp ace: x") + END),
        (TYPE, one(b"x", *(f"X-{n}: x" for n in range(Limits.part_headers))) + END),
        (TYPE, one(b"x") * (Limits.parts + 1) + END),
    ],
)
async def test_what_is_not_multipart_is_refused(tmp_path: Path, content_type: str, body: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        await read(tmp_path, body, content_type=content_type)
    assert refusal.value.status_code == 400
    assert list(tmp_path.iterdir()) == []


async def test_headers_have_a_bound(tmp_path: Path) -> None:
    limits = Limits(part_header_bytes=1000)

    for headers in (["title: " + "x" * 1001], [f"X-{n}: {'x' * 400}" for n in range(3)]):
        with pytest.raises(Refusal):
            await read(tmp_path, one(b"x", *headers) + END, limits=limits)


async def test_a_body_without_parts_is_read_as_such(tmp_path: Path) -> None:
    assert await read(tmp_path, END) == []
