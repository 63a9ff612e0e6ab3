# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much memory the processes of a running program use."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

_PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """The process and all below it, but PostgreSQL's."""
    parents: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                name, _, rest = (folder / "stat").read_text().rpartition(")")
            except OSError:  # it has ended meanwhile
                continue
            if not name.endswith("(postgres"):
                parents.setdefault(int(rest.split()[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def used_bytes(pids: list[int]) -> int:
    """Memory of all together, what they share counted once (PSS)."""
    used = 0
    for pid in pids:
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        used += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return used


class Watch:
    """The most memory the program uses while this is entered."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.most = max(self.most, used_bytes(descendants(self._pid)))
