# SPDX-License-Identifier: AGPL-3.0-or-later
"""A PostgreSQL cluster that somebody else wrote: the reference, or our embedded server of an earlier major version.

It is started as the user its folder belongs to, for nobody but us, and its rows are only read. Starting it recovers it
from a crash, as starting it with the program that wrote it would.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from context_chat_backend.errors import StartError
from context_chat_backend.store.database import statement
from context_chat_backend.store.embedded_place import binaries_of
from context_chat_backend.store.server_programs import run_as

_SUPERUSER = "postgres"
_SOCKETS = "ccb-old-"
_SOCKET_LINE = 4
"""Of postmaster.pid, from 0: the folder of the server's socket."""


def cluster_in(folder: Path) -> Path | None:
    """The data folder of a cluster at `folder` or in a folder right inside it; None when there is none."""
    try:
        found = [path for path in (folder, *sorted(folder.glob("*"))) if (path / "PG_VERSION").is_file()]
    except OSError:
        return None
    return found[0] if found else None


class OldServer:
    """One such cluster."""

    def __init__(self, data: Path, postgres: Path | None = None) -> None:
        """`data` holds PG_VERSION; `postgres` is the folder of programs to run it with, where it must be named."""
        self._data = data.absolute()
        self._postgres = None if postgres is None else postgres.absolute()  # its programs run in another folder
        self._sockets: Path | None = None
        self._binaries = Path()

    async def start(self) -> None:
        """Start the server. Raises StartError with what is in the way and what to do."""
        major = (self._data / "PG_VERSION").read_text(encoding="ascii").strip()
        self._binaries = await asyncio.to_thread(binaries_of, major, self._postgres)
        owner = self._data.stat()
        if owner.st_uid == 0 or os.geteuid() not in (0, owner.st_uid):
            raise StartError(
                f"{self._data} belongs to user {owner.st_uid}, and PostgreSQL runs as the owner of its folder, never "
                "as root: run this command as that user or as root, or give the folder to an ordinary user (chown -R)"
            )
        await self._stop_forgotten()
        self._sockets = Path(tempfile.mkdtemp(prefix=_SOCKETS, dir="/tmp"))
        access = self._sockets / "access"
        access.write_text("local all all trust\n", encoding="ascii")
        for path in (self._sockets, access):
            os.chown(path, owner.st_uid, owner.st_gid)
        options = (
            "listen_addresses=", f"unix_socket_directories={self._sockets}", "unix_socket_permissions=0700",
            f"hba_file={access}", "port=5432", "ssl=off", "archive_mode=off", "logging_collector=off", "jit=off",
            "shared_preload_libraries=",
        )  # fmt: skip
        arguments = " ".join(f'-c "{option}"' for option in options)
        try:
            await self._control("-w", "-t", "300", "-l", str(self._sockets / "log"), "-o", arguments, "start")
        except BaseException:
            self._remove_sockets()
            raise

    @property
    def data(self) -> Path:
        """The data folder."""
        return self._data

    async def stop(self) -> None:
        """Stop the server; the folder is as it would be after any stop."""
        if self._sockets is not None:
            try:
                await self._control("-w", "-t", "300", "-m", "fast", "stop")
            finally:
                self._remove_sockets()

    async def database_with(self, *tables: str) -> str | None:
        """The URL of the first database that holds all these tables; None when none does."""
        async with await psycopg.AsyncConnection.connect(self.url("postgres")) as connection:
            rows = await (await connection.execute(statement("reference", "databases"))).fetchall()
        for (name,) in rows:
            async with await psycopg.AsyncConnection.connect(self.url(name)) as connection:
                found = [await (await connection.execute(
                    sql.SQL("SELECT to_regclass({}) IS NOT NULL").format(sql.Literal(table)))).fetchone()
                    for table in tables]  # fmt: skip
            if all(row == (True,) for row in found):
                return self.url(name)
        return None

    def url(self, database: str) -> str:
        """The URL of a database for the superuser."""
        return f"postgresql://{_SUPERUSER}@/{quote(database, safe='')}?host={quote(str(self._sockets), safe='')}"

    async def _stop_forgotten(self) -> None:
        """Stop the server that a command like this one left when it was killed; anybody else's is left alone."""
        lock = self._data / "postmaster.pid"
        lines = lock.read_text("utf-8", "replace").splitlines() if lock.is_file() else []
        if len(lines) > _SOCKET_LINE and Path(lines[_SOCKET_LINE]).name.startswith(_SOCKETS):
            with suppress(StartError):  # it is gone already
                await self._control("-w", "-t", "60", "-m", "fast", "stop")
            shutil.rmtree(lines[_SOCKET_LINE], ignore_errors=True)

    def _remove_sockets(self) -> None:
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    async def _control(self, *arguments: str) -> None:
        owner = self._data.stat()
        identity = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None
        said = await run_as(identity, self._binaries / "pg_ctl", "-D", str(self._data), *arguments)
        if said is not None:
            raise StartError(self._failure(said))

    def _failure(self, said: str) -> str:
        log = self._sockets / "log" if self._sockets is not None else Path()
        words = (said + (log.read_text("utf-8", "replace") if log.is_file() else "")).strip().splitlines()[-4:]
        cure = "mend that, or take a dump with the program that wrote it"
        if any("postmaster.pid" in line for line in words):
            cure = (
                "stop the program that uses it; when none does, it was killed: remove postmaster.pid from the folder "
                "and try again"
            )
        return f"the database in {self._data} does not start ({' '.join(words)}): {cure}"
