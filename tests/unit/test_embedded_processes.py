# SPDX-License-Identifier: AGPL-3.0-or-later
"""The lock files of a database server that is dead."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from context_chat_backend.store.embedded_processes import disown

LINES = "780\n/data\n1785000000\n5432\n"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(LINES)
    lock.chmod(0o600)
    return lock


def test_it_names_no_process_any_more_and_keeps_its_other_lines_and_its_rights(lock: Path) -> None:
    disown(lock)

    first, *others = lock.read_text().splitlines()
    assert int(first) > 2**22
    assert others == LINES.splitlines()[1:]
    assert lock.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in lock.parent.iterdir()] == [lock.name]


def test_where_there_is_no_room_it_stays_as_it_was(lock: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            disown(lock)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert lock.read_text() == LINES
    assert [path.name for path in lock.parent.iterdir()] == [lock.name]


def test_an_empty_one_goes_for_no_server_would_start_beside_it(lock: Path) -> None:
    lock.write_text("")

    disown(lock)

    assert not lock.exists()


def test_none_is_needed(tmp_path: Path) -> None:
    disown(tmp_path / "postmaster.pid")

    assert list(tmp_path.iterdir()) == []
