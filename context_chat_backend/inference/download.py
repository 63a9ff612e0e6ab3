# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fetches the files of a model: what breaks off goes on where it stopped, and only what has the right checksum counts.

Files arrive in a folder beside the model's own, which appears when all of them are there.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from context_chat_backend.errors import ModelNotFetched
from context_chat_backend.inference.catalogue import RemoteFile, RemoteModel
from context_chat_backend.logs import get_logger

SERVER = "https://huggingface.co"
Progress = Callable[[int, int], None]
"""Is told the bytes that are there and the bytes of the whole."""

_PIECE = 1024 * 1024
_CONNECT_SECONDS = 10.0
_ATTEMPTS = 4
"""In a row without a single new byte."""
_PAUSE_SECONDS = 1.0
_LEFT_FREE = 512 * 1024**2
"""Bytes that are left on the disk for everything else."""
_UNKNOWN_SIZE_LIMIT = 16 * 1024**2
"""A file whose size is not known beforehand is small."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Transfer:
    """How files are fetched."""

    server: str = SERVER
    stall_seconds: float = 30.0
    """A connection that is silent for so long is given up, and made anew."""


_USUAL = Transfer()


def is_there(model: RemoteModel, models: Path) -> bool:
    """Whether the model's folder holds all files in the right size; checksums are for `wrong_files`."""
    folder = models / model.name
    return all(
        (folder / file.path).is_file() and file.size in (None, (folder / file.path).stat().st_size)
        for file in model.files
    )


def wrong_files(model: RemoteModel, models: Path) -> list[str]:
    """The files that are missing or have another checksum than they must. Reads them all."""
    return [file.path for file in model.files if not _is_right(models / model.name / file.path, file)]


async def fetch(
    model: RemoteModel, models: Path, progress: Progress = lambda _done, _all: None, transfer: Transfer = _USUAL
) -> None:
    """Bring the model to its folder in `models`. What is there and right is left alone.

    Raises ModelNotFetched with the cause and the cure; what has arrived then serves the next attempt.
    """
    coming = models / f".{model.name}.coming"
    try:
        coming.mkdir(parents=True, exist_ok=True)
        with _alone(coming.with_suffix(".lock")):
            await _fetch(model, models / model.name, coming, progress, transfer)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            shutil.rmtree(coming, ignore_errors=True)  # the database needs the room more
            raise ModelNotFetched(f"{model.name}: the disk of {models} is full: make room") from error
        raise ModelNotFetched(f"{model.name}: {models} cannot be written to ({error.strerror})") from error


async def _fetch(model: RemoteModel, folder: Path, coming: Path, progress: Progress, transfer: Transfer) -> None:
    wanted = [file for file in model.files if not await asyncio.to_thread(_is_right, folder / file.path, file)]
    _check_room(model, wanted, coming)
    there = model.size - sum(file.size or 0 for file in wanted)
    timeout = httpx.Timeout(transfer.stall_seconds, connect=_CONNECT_SECONDS)
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=True) as client:
        for file in wanted:
            url = model.url(file, transfer.server)
            before = there
            await _Coming(client, url, file, coming / file.path).fetch(
                lambda done, before=before: progress(before + done, model.size)  # type: ignore[misc]
            )
            there += file.size or 0
    await asyncio.to_thread(_put_in_place, wanted, coming, folder)
    _log.info("model_fetched", model=model.name, commit=model.commit)


def _put_in_place(files: list[RemoteFile], coming: Path, folder: Path) -> None:
    for file in files:  # the largest is last: until then the folder is not taken for the model
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (coming / file.path).replace(folder / file.path)
    shutil.rmtree(coming)


def _check_room(model: RemoteModel, wanted: list[RemoteFile], coming: Path) -> None:
    arrived = sum(path.stat().st_size for path in coming.rglob("*") if path.is_file())
    needed = sum(file.size or 0 for file in wanted) - arrived
    free = shutil.disk_usage(coming).free
    if wanted and free < needed + _LEFT_FREE:
        raise ModelNotFetched(
            f"{model.name}: {needed / 1024**2:.0f} MiB are to come and {free / 1024**2:.0f} MiB are free in "
            f"{coming.parent}, of which {_LEFT_FREE / 1024**2:.0f} are kept: make room"
        )


class _Coming:
    """One file on its way."""

    def __init__(self, client: httpx.AsyncClient, url: str, file: RemoteFile, target: Path) -> None:
        self._client = client
        self._url = url
        self._file = file
        self._target = target
        self._part = target.with_name(f"{target.name}.part")

    async def fetch(self, progress: Callable[[int], None]) -> None:
        """Raises ModelNotFetched, OSError."""
        if await asyncio.to_thread(_is_right, self._target, self._file):
            return
        self._target.parent.mkdir(parents=True, exist_ok=True)
        for last in (False, True):
            await self._complete(progress)
            if await asyncio.to_thread(_is_right, self._part, self._file):
                self._part.replace(self._target)
                return
            self._part.unlink()  # a transfer may have gone wrong once, the file at the server is wrong for good
            if last:
                raise ModelNotFetched(
                    f"{self._url}: the file has another checksum than the one this program knows, and is not used"
                )

    async def _complete(self, progress: Callable[[int], None]) -> None:
        """Go on until the server says that was all."""
        idle = 0
        while True:
            before = self._length()
            try:
                await self._transfer(progress)
                return
            except httpx.HTTPError as error:
                idle = 0 if self._length() > before else idle + 1
                cause = type(error).__name__
                if isinstance(error, httpx.HTTPStatusError):
                    cause = f"status {error.response.status_code}"
                    if error.response.status_code in (400, 401, 403, 404, 410):
                        idle = _ATTEMPTS
                elif isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and before == 0:
                    idle = _ATTEMPTS  # a machine without network is to start at once
                if idle >= _ATTEMPTS:
                    raise ModelNotFetched(
                        f"{self._url} cannot be fetched ({cause}): is this machine allowed to reach it?"
                    ) from None
                _log.info("model_transfer_goes_on", file=self._file.path, arrived=self._length(), cause=cause)
                await asyncio.sleep(_PAUSE_SECONDS * idle)

    async def _transfer(self, progress: Callable[[int], None]) -> None:
        """One connection. Raises httpx.HTTPError when it breaks or stalls."""
        start = self._length()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        async with self._client.stream("GET", self._url, headers=headers) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # all is there, or more: the checksum tells
            answer.raise_for_status()
            goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
            limit = self._file.size or _UNKNOWN_SIZE_LIMIT
            with self._part.open("ab" if goes_on else "wb") as part:
                async for piece in answer.aiter_bytes(_PIECE):
                    if part.tell() + len(piece) > limit:
                        raise ModelNotFetched(f"{self._url}: the file is larger than it may be, and is not used")
                    await asyncio.to_thread(_write, part, piece)
                    progress(part.tell())

    def _length(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0


def _write(part: IO[bytes], piece: bytes) -> None:
    part.write(piece)
    part.flush()


def _is_right(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or file.size not in (None, path.stat().st_size):
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelNotFetched(f"{lock.parent}: another program is fetching this model: wait for it") from None
        yield
