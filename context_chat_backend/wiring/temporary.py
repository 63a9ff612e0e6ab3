# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder of its own for each process, for users' bytes that pass through; what a killed one left there is removed.

A process holds a lock on its folder, which the kernel takes from it when it dies.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "lock"


@contextmanager
def temporary_folder(storage: Path) -> Iterator[Path]:
    """A folder below `tmp/` of the storage, removed at the end. Raises OSError."""
    folder = storage / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as alone:  # nobody takes a folder for abandoned whose lock is about to be taken
        fcntl.flock(alone, fcntl.LOCK_EX)
        for left in folder.iterdir():
            if left.name != _LOCK and not _is_in_use(left):
                _remove(left)
        own = Path(tempfile.mkdtemp(dir=folder, prefix="process-"))
        lock = (own / _LOCK).open("a")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        lock.close()


def _is_in_use(folder: Path) -> bool:
    """Whether a living process has it; what an earlier version left has no lock."""
    try:
        with (folder / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _remove(left: Path) -> None:
    if left.is_dir():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)
