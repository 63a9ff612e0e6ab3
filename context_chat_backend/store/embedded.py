# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bundled PostgreSQL, for when no external one is configured.

Data lie in `postgres18/` of the storage. The server listens on a unix socket only, with a password there too, and the
program's role is no superuser. Several processes on one storage share the server; each holds a shared lock on a file,
and whoever finds himself the last one stops it. A process that is killed loses its lock by the kernel's hand, and the
server lives on for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path
from urllib.parse import quote

import psycopg

from context_chat_backend.errors import StartError
from context_chat_backend.hardware import usable_memory
from context_chat_backend.logs import get_logger
from context_chat_backend.rotation import FILE_BYTES
from context_chat_backend.store.embedded_place import MAJOR, Owner, Place, find_place, older_cluster
from context_chat_backend.store.embedded_processes import disown, living, surroundings
from context_chat_backend.store.server_programs import run_as

ROLE = "ccb"
DATABASE = "context_chat"
_FREE_BYTES = 300 * 1024 * 1024
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 5.0
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_LIMIT = 107
"""Bytes a unix socket's path may have."""
_log = get_logger(__name__)


class EmbeddedPostgres:
    """One server for one storage."""

    def __init__(self, storage: Path, *, settings: tuple[str, ...] = (), beside_older: bool = False) -> None:
        """`settings` are further server settings, `name=value` each; tests switch fsync off with them.

        `beside_older`: data of an earlier major version may lie there, for they are about to be carried over.
        """
        self._storage = storage.absolute()
        self._beside_older = beside_older
        self._settings = settings
        self._place = Place(self._storage, Path(), None)
        self._user_lock: FileIO | None = None

    @property
    def superuser_url(self) -> str:
        """The URL of the maintenance database for the superuser: for tests, and for what only he may do."""
        return self._url("postgres", self._password("superuser"), "postgres")

    @property
    def binaries(self) -> Path:
        """The folder of PostgreSQL's programs, once it was started."""
        return self._place.binaries

    def program_url(self, database: str = DATABASE) -> str:
        """The URL of a database for the program's role."""
        return self._url(ROLE, self._password("program"), database)

    async def start(self) -> str:
        """Start the server, or join it where it runs; returns the URL of the program's database.

        Raises StartError with what is in the way and what to do.
        """
        try:
            self._place = await asyncio.to_thread(find_place, self._storage)
            async with self._starting_alone():
                users = self._storage / "postgres.users"
                users.touch()
                self._user_lock = users.open("rb+", buffering=0)
                await asyncio.to_thread(fcntl.flock, self._user_lock, fcntl.LOCK_SH)
                await self._initialise()
                if not await self._answers_in_time():
                    await self._launch_here()
                    await self._update_extension()
        except OSError as error:
            self._leave()
            raise StartError.not_writable(self._storage, error) from error
        except BaseException:
            self._leave()
            raise
        return self.program_url()

    async def stop(self) -> None:
        """Leave the server; the last one to leave stops it."""
        if self._user_lock is None:
            return
        async with self._starting_alone():
            try:
                fcntl.flock(self._user_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._processes():
                    await self._control("-w", "-m", "fast", "stop")
            except BlockingIOError:
                pass  # others still use it
            finally:
                self._leave()

    async def keep_running(self) -> None:
        """Start the server again whenever it has ended, until cancelled.

        It ends by itself when the disk has no room for its log; then it comes back once there is some.
        """
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                if not await asyncio.to_thread(self._processes):
                    await self._start_again()
            except (StartError, OSError) as error:
                _log.warning("database_does_not_start", error=str(error))

    async def _start_again(self) -> None:
        async with self._starting_alone():
            if not self._processes():  # no other program was faster
                await self._launch_here()
                _log.warning("database_started_again")

    async def _launch_here(self) -> None:
        """Start the server, unless it runs where we cannot see it; only while starting alone. Raises StartError.

        Neither PostgreSQL nor we see processes of another container or machine, and two servers destroy their data. The
        lock on the file of users is seen there too, and the file says where the server was started last.
        """
        assert self._user_lock is not None
        handle = self._user_lock.fileno()
        if os.pread(handle, 1024, 0) != (here := surroundings().encode()):
            if not self._is_alone(self._user_lock):
                raise StartError(
                    f"another container or machine uses the database in {self._storage}: stop the program there, or "
                    "give this one a storage of its own, or use an external database (CCB_DB_URL) for both"
                )
            os.pwrite(handle, here, 0)  # over the old one, for which a full disk has room
            os.ftruncate(handle, len(here))
        await self._launch()

    @staticmethod
    def _is_alone(lock: FileIO) -> bool:
        """Whether nobody else holds the lock that is shared; only while starting alone, for it is let go meanwhile."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(lock, fcntl.LOCK_SH)
        return True

    def _leave(self) -> None:
        if self._user_lock is not None:
            self._user_lock.close()
            self._user_lock = None

    async def _initialise(self) -> None:
        """Make data folder, roles and database, whole or not at all: a half-made one is made again."""
        version = self._place.data / "PG_VERSION"
        if not self._beside_older and (older := older_cluster(self._place.home)) is not None:
            raise StartError(
                f"{older} holds the index as an earlier version of PostgreSQL wrote it, and this is {MAJOR}: run "
                "'context-chat upgrade-database', which carries it over (docs/upgrade.md)"
            )
        if version.exists():
            if (found := version.read_text(encoding="ascii").strip()) != MAJOR:
                raise StartError(
                    f"{version.parent} was written by PostgreSQL {found}, and this is {MAJOR}: rename the folder to "
                    f"postgres{found}, then run 'context-chat upgrade-database' (docs/upgrade.md)"
                )
            return
        home = self._place.home
        if shutil.disk_usage(home).free < _FREE_BYTES:
            raise StartError(f"the disk of {home} is full: at least 300 MB must be free for the database")
        for name in ("superuser", "program"):
            self._write_password(self._storage / f"postgres.{name}")
        for unfinished in home.glob(f"{version.parent.name}.new-*"):
            await asyncio.to_thread(shutil.rmtree, unfinished, True)
        # A name of its own: the programs of an initialisation that was cut off may still be writing.
        fresh = Path(tempfile.mkdtemp(prefix=f"{version.parent.name}.new-", dir=home))
        self._give(fresh)
        await self._make_cluster(fresh)
        fresh.rename(version.parent)
        await asyncio.to_thread(_sync_folder, home)

    async def _make_cluster(self, data: Path) -> None:
        password, secret = self._password("superuser"), data.with_name("postgres.initial")
        self._write_password(secret, password)
        self._give(secret)
        try:
            await self._run(
                "initdb", "-D", str(data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={secret}",
                "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
            )  # fmt: skip
        finally:
            secret.unlink()
        # Without a server, as initdb itself does it: nothing is left running when this is cut off.
        await self._execute(
            data, "postgres", f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self._password('program')}'",
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
        )  # fmt: skip
        await self._execute(data, DATABASE, "CREATE EXTENSION vector")

    async def _execute(self, data: Path, database: str, *statements: str) -> None:
        """Execute statements, one line each, as the superuser of a server that does not run."""
        await self._run(
            "postgres", "--single", "-D", str(data), "-c", "exit_on_error=on", "-c", "log_min_error_statement=panic",
            database, lines="".join(f"{statement}\n" for statement in statements),
        )  # fmt: skip

    async def _update_extension(self) -> None:
        """The extension follows its library, which is newer after an upgrade of the program."""
        url = self._url("postgres", self._password("superuser"), DATABASE)
        with contextlib.suppress(psycopg.errors.InvalidCatalogName, psycopg.errors.UndefinedObject):
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute("ALTER EXTENSION vector UPDATE")

    async def _launch(self) -> None:
        place, sockets, log = self._place, self._socket_folder(), self._place.home / "postgres.log"
        self._require_own(place.data)
        sockets.mkdir(mode=0o700, exist_ok=True)
        self._require_own(sockets)
        self._give(sockets)
        if log.exists() and log.stat().st_size > FILE_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
        log.touch()
        self._give(log)
        options = (
            "listen_addresses=",
            f"unix_socket_directories={sockets}",
            "unix_socket_permissions=0700",
            "max_connections=60",
            f"shared_buffers={_shared_megabytes(usable_memory())}MB",
            "jit=off",
            "random_page_cost=1.1",
            "max_wal_size=2GB",
            # Errors of statements may quote users' content. The program is told them; the log is not.
            "log_min_messages=log",
            *self._settings,
        )
        for lock in (place.data / "postmaster.pid", sockets / f"{_SOCKET_NAME}.lock"):
            disown(lock)
        arguments = " ".join(f'-c "{option}"' for option in options)
        try:
            await self._control("-w", "-t", "120", "-l", str(log), "-o", arguments, "start")
        except StartError as error:
            if shutil.disk_usage(place.home).free < _FREE_BYTES:
                raise StartError(f"the database does not start, for the disk of {place.home} is full") from error
            raise StartError(f"{error}; its last words are in {log}") from None

    async def _answers_in_time(self) -> bool:
        """Whether a server answers, or will: a recovering one is waited for, and so is the end of a killed one."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._processes():
            if await self._is_running():
                return True
            if time.monotonic() > deadline:
                raise StartError(
                    f"the database runs and does not answer: see {self._place.home / 'postgres.log'}, or end its "
                    f"processes (their working folder is {self._place.data})"
                )
            await asyncio.sleep(0.1)
        return False

    def _processes(self) -> list[int]:
        return living(self._place.data)

    async def _is_running(self) -> bool:
        try:
            connection = await psycopg.AsyncConnection.connect(self.superuser_url, connect_timeout=10)
        except psycopg.OperationalError:
            return False
        await connection.close()
        return True

    async def _control(self, *arguments: str) -> None:
        await self._run("pg_ctl", "-D", str(self._place.data), *arguments)

    async def _run(self, program: str, *arguments: str, lines: str = "") -> None:
        owner = self._place.owner
        identity = None if owner is None else (owner.uid, owner.gid)
        said = await run_as(identity, self._place.binaries / program, *arguments, lines=lines)
        if said is not None:
            raise StartError(f"{program} of the embedded database failed: {' '.join(said.strip().splitlines()[-3:])}")

    @asynccontextmanager
    async def _starting_alone(self) -> AsyncIterator[None]:
        """One process at a time initialises, starts or stops the server."""
        with (self._storage / "postgres.lock").open("a") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield

    def _socket_folder(self) -> Path:
        home = self._place.home
        inside = home / "postgres.socket"
        if len(os.fsencode(inside / _SOCKET_NAME)) < _SOCKET_LIMIT and not set(str(inside)) & set("'\",\\ @"):
            return inside
        digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
        # The same for every process, whatever its TMPDIR; its owner is checked before it is used.
        return Path(f"/tmp/ccb-{os.geteuid()}-{digest}")  # noqa: S108

    def _url(self, role: str, password: str, database: str) -> str:
        host = quote(str(self._socket_folder()), safe="")
        return f"postgresql://{role}:{password}@/{database}?host={host}&port=5432"

    def _password(self, name: str) -> str:
        path = self._storage / f"postgres.{name}"
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise StartError(f"{path}, a password of the database, is missing: restore it from a backup") from None

    def _write_password(self, path: Path, password: str | None = None) -> None:
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(password or secrets.token_urlsafe(32))

    def _give(self, path: Path) -> None:
        if (owner := self._place.owner) is not None:
            os.chown(path, owner.uid, owner.gid)

    def _require_own(self, folder: Path) -> None:
        found, owner = folder.lstat(), self._place.owner or Owner("", os.geteuid(), os.getegid())
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner.uid, os.geteuid()):
            raise StartError(
                f"{folder} belongs to user {found.st_uid}, and the database would run as user {owner.uid}: "
                "run the program as the user who made the folder"
            )


def _shared_megabytes(memory: int) -> int:
    """A quarter of the machine, as PostgreSQL's manual advises: a search is fast while its indexes are in there.

    `memory` is in bytes. What is not used is not taken.
    """
    return max(128, min(memory // 4, 8 * 1024**3) // 1024**2)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
