# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dump that pg_dump wrote, loaded into a database of its own beside ours for as long as it is read."""

from __future__ import annotations

import asyncio
import re
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from context_chat_backend.errors import StartError
from context_chat_backend.store.embedded import ROLE, EmbeddedPostgres

_NAME = "context_chat_import"
_CUSTOM = b"PGDMP"
_COPY = re.compile(rb"COPY [^;]+ FROM stdin;")
_GUARD = re.compile(rb"\\(un)?restrict [A-Za-z0-9]+")
"""What newer versions of pg_dump write around a dump, so that psql runs no other command of its own in it."""


@asynccontextmanager
async def loaded(file: Path, server: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL of a database that holds what is in `file`, plain SQL or pg_dump's own format.

    Raises StartError when it is neither, or when it is plain SQL with commands to psql, which can run programs.
    """
    with file.open("rb") as stream:
        start = stream.read(64)
    if start[:2] in (b"\x1f\x8b", b"PK", b"BZ") or start.startswith(b"\xfd7zXZ"):
        raise StartError(f"{file} is compressed: unpack it first")
    if not start.startswith(_CUSTOM):
        await asyncio.to_thread(_refuse_commands, file)
    async with await psycopg.AsyncConnection.connect(server.superuser_url, autocommit=True) as connection:
        name = sql.Identifier(_NAME)
        await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        await connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(ROLE)))
        try:
            inside = psycopg.conninfo.make_conninfo(server.superuser_url, dbname=_NAME)
            async with await psycopg.AsyncConnection.connect(inside, autocommit=True) as extended:
                await extended.execute("CREATE EXTENSION vector")
            url = server.program_url(_NAME)
            said = await _load(file, url, server.binaries, custom=start.startswith(_CUSTOM))
            async with await psycopg.AsyncConnection.connect(url) as inside_it:
                row = await (await inside_it.execute("SELECT to_regclass('docs') IS NOT NULL")).fetchone()
            if row != (True,):
                raise StartError(
                    f"{file} holds no index of the reference ({said or 'there is no table docs'}): make it with "
                    "pg_dump -Fc of the database that has the tables docs and langchain_pg_embedding"
                )
            yield url
        finally:
            await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def _refuse_commands(file: Path) -> None:
    """psql takes a backslash outside rows, quotes and comments as a command of its own, and `\\!` runs programs.

    Nothing that pg_dump writes of an old index has one outside the rows of COPY, so that wherever in a line there is
    one, it is refused without asking what psql would make of it. Rows of a COPY that fails are commands to psql again,
    which `_load` forbids it.
    """
    with file.open("rb") as stream:
        in_rows = False
        for number, line in enumerate(stream, start=1):
            plain = line.rstrip(b"\r\n")
            if in_rows:
                in_rows = plain != b"\\."
            elif b"\\" in line and not _GUARD.fullmatch(plain):
                raise StartError(
                    f"{file} holds a command to psql in line {number}, which is not run: make the dump with "
                    "pg_dump -Fc of the one database, without other options"
                )
            else:
                in_rows = _COPY.fullmatch(plain) is not None


def _command(file: Path, database: str, binaries: Path, *, custom: bool) -> list[str]:
    """What loads the file into the database; run in another folder than we are in."""
    if custom:
        options = ["--no-owner", "--no-privileges", "--dbname", database]
        return [str(binaries / "pg_restore"), *options, str(file.absolute())]
    restricted = f"\\restrict {secrets.token_hex(16)}"
    options = ["--no-psqlrc", "--quiet", "--command", restricted, "--file", str(file.absolute())]
    return [str(binaries / "psql"), *options, database]


async def _load(file: Path, url: str, binaries: Path, *, custom: bool) -> str:
    """Load as the program's role; what it may not do (owners, extensions) is passed over. Returns its last words."""
    parts = {key: str(value) for key, value in psycopg.conninfo.conninfo_to_dict(url).items()}
    command = _command(file, parts["dbname"], binaries, custom=custom)
    environment = {
        "PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGHOST": parts["host"], "PGPORT": parts["port"],
        "PGUSER": parts["user"], "PGPASSWORD": parts["password"],
    }  # fmt: skip
    with tempfile.TemporaryFile() as complaints:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=complaints,
            env=environment, cwd="/",
        )  # fmt: skip
        try:
            await process.wait()
        except BaseException:
            process.kill()
            raise
        complaints.seek(0)
        said = complaints.read().decode("utf-8", "replace").strip().splitlines()
        lines = [line for line in said if "restrict" not in line]  # a dump's own such lines, inside ours
    return lines[-1][:200] if lines else ""
