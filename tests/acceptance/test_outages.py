# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the program needs is gone for a while: it says so, and goes on by itself when it is back."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from context_chat_backend.store.embedded import EmbeddedPostgres
from tests.conftest import open_folder
from tests.program import Program, part
from tests.waiting import PATIENCE, until

LARGE = 3_000_000


def notes(first: int, last: int) -> list[bytes]:
    return [part(f"files__default: {n}", f"Note {n}: the locker is {1000 + n}.".encode()) for n in range(first, last)]


def push_until_taken(program: Program, parts: list[bytes], seconds: float = PATIENCE) -> None:
    """Push as the companion does: again while the backend says that it cannot."""

    def is_taken() -> bool:
        answer = program.load(parts)
        assert answer.status_code in (200, 500, 503), answer.text
        return answer.status_code == 200

    until(is_taken, seconds)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    folder = open_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_a_database_that_is_stopped_and_started_under_the_program_costs_nothing(
    storage: Path, server_folder: Path
) -> None:
    server = EmbeddedPostgres(server_folder)
    url = asyncio.run(server.start())
    try:
        with Program(storage, {"CCB_DB_URL": url}) as program:
            program.load(notes(0, 40)).raise_for_status()
            asyncio.run(server.stop())
            assert program.load(notes(40, 80)).status_code == 500  # acknowledged is what is stored
            assert program.client.get("/heartbeat").status_code == 200
            asyncio.run(server.start())
            push_until_taken(program, notes(40, 80))
            program.wait_for_indexed(80)
            found = program.search("alice", "locker", limit=100)
            assert sorted(found) == sorted(f"files__default: {n}" for n in range(80))
    finally:
        asyncio.run(server.stop())


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)])
    if done.returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts disks")
def test_a_disk_that_is_full_while_bodies_arrive_refuses_them_until_there_is_room(storage: Path) -> None:
    large = part("files__default: 1", b"A sentence about the lighthouse.\n" * (LARGE // 33))
    with small_disk(storage / "tmp", "1m"), Program(storage) as program:
        refused = program.load([large])
        assert refused.status_code == 503
        assert refused.headers["cc-retry"] == "true"
        assert list((storage / "tmp").rglob("part-*")) == []
        program.load(notes(2, 4)).raise_for_status()  # what needs no room there goes on
        subprocess.run(["mount", "-o", "remount,size=64m", str(storage / "tmp")], check=True)
        program.load([large]).raise_for_status()
        program.wait_for_indexed(3)
        assert "files__default: 1" in program.search("alice", "lighthouse")
