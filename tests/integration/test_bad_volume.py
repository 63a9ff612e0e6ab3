# SPDX-License-Identifier: AGPL-3.0-or-later
"""Volumes, servers and clocks that cannot be used as they are: each with a message that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from context_chat_backend import upgrade
from context_chat_backend.cli import doctor
from context_chat_backend.config import load
from context_chat_backend.errors import ConfigurationError, ContextChatError, StartError
from context_chat_backend.store import history
from context_chat_backend.store.archive import written
from context_chat_backend.store.database import Connection, Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.old_server import OldServer
from tests import old_cluster
from tests.program import Program

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and become somebody else")


@pytest.fixture
def small_disk(storage: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk with the given options below the storage."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = storage / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this machine lets nobody mount a disk")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def said_by_somebody_else(work: Callable[[], object]) -> str:
    """The message of the error that `work` ends with when an ordinary user does it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            work()
        except ContextChatError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


@as_root
def test_a_volume_that_cannot_be_written_to_is_named(small_disk: Callable[[str], Path]) -> None:
    with pytest.raises(StartError, match=r"disk0 cannot be written to \(Read-only file system\).*APP_PERSIST"):
        upgrade.run(small_disk("ro"), ROOT / "repairs", "5.4.0")


@as_root
@pytest.mark.slow
def test_a_volume_that_was_in_use_and_cannot_be_used_any_more_is_named_by_every_command(
    small_disk: Callable[[str], Path],
) -> None:
    disk = small_disk("size=600m,mode=755")
    (disk / "config.yaml").write_text("embedding:\n  hashing:\n")
    with Program(disk) as program:
        assert "another container or machine uses the database" in said(program, "status", elsewhere=True)
        assert "is taken: stop the program that listens there" in said(program, "serve")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command in ("serve", "status"):
        assert f"{disk} cannot be written to (Read-only file system)" in said(program, command)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    fill(disk)
    for command in ("serve", "status"):
        assert f"{disk} cannot be written to (No space left on device)" in said(program, command)
    (disk / "something").unlink()
    assert "indexed 0" in program.run_command("status")


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "something").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def said(program: Program, command: str, *, elsewhere: bool = False) -> str:
    """What a start says that is not possible, in one line; `elsewhere`: in another container on the same volume."""
    container = ["unshare", "--pid", "--fork", "--mount-proc", "--ipc"] if elsewhere else []
    done = subprocess.run(
        [*container, sys.executable, "main.py", command],
        cwd=ROOT, env=program.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    return " ".join(done.stderr.split())


@as_root
def test_a_volume_of_somebody_else_is_named(storage: Path) -> None:
    said = said_by_somebody_else(lambda: upgrade.run(storage, ROOT / "repairs", "5.4.0"))

    assert f"{storage} cannot be written to (Permission denied): give this user the folder" in said


@as_root
def test_a_full_volume_is_named(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("size=64k")
    (disk / "something").write_bytes(bytes(60 * 1024))
    (disk / "version.info").touch()

    with pytest.raises(StartError, match=r"No space left on device.*make room"):
        upgrade.run(disk, ROOT / "repairs", "5.4.0")


@as_root
def test_a_backup_that_finds_no_room_leaves_nothing_behind(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("size=64k")

    with (
        pytest.raises(StartError, match=r"cannot be written \(No space left on device\).*where there is room"),
        written(disk / "backup") as archive,
        archive.table("words", binary=True) as stream,
    ):
        stream.write(bytes(1024 * 1024))
    assert list(disk.iterdir()) == []


@as_root
async def test_a_cluster_of_root_is_not_started_and_its_owner_is_asked_for(storage: Path) -> None:
    (storage / "PG_VERSION").write_text(f"{old_cluster.EARLIER}\n")

    with pytest.raises(StartError, match=r"belongs to user 0.*never as root.*chown -R"):
        await OldServer(storage).start()


async def test_a_cluster_that_is_in_use_is_left_alone(storage: Path) -> None:
    old_cluster.make_cluster(storage / "old")
    async with old_cluster.running(storage / "old", "ccb") as url:
        lock = storage / "old" / "postmaster.pid"
        # As if the program that wrote it ran: its socket is not ours.
        lock.write_text(lock.read_text().replace("ccb-old-", "other-"))
        with pytest.raises(StartError, match=r"does not start.*stop the program that uses it"):
            await OldServer(storage / "old").start()
        assert url


async def test_a_cluster_that_was_killed_is_recovered(storage: Path) -> None:
    old_cluster.make_cluster(storage / "old")
    server = OldServer(storage / "old")
    await server.start()
    lock = (storage / "old" / "postmaster.pid").read_text()
    os.kill(int(lock.split()[0]), 9)
    again = OldServer(storage / "old")
    await again.start()
    assert await again.database_with("docs") is None
    await again.stop()
    shutil.rmtree(lock.splitlines()[4], ignore_errors=True)


async def test_data_of_a_later_postgresql_are_left_alone_and_named(storage: Path) -> None:
    (storage / "postgres18").mkdir()
    (storage / "postgres18" / "PG_VERSION").write_text("19\n")

    with pytest.raises(StartError, match=r"written by PostgreSQL 19, and this is 18"):
        await EmbeddedPostgres(storage).start()


async def test_a_server_that_is_too_old_is_named() -> None:
    old = cast(Connection, SimpleNamespace(info=SimpleNamespace(server_version=140_011)))

    with pytest.raises(ConfigurationError, match=r"PostgreSQL 14, at least 15 is needed.*CCB_DB_URL"):
        await history._require_server(old)


def test_keys_of_the_reference_without_effect_are_told_with_what_replaces_them(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "uvicorn_workers: 4\nmodel_download_uri: https://example.org\ndisable_custom_model_download: true\n"
        "embedding_chunk_size: 2000\nvectordb:\n  chroma:\n    path: x\n  pgvector:\n"
        "embedding:\n  instructor:\n    model_name: x\n"
    )
    warnings = load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=1).warnings

    for key, instead in (
        ("uvicorn_workers", "APP_ROLE"),
        ("model_download_uri", "context-chat models fetch"),
        ("disable_custom_model_download", "CC_DOWNLOAD_MODELS_FROM_HF=false"),
        ("embedding_chunk_size", "chunk_tokens"),
        ("chroma", "passed over"),
        ("instructor", "'onnx' is used"),
    ):
        assert any(key in warning and instead in " ".join(warnings) for warning in warnings), key


def test_a_key_nobody_knows_stops_the_start_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("log_levle: debug\n")

    with pytest.raises(ConfigurationError, match=r"log_levle.*log_level"):
        load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=1)


async def test_the_clock_of_the_database_is_compared_with_ours(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert abs((await database.clock_ahead()).total_seconds()) < 60

    slow = SimpleNamespace(now=lambda zone: datetime.now(zone) - timedelta(minutes=10))
    monkeypatch.setattr("context_chat_backend.store.database.datetime", slow)
    ahead = (await database.clock_ahead()).total_seconds()

    finding = doctor.clock_finding("database's", ahead)
    assert not finding.well
    assert "the database's clock is 600 s ahead of ours" in finding.said
    assert "NTP" in finding.said


@pytest.mark.parametrize(("seconds", "well"), [(0, True), (3, True), (-90, False), (90, False)])
def test_the_clock_of_nextcloud_is_read_from_its_answers(seconds: int, well: bool) -> None:
    there = datetime.now(UTC) + timedelta(seconds=seconds)
    ahead = doctor._clock_of(httpx.Response(200, headers={"Date": there.strftime("%a, %d %b %Y %H:%M:%S GMT")}))

    assert ahead is not None
    assert doctor.clock_finding("Nextcloud's", ahead).well is well
    assert doctor._clock_of(httpx.Response(200, headers={"Date": "yesterday"})) is None
