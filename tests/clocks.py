# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clock for one process alone, by libfaketime: the program's may be wrong, the database's and the test's go on."""

from __future__ import annotations

from pathlib import Path

import pytest


class OwnClock:
    """The time of day of whatever is started with its `environment`; how long things take is measured rightly."""

    def __init__(self, told: Path, library: Path) -> None:
        """`told` is the file that says how wrong the clock is."""
        self._told = told
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(told),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Within a second it is so far ahead of the right time, or behind it."""
        self._told.write_text(f"{seconds:+d}\n", encoding="ascii")


def library() -> Path | None:
    """Where libfaketime is; None when it is not installed."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def own_clock(folder: Path) -> OwnClock:
    """A clock told by a file in `folder`; skips the test when libfaketime is not installed."""
    found = library()
    if found is None:
        pytest.skip("libfaketime is not installed (package libfaketime)")
    return OwnClock(folder / "clock", found)
