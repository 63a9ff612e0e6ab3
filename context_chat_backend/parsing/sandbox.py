# SPDX-License-Identifier: AGPL-3.0-or-later
"""Parsing in processes that may die: a file that crashes or stalls its parser is rejected alone.

The processes are kept from everything but the file they read (confinement.py). Their number, the time a file may take
and the memory of all of them together are limited here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from context_chat_backend.domain import Document, Location, Part, Reason
from context_chat_backend.errors import ParserKilled, SourceRejected
from context_chat_backend.limits import Limits
from context_chat_backend.logs import get_logger
from context_chat_backend.parsing.confinement import Wall
from context_chat_backend.parsing.parse import parse
from context_chat_backend.parsing.worker import FRAME

_FILES_PER_PROCESS = 2000
"""After so many files a process is replaced: what a parser leaks goes with it. Its start costs as much as 300 texts."""
_KEPT_BYTES = 160 * 1024**2
"""A process that holds more than this after a file is replaced."""
_ORDINARY_BYTES = 96 * 1024**2
"""What an honest file may take, however many are read at once."""
_FRAME_BYTES_PER_CHARACTER = 5
_LEAST_FRAME_BYTES = 64 * 1024
_WATCH_SECONDS = 0.05
_START_SECONDS = 30.0
_ENVIRONMENT = {"LANG": "C.UTF-8", "HOME": "/nonexistent", "MALLOC_ARENA_MAX": "2"}
"""All a parser process is told: nothing of the program's environment, which holds secrets."""
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from context_chat_backend.parsing import worker; "
    "worker.serve(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5], sys.argv[6:])"
)
_ROOT = Path(__file__).resolve().parents[2]
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_USUAL = Limits()
_log = get_logger(__name__)


class Sandbox:
    """A pool of parser processes."""

    def __init__(
        self,
        processes: int,
        folder: Path,
        *,
        limits: Limits = _USUAL,
        total_memory_bytes: int = 900 * 1024**2,
        reader: Callable[[bytes, str], Document] = parse,
        languages: Sequence[str] = (),
    ) -> None:
        """At most `processes` files are parsed at once, each within `limits`.

        `folder` takes what libraries unpack of themselves before they are confined; nobody else may write there.

        When all processes together use more than `total_memory_bytes`, idle ones are stopped, then the largest; on
        machines where many are at work it is as much as so many ordinary files need. `reader` is what they run: a
        function at module level. `languages` are those of text in pictures, in the names of Tesseract; none: those
        that are installed.
        """
        self._folder = folder
        self._timeout_seconds = limits.file_seconds
        self._limits = limits
        self._total_memory_bytes = max(total_memory_bytes, processes * _ORDINARY_BYTES)
        self._arguments = (json.dumps(asdict(limits)), f"{reader.__module__}:{reader.__qualname__}", *languages)
        self._free = asyncio.Semaphore(processes)
        self._recognising = asyncio.Lock()
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._watch: asyncio.Task[None] | None = None
        self._busy = asyncio.Event()

    async def start(self) -> None:
        """Begin to watch the processes; each starts with the first file for which none is free."""
        self._unpacked = await asyncio.to_thread(tempfile.mkdtemp, dir=self._folder, prefix="parsers-")
        self._watch = asyncio.create_task(self._watch_memory())

    async def parse(self, content: Path, media_type: str, title: str) -> Document:
        """The document in the file `content`.

        Raises SourceRejected; ParserKilled when the process died of it or had to be stopped.
        """
        del title
        assert self._watch is not None, "start() comes first"
        with content.open("rb") as file:
            async with self._free:
                return await self._parse(file.fileno(), media_type)

    async def missing_walls(self) -> frozenset[Wall]:
        """What parsers are not kept from on this machine, for `doctor`."""
        async with self._free:
            process = await self._take()
            self._idle.append(process)
            return frozenset(Wall) - process.walls

    async def close(self) -> None:
        """Stop the processes, whatever they are doing."""
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(process.stop() for process in self._all))
        self._all.clear()
        if self._watch is not None:
            await asyncio.to_thread(shutil.rmtree, self._unpacked, ignore_errors=True)

    async def _parse(self, file: int, media_type: str) -> Document:
        process = await self._take()
        self._busy.set()
        is_fit = recognises = False

        async def await_turn() -> None:
            """Pictures are read one file at a time; waiting for others takes none of a file's time."""
            nonlocal recognises
            if not recognises:
                limit.reschedule(None)
                await self._recognising.acquire()
                recognises = True
                limit.reschedule(asyncio.get_running_loop().time() + self._timeout_seconds)

        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                document = await process.parse(file, media_type, await_turn)
            is_fit = True
            return document
        except TimeoutError:
            raise ParserKilled(Reason.PARSER_TIMEOUT) from None
        except SourceRejected as rejection:
            is_fit = not isinstance(rejection, ParserKilled)
            raise
        finally:
            if recognises:
                self._recognising.release()
            if is_fit and process.files < _FILES_PER_PROCESS and process.resident_bytes() < _KEPT_BYTES:
                self._idle.append(process)
            else:
                await asyncio.shield(self._drop(process))

    async def _drop(self, process: _Process) -> None:
        self._all.discard(process)
        await process.stop()

    async def _take(self) -> _Process:
        while self._idle:
            if (idle := self._idle.pop()).lives:
                return idle
            await self._drop(idle)
        process = _Process(self._limits, self._arguments, self._unpacked)
        self._all.add(process)
        try:
            await process.start()
        except BaseException:
            await asyncio.shield(self._drop(process))
            raise
        if missing := set(Wall) - process.walls:
            _log.warning("parser_not_confined", open=sorted(missing))
        return process

    async def _watch_memory(self) -> None:
        while True:
            await self._busy.wait()
            sizes = {process: process.resident_bytes() for process in self._all if not process.is_stopped}
            if sum(sizes.values()) > self._total_memory_bytes:
                if self._idle:
                    await self._drop(self._idle.pop())
                else:
                    max(sizes, key=lambda process: sizes[process]).kill_for_memory()
            if len(self._idle) == len(self._all):
                self._busy.clear()
            await asyncio.sleep(_WATCH_SECONDS)


