# SPDX-License-Identifier: AGPL-3.0-or-later
"""A local model in a process of its own (`inference/server.py`), which is started, found and replaced here.

Programs of one installation share the process: whoever comes first starts it, under a lock, and the others find its
socket. When it dies, whoever needs it next starts it again; when it dies again and again, the pauses grow.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from context_chat_backend import __version__
from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ConfigurationError, ModelUnavailable
from context_chat_backend.inference.breaker import Breaker
from context_chat_backend.inference.messages import address, receive, send
from context_chat_backend.inference.processes import cause_of_death, error_heard, spawn
from context_chat_backend.logs import get_logger
from context_chat_backend.ports import Vectors

_AT_ONCE = 16
"""Texts per request."""
_LOAD_SECONDS = 600.0
_ANSWER_SECONDS = 600.0
"""A request that takes longer hangs: the process is ended."""
_CLOSE_SECONDS = 3.0
_LOCK_SECONDS = 0.05
_CONNECT_ATTEMPTS = 5
_PEER = struct.Struct("3i")
"""What the kernel says of who is at the other end: process, user, group."""
_log = get_logger(__name__)


@dataclass(frozen=True)
class Served:
    """What the process is to load; see `embedding.build_local`."""

    name: str
    options: Mapping[str, Any]
    models: Path
    threads: int
    download: bool


class SeparateEmbedder:
    """Asks the model process."""

    def __init__(
        self,
        served: Served,
        token_starts: Callable[[str], Sequence[int]],
        *,
        space: EmbeddingSpace | None = None,
        max_tokens: Callable[[], int] | None = None,
    ) -> None:
        """`token_starts` as ports.Embedder has it.

        `space` and `max_tokens` where they can be known without the process; else it is asked in `open()`, and what it
        said is written down, so that later starts do not wait for it.
        """
        self._served = served
        self._token_starts = token_starts
        self._space = space
        self._given_max_tokens = max_tokens
        self._max_tokens = 0
        self._device = "cpu"
        self._folder = served.models / "run"
        told = json.dumps([served.name, dict(served.options), served.threads, __version__], sort_keys=True)
        self._key = hashlib.sha256(told.encode()).hexdigest()[:16]
        self._questions = _Channel()
        self._passages = _Channel()
        self._connecting = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._breaker = Breaker("the embedding model", tolerated=1, first_pause=2.0, longest_pause=120.0)

    async def open(self) -> None:
        """See ports.Embedder."""
        if self._space is not None:
            return
        try:
            self._learn(json.loads(self._written_down.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            await self._connect(self._questions)

    @property
    def device(self) -> str:
        """See ports.Embedder; known when the process was asked for the first time."""
        return self._device

    @property
    def space(self) -> EmbeddingSpace:
        """See ports.Embedder."""
        assert self._space is not None, "open() comes first"
        return self._space

    @property
    def max_tokens(self) -> int:
        """See ports.Embedder."""
        return self._max_tokens if self._given_max_tokens is None else self._given_max_tokens()

    def token_starts(self, text: str) -> Sequence[int]:
        """See ports.Embedder."""
        return self._token_starts(text)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """See ports.Embedder."""
        pieces = [
            await self._ask(self._passages, {"passages": list(texts[start : start + _AT_ONCE])})
            for start in range(0, len(texts), _AT_ONCE)
        ]
        return np.concatenate([np.empty((0, self.space.dimension), dtype=np.float32), *pieces])

    async def embed_question(self, text: str) -> Vectors:
        """See ports.Embedder."""
        vector: Vectors = (await self._ask(self._questions, {"question": text}))[0]
        return vector

    async def close(self) -> None:
        """Leave the process; it ends when nobody else uses it."""
        self._closed = True
        loading = self._process is not None and self._connecting.locked()
        for channel in (self._questions, self._passages):
            channel.close()
        if self._process is not None:
            if loading:
                self._process.kill()
            deadline = time.monotonic() + _CLOSE_SECONDS
            while self._process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_LOCK_SECONDS)

    async def _ask(self, channel: _Channel, request: dict[str, Any]) -> Vectors:
        """The vectors the process answers with. When it dies over it, it is started anew and asked once more."""
        if self._closed:
            raise ModelUnavailable("the program is ending")
        async with channel.lock:
            for last in (False, True):
                with self._breaker.attempt():
                    if not channel.connected:
                        try:
                            await self._connect(channel)
                        except ConfigurationError as error:  # it worked at the start of the program
                            raise ModelUnavailable(str(error)) from None
                    try:
                        async with asyncio.timeout(_ANSWER_SECONDS):
                            answer, data = await channel.ask(request)
                        break
                    except TimeoutError:
                        channel.kill()
                        raise ModelUnavailable("the model process did not answer and was ended") from None
                    except (EOFError, OSError, ValueError):
                        _log.warning("model_process_died", cause=self._cause())
                        if last:
                            raise ModelUnavailable(f"the model process died: {self._cause()}") from None
        if "error" in answer:
            raise error_heard(answer)
        return np.frombuffer(data, dtype=np.float32).reshape(-1, self.space.dimension).copy()

    async def _connect(self, channel: _Channel) -> None:
        """Raises ModelUnavailable, ConfigurationError."""
        async with self._connecting:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with address(self._folder, self._key) as path:
                for _ in range(_CONNECT_ATTEMPTS):
                    try:
                        introduction = await channel.connect(path)
                        break
                    except (OSError, EOFError):  # nobody is there, or it is just ending
                        await asyncio.to_thread(self._start, path)
                else:
                    raise ModelUnavailable("the model process cannot be reached")
        self._learn(introduction)
        self._written_down.write_text(json.dumps(introduction), encoding="utf-8")

    def _learn(self, introduction: dict[str, Any]) -> None:
        """Take over what the process says of itself. Raises ModelUnavailable, KeyError, TypeError."""
        told = dict(introduction["space"])
        space = EmbeddingSpace(**told | {"languages": tuple(told["languages"])})
        if self._space is not None and space != self._space:
            self._written_down.unlink(missing_ok=True)
            raise ModelUnavailable(f"the files of the model '{space.model}' have changed: restart the program")
        self._space = space
        self._max_tokens = int(introduction["max_tokens"])
        self._device = str(introduction["device"])

    @property
    def _written_down(self) -> Path:
        return self._folder / f"{self._key}.json"

    def _start(self, path: str) -> None:
        """Start the process unless another program has just done it. Blocks. Raises as `_connect`."""
        with _locked(self._folder / f"{self._key}.lock", lambda: self._closed):
            with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
                probe.connect(path)
                return
            self._spawn()

    def _spawn(self) -> None:
        served = self._served
        told = {
            "name": served.name, "options": dict(served.options), "models": str(served.models),
            "threads": served.threads, "download": served.download, "folder": str(self._folder), "key": self._key,
        }  # fmt: skip
        self._process = process = spawn("context_chat_backend.inference.server", talking=True)
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        with suppress(BrokenPipeError), process.stdin, process.stdout:
            process.stdin.write(json.dumps(told).encode() + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], _LOAD_SECONDS)
            if not ready:
                process.kill()
                raise ModelUnavailable(f"the embedding model was not loaded within {_LOAD_SECONDS:.0f} seconds")
            said = process.stdout.readline()
        try:
            answer = json.loads(said)
        except ValueError:
            process.wait()
            raise ModelUnavailable(f"the embedding model cannot be loaded: {self._cause()}") from None
        if "error" in answer:
            process.wait()
            raise error_heard(answer)
        _log.info("model_process_started", pid=process.pid, model=answer["space"]["model"], device=answer["device"])

    def _cause(self) -> str:
        """Why the process ended, as far as it can be known, and what helps."""
        if self._process is None:
            return "another program had started it"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return cause_of_death(self._process.returncode)


class _Channel:
    """One connection to the process."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._pid = 0

    @property
    def connected(self) -> bool:
        return self._streams is not None

    async def connect(self, path: str) -> dict[str, Any]:
        """Returns how the process introduces itself. Raises OSError, EOFError."""
        self._streams = reader, writer = await asyncio.open_unix_connection(path)
        peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        self._pid = _PEER.unpack(peer)[0]
        try:
            await send(writer, {"introduce": True})
            return (await receive(reader))[0]
        except BaseException:
            self.close()
            raise

    async def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Raises OSError, EOFError, ValueError; afterwards, and when cancelled, it is no longer connected."""
        assert self._streams is not None
        reader, writer = self._streams
        try:
            await send(writer, request)
            return await receive(reader)
        except BaseException:  # the answer to this request may come later, and must not be taken for another one's
            self.close()
            raise

    def kill(self) -> None:
        """End the process at the other side."""
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@contextmanager
def _locked(file: Path, given_up: Callable[[], bool]) -> Iterator[None]:
    """Alone among the programs of this installation. Raises ModelUnavailable when it takes too long."""
    deadline = time.monotonic() + _LOAD_SECONDS
    with file.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if given_up() or time.monotonic() > deadline:
                    raise ModelUnavailable("another program is still loading the embedding model") from None
                time.sleep(_LOCK_SECONDS)
        yield
