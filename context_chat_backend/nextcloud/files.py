# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files are downloaded when they are indexed, so that the newest bytes are (contract pull-5x 4)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

import httpx

from context_chat_backend.domain import Reason
from context_chat_backend.errors import FileUnreadable, FileUnseen, NextcloudUnavailable, SourceRejected
from context_chat_backend.nextcloud.client import NextcloudClient, refusal_of

_PAUSE_SECONDS = 60.0
_TRIES = 3
"""So often a download that broke off, or is shorter than was listed, is tried. After a cut the rest is asked for; the
companion of today knows no ranges and sends the whole file."""
_SEEKING_SECONDS = 600.0
"""For so long those who may read a file are asked for it one after another; each attempt begins with others."""


class Files:
    """The files of one Nextcloud, each as one of its readers sees it."""

    def __init__(self, client: NextcloudClient, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Longer files are refused while they are read, whatever their listed size. `clock` gives seconds."""
        self._clock = clock
        self._client = client
        self._max_bytes = max_bytes

    async def fetch(self, file_id: str, users: AsyncIterator[str], size: int, to: Path) -> bytes:
        """Write the file to `to`, as the first of `users` who may read it; returns the SHA-256 of its bytes.

        `size` is what was listed, 0 where that is not known: a shorter file is believed when it comes so twice, since
        a storage that fails in the middle looks like the end. Where there are more readers than can be asked in ten
        minutes the others are asked another time. Raises SourceRejected (too large, empty), FileUnseen (by all of
        `users`), FileUnreadable, NextcloudUnavailable.
        """
        found = False
        until = self._clock() + _SEEKING_SECONDS
        tried: set[str] = set()
        async for user in users:
            if self._clock() > until:
                raise FileUnreadable("it has many readers, and none of those asked so far could open it")
            status, digest = await self._fetch(file_id, user, size, to)
            if digest is not None:
                return digest
            found = found or status != 404
            tried.add(user)
        if found:
            raise FileUnreadable("none of its readers could open it")
        raise FileUnseen(frozenset(tried))

    async def _fetch(self, file_id: str, user: str, size: int, to: Path) -> tuple[int, bytes | None]:
        """The status, and the digest where it is 200."""
        short: bytes | None = None
        with to.open("wb") as file:
            coming = _Coming(file, self._max_bytes)
            for left in reversed(range(_TRIES)):
                try:
                    status = await self._download(file_id, user, size, coming)
                except NextcloudUnavailable as error:
                    if left and error.status is None:
                        continue
                    raise
                if status != 200:
                    return status, None
                digest = coming.digest()
                if coming.read >= size or digest == short:
                    if not coming.read:
                        raise SourceRejected(Reason.EMPTY)
                    return status, digest
                short = digest
                coming.begin()
        raise FileUnreadable("it has another length each time: it is being written")

    async def _download(self, file_id: str, user: str, size: int, coming: _Coming) -> int:
        """The status; after a cut only the rest is asked for. Raises SourceRejected, NextcloudUnavailable."""
        path = f"/ocs/v2.php/apps/context_chat/files/{file_id}"
        rest = {"Range": f"bytes={coming.read}-"} if coming.read else {}
        async with self._client.stream(path, {"userId": user}, _PAUSE_SECONDS, rest) as answer:
            if answer.status_code in (404, 422, 500):
                return answer.status_code
            if not (rest and _continues(answer, coming.read, size)):
                coming.begin()
                if rest and answer.status_code in (206, 416):
                    raise NextcloudUnavailable("the file has changed since its download broke off")
                if answer.status_code != 200:
                    raise refusal_of(answer)
            async for piece in answer.aiter_bytes():
                coming.add(piece)
            return 200


def _continues(answer: httpx.Response, read: int, size: int) -> bool:
    """Whether an answer is the rest of a file that is as long as it was listed; else it is the whole of it."""
    return answer.status_code == 206 and answer.headers.get("content-range") == f"bytes {read}-{size - 1}/{size}"


class _Coming:
    """A file as far as it has come."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self.begin()

    def begin(self) -> None:
        """What has come so far is of no use."""
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.read = 0

    def add(self, piece: bytes) -> None:
        """The next piece. Raises SourceRejected when the file is too large."""
        self.read += len(piece)
        if self.read > self._max_bytes:
            raise SourceRejected(Reason.TOO_LARGE)
        self._digest.update(piece)
        self._file.write(piece)

    def digest(self) -> bytes:
        """Of what has come."""
        self._file.flush()
        return self._digest.digest()