class _Process:
    """One parser process and the connection to it."""

    def __init__(self, limits: Limits, arguments: Sequence[str], folder: str) -> None:
        self.files = 0
        self.walls: frozenset[Wall] = frozenset()
        self._limits = limits
        self._arguments = arguments
        self._folder = folder
        self.is_stopped = False
        """Whether it is on its way out, because it used too much memory."""

    async def start(self) -> None:
        """Start it and wait until it is confined. Raises OSError when that cannot be."""
        self._link, theirs = socket.socketpair()
        with theirs:
            arguments = (_ROOT, theirs.fileno(), os.getpid(), *self._arguments)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-B", "-c", _START, *map(str, arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,  # what a library prints about a file may quote it
                stderr=asyncio.subprocess.DEVNULL,
                env=_ENVIRONMENT | {"TMPDIR": self._folder, "KREUZBERG_CACHE_DIR": self._folder},
                pass_fds=(theirs.fileno(),),
                start_new_session=True, cwd="/",
            )  # fmt: skip
        self._replies, self._writer = await asyncio.open_connection(sock=self._link)
        try:
            async with asyncio.timeout(_START_SECONDS):
                self.walls = frozenset(map(Wall, (await self._receive())["walls"]))
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, KeyError, ValueError) as error:
            raise OSError("a parser process does not start") from error

    async def parse(self, file: int, media_type: str, await_turn: Callable[[], Awaitable[None]]) -> Document:
        """The document in an open file; `await_turn` comes before pictures in it are read.

        Raises SourceRejected; OSError for a fault of the machine.
        """
        self.files += 1
        try:
            socket.send_fds(self._link, [media_type[:1000].encode() or b" "], [file])
            return await self._document(await_turn)
        except (asyncio.IncompleteReadError, ConnectionError):
            reason = Reason.PARSER_MEMORY if self.is_stopped else Reason.PARSER_DIED
            raise ParserKilled(reason) from None
        except (KeyError, TypeError, ValueError):  # it is no longer what it was started as
            raise ParserKilled(Reason.PARSER_DIED) from None

    @property
    def lives(self) -> bool:
        """False: something else has ended it. Its connection says so before the exit code is known here."""
        try:
            self._link.recv(1, socket.MSG_PEEK)
        except BlockingIOError:  # open, and nothing said: what it should be between files
            return self._process.returncode is None
        except OSError:
            return False
        return False

    def resident_bytes(self) -> int:
        """Its memory; none when it has ended."""
        try:
            statistics = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()
        except (OSError, AttributeError):
            return 0
        return (int(statistics[1]) - int(statistics[2])) * _PAGE_BYTES

    def kill_for_memory(self) -> None:
        """Stop it because it, or all together, use too much memory."""
        self.is_stopped = True
        self._kill()

    async def stop(self) -> None:
        """Stop it, whatever it is doing, and wait until it is gone."""
        if hasattr(self, "_writer"):
            self._writer.close()
        if hasattr(self, "_process"):
            self._kill()
            await self._process.wait()

    def _kill(self) -> None:
        """Process.kill() would take the exit code away from the thread that waits for it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def _document(self, await_turn: Callable[[], Awaitable[None]]) -> Document:
        parts: list[Part] = []
        characters = 0
        while True:
            reply = await self._receive()
            if "parts" in reply:
                parts += map(_part, reply["parts"])
                characters += sum(len(part.text) for part in parts[len(parts) - len(reply["parts"]) :])
                if characters > self._limits.file_characters or len(parts) > self._limits.file_parts:
                    raise ValueError("more than a reader may send")
            elif "waits" in reply:
                await await_turn()
                self._writer.write(b".")
            elif "rejected" in reply:
                raise SourceRejected(Reason(reply["rejected"]))
            elif "fault" in reply:
                raise OSError(int(reply["fault"]), os.strerror(int(reply["fault"])))
            elif "died" in reply:
                raise ParserKilled(Reason.PARSER_DIED)
            else:
                return Document(tuple(parts), _text(reply["title"]), _text(reply["parser"]))

    async def _receive(self) -> dict[str, Any]:
        (length,) = FRAME.unpack(await self._replies.readexactly(FRAME.size))
        if length > _FRAME_BYTES_PER_CHARACTER * self._limits.file_characters + _LEAST_FRAME_BYTES:
            raise ValueError("a message is too long")
        message = json.loads(await self._replies.readexactly(length))
        if not isinstance(message, dict):
            raise TypeError("a message is no object")
        return message


def _part(told: dict[str, Any]) -> Part:
    """A part as a process tells it. Raises KeyError, TypeError, ValueError for what is none."""
    location = told["location"]
    page, slide, sheet, heading = (location[name] for name in ("page", "slide", "sheet", "heading"))
    if not isinstance(told["text"], str):
        raise TypeError("text is no string")
    return Part(
        told["text"],
        Location(
            page=None if page is None else int(page),
            sheet=_text(sheet),
            slide=None if slide is None else int(slide),
            heading=_text(heading),
        ),
        bool(told["rows"]),
    )


def _text(told: object) -> str | None:
    return None if told is None else str(told)
