# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs of PostgreSQL, which are run as whom a server's files belong to."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


async def run_as(owner: tuple[int, int] | None, program: Path, *arguments: str, lines: str = "") -> str | None:
    """Run a program as `owner` (user and group id; None: ourselves), with `lines` as its input, out of reach of Ctrl-C.

    Returns what it said where it failed, else None. Raises OSError where it cannot be started.
    """
    # In a thread: event loops that are not Python's own cannot start a process as somebody else.
    return await asyncio.to_thread(_run, owner, [str(program), *arguments], lines)


def _run(owner: tuple[int, int] | None, command: Sequence[str], lines: str) -> str | None:
    user, group = owner or (None, None)
    # A file, not a pipe: a server that is started inherits it and would keep a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        ended = subprocess.run(  # noqa: S603 - the programs of PostgreSQL that we found
            command, input=lines.encode(), stdout=output, stderr=output, start_new_session=True, cwd="/",
            env=_ENVIRONMENT, user=user, group=group, extra_groups=None if owner is None else [],
        )  # fmt: skip
        output.seek(0)
        return output.read().decode("utf-8", "replace") if ended.returncode else None
