# SPDX-License-Identifier: AGPL-3.0-or-later
"""Further processes that serve at the same ports; they have the database in common, and nothing else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from context_chat_backend.cli.start import ROOT
from context_chat_backend.logs import get_logger

_AGAIN_SECONDS = 1.0
_STOP_SECONDS = 20.0
_log = get_logger(__name__)


async def keep_working(count: int, arguments: Sequence[str]) -> None:
    """Keep so many processes running until cancelled; one that ends by itself is followed by another."""
    await asyncio.gather(*(_keep_one(arguments) for _ in range(count)))


async def parent_gone() -> None:
    """Return when the process that started this one has ended: nobody would stop this one any more."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _keep_one(arguments: Sequence[str]) -> None:
    while True:
        # A session of its own, so that Ctrl-C reaches it through us alone.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "main.py"),
            "serve",
            "--worker",
            *arguments,
            stdin=asyncio.subprocess.PIPE,  # its end is ours
            start_new_session=True,
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _stop(process)
            raise
        _log.error("worker_ended", code=code)
        await asyncio.sleep(_AGAIN_SECONDS)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
