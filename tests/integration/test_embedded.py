# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bundled PostgreSQL: it starts, is shared, survives kills, and keeps strangers out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from context_chat_backend.errors import StartError
from context_chat_backend.store.embedded import EmbeddedPostgres
from tests.conftest import open_folder
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import asyncio, sys, pathlib\n"
    "from context_chat_backend.store.embedded import EmbeddedPostgres\n"
    "async def main():\n"
    "    server = EmbeddedPostgres(pathlib.Path(sys.argv[1])); await server.start()\n"
    "    print('up', flush=True); await asyncio.to_thread(sys.stdin.read); await server.stop()\n"
    "asyncio.run(main())\n"
)


@asynccontextmanager
async def running(storage: Path) -> AsyncIterator[tuple[EmbeddedPostgres, str]]:
    server = EmbeddedPostgres(storage)
    url = await server.start()
    try:
        yield server, url
    finally:
        await server.stop()


def answer(url: str, query: LiteralString) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


async def no_processes_of(server: EmbeddedPostgres) -> None:
    async with asyncio.timeout(60):
        while server._processes():
            await asyncio.sleep(0.05)


def is_up(url: str) -> bool:
    try:
        return answer(url, "SELECT 1") == 1
    except psycopg.OperationalError:
        return False


def postmaster(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        text = Path(f"/proc/{row[0]}/status").read_text()
    return int(text.partition("PPid:")[2].split()[0])


@pytest.fixture
def other_process(storage: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(storage)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    yield process
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.communicate()


async def test_data_are_there_after_a_restart_and_strangers_are_not_let_in(storage: Path) -> None:
    async with running(storage) as (_, url):
        assert answer(url, "SELECT current_setting('server_encoding') || lower('ÄÖ')") == "UTF8äö"
        assert answer(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        assert answer(url, "SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 1
        assert answer(url, "SELECT current_setting('listen_addresses')") == ""
        answer(url, "CREATE TABLE kept AS SELECT 7 AS n")
        with pytest.raises(psycopg.OperationalError, match="password"):
            answer(url.replace("ccb:", "ccb:not"), "SELECT 1")
        socket_folder = Path(psycopg.conninfo.conninfo_to_dict(url)["host"])  # type: ignore[arg-type]
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((storage / "postgres.superuser").stat().st_mode) == 0o600
    assert not is_up(url)
    async with running(storage) as (_, url):
        assert answer(url, "SELECT n FROM kept") == 7


async def test_a_second_process_joins_and_the_last_one_stops_the_server(
    storage: Path, other_process: subprocess.Popen[bytes]
) -> None:
    async with running(storage) as (_, url):
        assert is_up(url)
    assert is_up(url)
    other_process.communicate(b"")
    assert not is_up(url)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a container")
async def test_a_program_of_another_container_is_not_let_in_on_the_same_volume(storage: Path) -> None:
    """Its processes cannot be seen from there, nor those from here: two servers on one folder would destroy it."""
    container = ["unshare", "--pid", "--fork", "--mount-proc", "--ipc", sys.executable, "-c", HOLD, str(storage)]
    if subprocess.run([*container[:5], "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a container")
    async with running(storage) as (_, url):
        answer(url, "CREATE TABLE kept AS SELECT 7 AS n")
        started = subprocess.run(container, cwd=ROOT, input=b"", capture_output=True)
        assert b"StartError" in started.stderr
        assert b"another container or machine uses" in started.stderr
        assert b"stop the program there, or give this one a storage of its own" in started.stderr
        assert answer(url, "SELECT n FROM kept") == 7
        assert is_up(url)

    started = subprocess.run(container, cwd=ROOT, input=b"", capture_output=True)
    assert started.stdout == b"up\n", started.stderr
    async with running(storage) as (_, url):
        assert answer(url, "SELECT n FROM kept") == 7


async def test_a_server_that_ended_is_started_by_whoever_comes_next_though_others_wait_for_it(
    storage: Path, other_process: subprocess.Popen[bytes]
) -> None:
    async with running(storage) as (_, url):
        os.kill(postmaster(url), signal.SIGKILL)
    async with running(storage) as (_, url):
        assert is_up(url)


async def test_a_killed_program_leaves_a_server_the_next_one_joins_and_stops(
    storage: Path, other_process: subprocess.Popen[bytes]
) -> None:
    other_process.kill()
    other_process.wait()

    async with running(storage) as (_, url):
        assert is_up(url)
    assert not is_up(url)


async def test_a_killed_server_comes_back_with_all_that_was_committed(storage: Path) -> None:
    async with running(storage) as (_, url):
        answer(url, "CREATE TABLE kept AS SELECT 7 AS n")
        os.kill(postmaster(url), signal.SIGKILL)
        until(lambda: not is_up(url), said=lambda: "the server does not end")
        again = EmbeddedPostgres(storage)
        url = await again.start()
        assert answer(url, "SELECT n FROM kept") == 7
        await again.stop()


async def test_a_server_that_has_ended_is_started_again_while_it_is_watched(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_chat_backend.store.embedded._LOOK_SECONDS", 0.1)
    async with running(storage) as (server, url), asyncio.timeout(60):
        answer(url, "CREATE TABLE kept AS SELECT 7 AS n")
        ended = postmaster(url)
        watching = asyncio.create_task(server.keep_running())
        os.kill(ended, signal.SIGKILL)
        while not is_up(url) or postmaster(url) == ended:
            await asyncio.sleep(0.1)
        assert answer(url, "SELECT n FROM kept") == 7
        watching.cancel()
        await asyncio.wait([watching])


async def test_a_server_starts_over_the_empty_lock_a_full_disk_has_left(storage: Path) -> None:
    async with running(storage) as (server, url):
        answer(url, "CREATE TABLE kept AS SELECT 7 AS n")
        lock = Path(str(answer(server.superuser_url, "SHOW data_directory"))) / "postmaster.pid"
        os.kill(postmaster(url), signal.SIGKILL)
        await no_processes_of(server)
    lock.write_bytes(b"")

    async with running(storage) as (_, url):
        assert answer(url, "SELECT n FROM kept") == 7


async def test_an_initialisation_that_was_cut_off_is_done_anew(storage: Path) -> None:
    (storage / "postgres18.new" / "base").mkdir(parents=True)
    (storage / "postgres18.new" / "PG_VERSION").write_text("18")

    async with running(storage) as (_, url):
        assert is_up(url)


@pytest.mark.parametrize("name", ["with spaces and 'quotes'", "x" * 120, "ümläut"])
async def test_the_storage_may_have_any_name(storage: Path, name: str) -> None:
    (storage / name).mkdir()
    async with running(storage / name) as (_, url):
        assert is_up(url)


async def test_data_of_another_major_version_are_left_alone(storage: Path) -> None:
    (storage / "postgres18").mkdir()
    (storage / "postgres18" / "PG_VERSION").write_text("16\n")

    with pytest.raises(StartError, match="PostgreSQL 16"):
        await EmbeddedPostgres(storage).start()


async def test_a_storage_that_is_no_folder_says_what_to_do(storage: Path) -> None:
    (storage / "file").touch()

    with pytest.raises(StartError, match="APP_PERSISTENT_STORAGE"):
        await EmbeddedPostgres(storage / "file").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user run the server")
async def test_as_root_private_folders_stay_private(storage: Path) -> None:
    private = storage / "private"
    private.mkdir(mode=0o700)

    async with running(private / "storage") as (_, url):
        assert is_up(url)
        elsewhere = Path((private / "storage" / "postgres.location").read_text().strip())
        owner = Path(f"/proc/{postmaster(url)}").stat().st_uid
    assert owner != 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    shutil.rmtree(elsewhere)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
async def test_as_root_the_database_stays_when_rights_and_names_of_folders_change(storage: Path) -> None:
    folder = storage / "private"
    folder.mkdir(mode=0o700)
    async with running(folder / "data") as (_, url):
        answer(url, "CREATE TABLE kept AS SELECT 7 AS n")
    folder.chmod(0o755)
    moved = folder.rename(storage / "public")

    async with running(moved / "data") as (_, url):
        assert answer(url, "SELECT n FROM kept") == 7
    shutil.rmtree((moved / "data" / "postgres.location").read_text().strip())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
async def test_as_root_a_database_that_can_no_longer_be_reached_is_not_replaced_by_an_empty_one(storage: Path) -> None:
    async with running(storage / "data"):
        pass
    storage.chmod(0o700)
    with pytest.raises(StartError, match="cannot reach"):
        await EmbeddedPostgres(storage / "data").start()


async def test_a_database_whose_folder_is_gone_is_missed_and_not_replaced_by_an_empty_one(storage: Path) -> None:
    (storage / "postgres.location").write_text(f"{storage / 'elsewhere'}\n")
    with pytest.raises(StartError, match="is not there"):
        await EmbeddedPostgres(storage).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_runs_it_as_himself(storage: Path) -> None:
    folder = open_folder()
    os.chown(folder, 65534, 65534)
    readable = all(path.stat().st_mode & stat.S_IXOTH for path in Path(sys.executable).resolve().parents)
    if not readable:
        pytest.skip("an ordinary user cannot reach this environment")
    process = subprocess.run(
        [sys.executable, "-c", HOLD, str(folder / "storage")],
        cwd=ROOT, input=b"", capture_output=True, user=65534, group=65534, extra_groups=[],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert process.stdout == b"up\n", process.stderr.decode()[-500:]
    assert (folder / "storage" / "postgres18").stat().st_uid == 65534
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_a_full_disk_is_named(storage: Path) -> None:
    small = storage / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        with pytest.raises(StartError, match=r"is full: at least 300 MB"):
            await EmbeddedPostgres(small / "storage").start()
    finally:
        subprocess.run(["umount", str(small)], check=True)
