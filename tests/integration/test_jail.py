# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a parser cannot do, whatever a file makes of it; and files made to harm it."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from context_chat_backend.errors import ParserKilled, SourceRejected
from context_chat_backend.limits import Limits
from context_chat_backend.parsing.confinement import Wall
from context_chat_backend.parsing.sandbox import Sandbox
from tests import hostile
from tests.readers import parse, try_to

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def jail(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A sandbox whose files say what their parser tries to do."""
    made = Sandbox(1, tmp_path, reader=try_to)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """The sandbox of the product, with less patience."""
    made = Sandbox(2, tmp_path, limits=Limits(file_seconds=60))
    await made.start()
    yield made
    await made.close()


async def got(sandbox: Sandbox, folder: Path, content: str | bytes, media_type: str = "") -> str:
    """The text of a file of this content, or why it has none."""
    file = folder / f"file-{id(content)}"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        document = await sandbox.parse(file, media_type, "")
    except SourceRejected as rejection:
        return str(rejection)
    return "\n".join(part.text for part in document.parts)


async def all_walls(sandbox: Sandbox) -> None:
    if missing := await sandbox.missing_walls():
        pytest.skip(f"this kernel does not keep parsers from: {', '.join(sorted(missing))}")


async def test_the_network_is_closed(jail: Sandbox, tmp_path: Path) -> None:
    await all_walls(jail)
    path = str(tmp_path / "socket")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        told = [f"connect {server.getsockname()[1]}", "listen", f"unix {path}", "resolve"]
        assert [await got(jail, tmp_path, one) for one in told] == ["<EPERM>"] * len(told)


async def test_no_process_is_started_and_none_beside_it_reached(jail: Sandbox, tmp_path: Path) -> None:
    await all_walls(jail)
    told = ["fork", "exec /bin/true", f"kill {os.getpid()}", "become", "memory"]

    assert [await got(jail, tmp_path, one) for one in told] == ["<EPERM>"] * len(told)
    assert await got(jail, tmp_path, "thread") == "<done>"  # libraries need them
    assert await got(jail, tmp_path, "unlimit") == "<not allowed to raise maximum limit>"


async def test_nothing_is_read_but_the_file(jail: Sandbox, tmp_path: Path) -> None:
    await all_walls(jail)
    (tmp_path / "config.yaml").write_text("a secret")
    told = [
        f"read {tmp_path}/config.yaml", f"list {tmp_path}", "read /etc/passwd", f"read /proc/{os.getpid()}/environ",
        f"list {ROOT}", "list /", "list /proc",
    ]  # fmt: skip

    assert [await got(jail, tmp_path, one) for one in told] == ["<EACCES>"] * len(told)


async def test_nothing_is_written(jail: Sandbox, tmp_path: Path) -> None:
    await all_walls(jail)
    file = tmp_path / "kept"
    file.write_text("as it was")
    folder = tmp_path / "new"
    told = [f"write {file}", f"append {file}", f"write {tmp_path}/new", f"write {Path('/tmp/new')}"]
    told += [f"{how} {file}" for how in ("unlink", "rename", "chmod", "truncate")] + [f"mkdir {folder}"]
    outcomes = {one.replace(str(tmp_path), ""): await got(jail, tmp_path, one) for one in told}

    assert set(outcomes.values()) <= {"<EPERM>", "<EACCES>"}
    assert file.read_text() == "as it was"
    assert not folder.exists()


async def test_it_holds_no_secrets_and_nothing_open(
    jail: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_SECRET", "secret")
    held = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(held, True)

    told = ["HOME", "KREUZBERG_CACHE_DIR", "LANG", "MALLOC_ARENA_MAX", "TMPDIR"]
    assert await got(jail, tmp_path, "environment") == f"<{told}>"
    # nowhere to print, nowhere to read, and the connection to the program
    assert await got(jail, tmp_path, "descriptors") == "<['/dev', '/dev', '/dev', 'sock']>"
    os.close(held)


async def test_what_is_not_closed_is_said(jail: Sandbox) -> None:
    missing = await jail.missing_walls()

    assert missing <= frozenset(Wall)


async def test_processes_are_replaced_after_some_files_and_when_they_have_grown(
    jail: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_chat_backend.parsing.sandbox._FILES_PER_PROCESS", 3)
    seen = [await got(jail, tmp_path, f"pid {number}") for number in range(6)]
    assert seen[:3] == [seen[0]] * 3
    assert seen[3:] == [seen[3]] * 3
    assert seen[0] != seen[3]

    grown = await got(jail, tmp_path, "leak 300")
    assert await got(jail, tmp_path, "pid") != grown


async def test_the_memory_of_all_together_is_limited(tmp_path: Path) -> None:
    sandbox = Sandbox(3, tmp_path, reader=try_to, total_memory_bytes=400 * 1024**2)
    await sandbox.start()

    outcomes = await asyncio.gather(*(got(sandbox, tmp_path, told) for told in ("grow 250", "grow 249", "grow 50")))

    stopped = [outcome for outcome in outcomes if outcome == "its parser needed too much memory"]
    assert len(stopped) == 1  # whichever of the two was larger at that moment
    assert outcomes[2] == "<50 MB>"
    await sandbox.close()


@pytest.mark.parametrize("name", hostile.REJECTED)
async def test_hostile_files_are_rejected_and_those_beside_them_are_read(
    sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    make, media_type, reason = hostile.REJECTED[name]
    good = hostile.word(hostile.paragraph("good"))

    outcomes = await asyncio.gather(
        got(sandbox, tmp_path, make(), media_type),
        *(got(sandbox, tmp_path, bytes(good), hostile.WORD) for _ in range(5)),
    )

    assert outcomes == [reason] + ["good"] * 5


async def test_a_pdf_that_loops_is_stopped(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "loop.pdf"
    file.write_bytes(hostile.looping_pdf())

    with pytest.raises(ParserKilled):
        await sandbox.parse(file, "application/pdf", "")


async def test_entities_in_office_files_are_not_expanded(sandbox: Sandbox, tmp_path: Path) -> None:
    assert "laugh" not in await got(sandbox, tmp_path, hostile.billion_laughs_in_word(), hostile.WORD)


async def test_mails_in_mails_are_read_to_a_measure(sandbox: Sandbox, tmp_path: Path) -> None:
    from email.message import EmailMessage

    mail = EmailMessage()
    mail.set_content("the innermost")
    for level in range(30):
        outer = EmailMessage()
        outer["Subject"] = f"level {level}"
        outer.set_content(f"text {level}")
        outer.add_attachment(mail.as_bytes(), maintype="application", subtype="octet-stream", filename="mail.eml")
        mail = outer

    text = await got(sandbox, tmp_path, mail.as_bytes(), "message/rfc822")

    assert "text 29" in text


async def test_honest_files_near_the_limits_are_read(sandbox: Sandbox, tmp_path: Path) -> None:
    entities = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY nbsp "&#160;"><!ENTITY firm "Linden House">]><a>&firm;</a>'
    nested = b'{"a": ' * 100 + b'"[[[["' + b"}" * 100
    pages = hostile.long_pdf(500)
    mail = hostile.mail_with_attachments(100)

    assert "firm" in await got(sandbox, tmp_path, entities, "text/xml")
    assert "[[[[" in await got(sandbox, tmp_path, nested, "application/json")
    assert "Page 499" in await got(sandbox, tmp_path, pages, "application/pdf")
    assert "Attachment 99" in await got(sandbox, tmp_path, mail, "message/rfc822")


async def test_a_process_that_was_ended_between_files_costs_no_file(jail: Sandbox, tmp_path: Path) -> None:
    pid = int((await got(jail, tmp_path, "pid")).strip("<>"))
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        await asyncio.sleep(0.01)

    assert await got(jail, tmp_path, "thread") == "<done>"


async def test_every_sample_is_read_as_it_is_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    files = [file for folder in ("tests/data", "samples/documents") for file in (ROOT / folder).rglob("*.*")]
    for file in filter(Path.is_file, files):
        media_type = mimetypes.guess_type(file.name)[0] or ""
        try:
            outside: object = parse(file, media_type)
        except SourceRejected as rejection:
            outside = rejection.reason
        try:
            inside: object = await sandbox.parse(file, media_type, "")
        except SourceRejected as rejection:
            inside = rejection.reason
        assert inside == outside, file
