# SPDX-License-Identifier: AGPL-3.0-or-later
"""The disk of the database is full while sources are stored, and is enlarged later."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import pytest

from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from tests.conftest import open_folder
from tests.program import Program, part
from tests.waiting import until

_ROOM_LEFT = 24 * 1024 * 1024
_BATCH = 10
_MOST_BATCHES = 100
_WORDS = 1600
"""A source of so many new words takes more room in chunks, words and vectors than while it waits."""
_PATIENCE = 90.0
_CHUNKS: LiteralString = (
    "SELECT sum(chunk_count), (SELECT count(*) FROM chunk), (SELECT count(*) FROM words) FROM source"
)


class SmallDisk:
    """A disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave little room."""
        free = os.statvfs(self.folder)
        (self.folder / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - _ROOM_LEFT))

    def enlarge(self) -> None:
        """Give it more room, as administrators do while all goes on."""
        subprocess.run(["mount", "-o", "remount,size=1g", str(self.folder)], check=True)


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    folder = open_folder()
    command = ["mount", "-t", "tmpfs", "-o", "size=500m,mode=755", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("this machine lets nobody mount a disk")
    yield SmallDisk(folder)
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


@pytest.fixture
def program(storage: Path, small_disk: SmallDisk) -> Iterator[Program]:
    """The program, whose database lies on the small disk and nothing else."""
    (storage / "config.yaml").write_text("embedding:\n  hashing:\n")
    (storage / "postgres.location").write_text(f"{small_disk.folder}\n")
    with Program(storage) as running:
        yield running


def source(number: int) -> bytes:
    words = " ".join(f"w{number}x{place}" for place in range(_WORDS))
    return part(f"files__default: {number}", f"The house number is {number * 1000}. {words}".encode())


def push_until_refused(program: Program) -> tuple[list[int], list[int]]:
    """Push sources until a push is not acknowledged; those that were, and those of the refused push."""
    acknowledged: list[int] = []
    for first in range(1, _MOST_BATCHES * _BATCH, _BATCH):
        numbers = list(range(first, first + _BATCH))
        answer = program.load(source(number) for number in numbers)
        if answer.status_code != 200:
            assert answer.status_code in (500, 503)
            return acknowledged, numbers
        assert answer.json()["sources_to_retry"] == []
        acknowledged += numbers
    raise AssertionError("the disk was never full")


def push_until_taken(program: Program, numbers: list[int]) -> None:
    """Push again and again, as Nextcloud does."""
    until(lambda: program.load(source(number) for number in numbers).status_code == 200, _PATIENCE)


async def row(storage: Path, query: LiteralString) -> tuple[object, ...] | None:
    """The first row of the program's database, beside the program."""
    server = EmbeddedPostgres(storage)
    database = Database(await server.start(), connections=1)
    try:
        await database.open()
        async with database.transaction() as connection:
            return await (await connection.execute(query)).fetchone()
    finally:
        await database.close()
        await server.stop()


@pytest.mark.slow
async def test_a_full_disk_of_the_database_loses_nothing_and_rejects_nothing(
    storage: Path, small_disk: SmallDisk, program: Program
) -> None:
    program.load([source(0)])
    program.wait_for_indexed(1)
    small_disk.fill()

    acknowledged, refused = push_until_refused(program)
    time.sleep(10)  # it goes on without room: the database ends, and cannot be started
    assert program.process is not None
    assert program.process.poll() is None

    small_disk.enlarge()
    push_until_taken(program, refused)
    everything = [0, *acknowledged, *refused]
    program.wait_for_indexed(len(everything), seconds=_PATIENCE)

    assert await row(storage, "SELECT count(*), array_agg(DISTINCT state::text) FROM source") == (
        len(everything),
        ["indexed"],
    )
    counts = await row(storage, _CHUNKS)
    assert counts is not None
    assert len(set(counts)) == 1
    for number in (0, acknowledged[0], acknowledged[-1], refused[-1]):
        assert f"files__default: {number}" in program.search("alice", f"w{number}x5")
