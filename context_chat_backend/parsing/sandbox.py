# SPDX-License-Identifier: AGPL-3.0-or-later
"""Parsing in processes that may die: a file that crashes or stalls its parser is rejected alone."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from concurrent.futures import TimeoutError as ParserTimeout
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.parse import parse

_TASKS_PER_PROCESS = 200
"""After so many files a process is replaced: what a parser leaks goes with it."""
_SET_PARENT_DEATH_SIGNAL = 1
_STOP_SECONDS = 5.0
_ARENA_MAX = -8
"""mallopt's name for the number of heaps: one for each thread, as is usual, fills the address space on many cores."""


class Sandbox:
    """A pool of parser processes."""

    def __init__(
        self,
        processes: int,
        *,
        timeout_seconds: float = 120.0,
        memory_bytes: int = 2 * 1024**3,
        reader: Callable[[Path, str], Document] = parse,
    ) -> None:
        """At most `processes` files are parsed at once, each within the given time and address space.

        `reader` is what the processes run: a function at module level.
        """
        self._processes = processes
        self._timeout_seconds = timeout_seconds
        self._memory_bytes = memory_bytes
        self._reader = reader
        self._pool: ProcessPool | None = None

    async def start(self) -> None:
        """Make the pool; its processes start with the first file."""
        self._pool = ProcessPool(
            max_workers=self._processes,
            max_tasks=_TASKS_PER_PROCESS,
            initializer=_confine,
            initargs=(self._memory_bytes, os.getpid()),
            context=multiprocessing.get_context("spawn"),
        )

    async def parse(self, content: Path, media_type: str, title: str) -> Document:
        """The document in the file `content`. Raises SourceRejected."""
        del title
        assert self._pool is not None, "start() comes first"
        future = self._pool.schedule(_outcome, args=(self._reader, content, media_type), timeout=self._timeout_seconds)
        try:
            outcome: Document | Reason = await asyncio.wrap_future(future)
        except (ParserTimeout, TimeoutError):
            raise SourceRejected(Reason.PARSER_TIMEOUT) from None
        except (ProcessExpired, MemoryError):
            raise SourceRejected(Reason.PARSER_DIED) from None
        if isinstance(outcome, Reason):
            raise SourceRejected(outcome)
        return outcome

    async def close(self) -> None:
        """Stop the processes, whatever they are doing."""
        if self._pool is not None:
            self._pool.stop()
            with contextlib.suppress(TimeoutError):  # what does not stop in time dies with this process
                await asyncio.to_thread(self._pool.join, _STOP_SECONDS)


def _outcome(reader: Callable[[Path, str], Document], content: Path, media_type: str) -> Document | Reason:
    """What one file gave. Any fault of a parser means that the file cannot be read; others go on.

    A fault of the machine (OSError) is no verdict on the file: it passes.
    """
    try:
        return reader(content, media_type)
    except SourceRejected as rejection:
        return rejection.reason
    except MemoryError:
        return Reason.PARSER_DIED
    except OSError:
        raise
    except Exception:
        return Reason.DAMAGED
    except BaseException:  # a panic of the library, which is written in Rust; it cannot be sent as it is
        return Reason.PARSER_DIED


def _confine(memory_bytes: int, parent: int) -> None:
    """Limit this process, detach it from the terminal, silence it, and let it die with the program.

    What a library prints about a file may quote it, and users' content is never logged.
    """
    with contextlib.suppress(OSError):
        os.setsid()
    c_library = ctypes.CDLL(None)
    c_library.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    c_library.mallopt(_ARENA_MAX, 2)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)
