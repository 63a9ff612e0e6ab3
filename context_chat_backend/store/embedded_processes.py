# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which processes of the bundled PostgreSQL live, and who could see them: ids in files may be strangers' by now."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_NO_PROCESS = 2**22 + 1
"""A process id above the largest Linux gives."""


def living(data: Path) -> list[int]:
    """The ids of the living processes of the server with this data folder, as far as they can be seen from here."""
    return [
        int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit() and _works_in(process, data)
    ]


def surroundings() -> str:
    """The start of this machine, and the container: whoever reads the same sees the same processes."""
    started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{started} {Path('/proc/self/ns/pid').stat().st_ino}\n"


def disown(lock: Path) -> None:
    """Let a lock file of a server that is dead name no process.

    The id in it may be a zombie's, where nobody collects dead processes, or a stranger's, after a restart: PostgreSQL
    would believe it alive for ever. The other lines stay: by them it finds processes that outlived their server. An
    empty one, which a full disk or a failure of power left, it would never start beside: that one goes. Raises OSError,
    with the file as it was, where the disk is full.
    """
    with contextlib.suppress(FileNotFoundError):
        if not (text := lock.read_text(encoding="utf-8")).strip():
            lock.unlink()
            return
        _, newline, rest = text.partition("\n")
        _replace(lock, f"{_NO_PROCESS}{newline}{rest}")


def _replace(file: Path, text: str) -> None:
    """Give a file another text, whole or not at all; rights stay, and the owner where we may give it."""
    before, fresh = file.stat(), file.with_name(f"{file.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(before.st_mode & 0o777)
        with contextlib.suppress(PermissionError):  # a group that is not ours
            os.chown(fresh, before.st_uid, before.st_gid)
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)


def _works_in(process: Path, data: Path) -> bool:
    """Whether a process, a folder of /proc, is PostgreSQL with this data folder; it works there. Zombies do not."""
    try:
        # Names are cut off, also within a letter.
        return (process / "comm").read_bytes().startswith(b"postgres") and (process / "cwd").samefile(data)
    except OSError:
        return False
