# SPDX-License-Identifier: AGPL-3.0-or-later
"""A local model in a process of its own (`server.py`), which is started, found and replaced here.

Programs of one installation share the process: whoever comes first starts it, under a lock, and the others find its
socket. When it dies, whoever needs it next starts it again.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from context_chat_backend import __version__
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.inference.messages import address, receive, send
from context_chat_backend.inference.processes import cause_of_death, error_heard, spawn
from context_chat_backend.logs import get_logger

_LOAD_SECONDS = 600.0
_CLOSE_SECONDS = 3.0
_LOCK_SECONDS = 0.05
_CONNECT_ATTEMPTS = 5
_PEER = struct.Struct("3i")
"""What the kernel says of who is at the other end: process, user, group."""
_log = get_logger(__name__)


@dataclass(frozen=True)
class Served:
    """What a process is to load; see `embedding.build_local` and `language.engine.build_engine`."""

    name: str
    options: Mapping[str, Any]
    models: Path
    threads: int
    download: bool


@dataclass
class Connection:
    """An open connection to the process."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pid: int

    def kill(self) -> None:
        """End the process at the other side, for everybody: it hangs."""
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Leave it."""
        self.writer.close()


class SharedProcess:
    """The process of one model, as one program sees it."""

    def __init__(self, served: Served, module: str, what: str) -> None:
        """`module` is what runs there; `what` the model is called in errors."""
        self._served = served
        self._module = module
        self._what = what
        self.folder = served.models / "run"
        told = json.dumps([module, served.name, dict(served.options), served.threads, __version__], sort_keys=True)
        self.key = hashlib.sha256(told.encode()).hexdigest()[:16]
        self._connecting = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.closed = False

    async def connect(self) -> tuple[Connection, dict[str, Any]]:
        """A connection, and how the model introduces itself; the process is started where there is none.

        Raises ModelUnavailable, ConfigurationError.
        """
        async with self._connecting:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with address(self.folder, self.key) as path:
                for _ in range(_CONNECT_ATTEMPTS):
                    try:
                        return await _introduced(path)
                    except (OSError, EOFError):  # nobody is there, or it is just ending
                        await asyncio.to_thread(self._start, path)
        raise ModelUnavailable(f"the process of {self._what} cannot be reached")

    async def close(self) -> None:
        """Wait for its end, once all connections are closed. It ends when nobody else uses it."""
        self.closed = True
        if self._process is not None:
            if self._connecting.locked():  # it is still loading
                self._process.kill()
            deadline = time.monotonic() + _CLOSE_SECONDS
            while self._process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_LOCK_SECONDS)

    def cause(self) -> str:
        """Why the process ended, as far as it can be known, and what helps. Blocks for a second at most."""
        if self._process is None:
            return "another program had started it"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return cause_of_death(self._process.returncode)

    def _start(self, path: str) -> None:
        """Start the process unless another program has just done it. Blocks. Raises as `connect`."""
        with self._alone():
            with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
                probe.connect(path)
                return
            self._spawn()

    def _spawn(self) -> None:
        served = self._served
        told = {
            "name": served.name, "options": dict(served.options), "models": str(served.models),
            "threads": served.threads, "download": served.download, "folder": str(self.folder), "key": self.key,
        }  # fmt: skip
        self._process = process = spawn(self._module)
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        with suppress(BrokenPipeError), process.stdin, process.stdout:
            process.stdin.write(json.dumps(told).encode() + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], _LOAD_SECONDS)
            if not ready:
                process.kill()
                raise ModelUnavailable(f"{self._what} was not loaded within {_LOAD_SECONDS:.0f} seconds")
            said = process.stdout.readline()
        try:
            answer = json.loads(said)
        except ValueError:
            process.wait()
            raise ModelUnavailable(f"{self._what} cannot be loaded: {self.cause()}") from None
        if "error" in answer:
            process.wait()
            raise error_heard(answer)
        _log.info("model_process_started", pid=process.pid, serves=self._what, model=served.name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Alone among the programs of this installation. Raises ModelUnavailable when it takes too long."""
        deadline = time.monotonic() + _LOAD_SECONDS
        with (self.folder / f"{self.key}.lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self.closed or time.monotonic() > deadline:
                        raise ModelUnavailable(f"another program is still loading {self._what}") from None
                    time.sleep(_LOCK_SECONDS)
            yield


async def _introduced(path: str) -> tuple[Connection, dict[str, Any]]:
    """Raises OSError, EOFError."""
    reader, writer = await asyncio.open_unix_connection(path)
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    try:
        await send(writer, {"introduce": True})
        introduction, _ = await receive(reader)
    except BaseException:
        writer.close()
        raise
    return Connection(reader, writer, _PEER.unpack(peer)[0]), introduction
