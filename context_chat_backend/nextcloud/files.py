# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files are downloaded when they are indexed, so that the newest bytes are (contract pull-5x 4)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from context_chat_backend.domain import Reason
from context_chat_backend.errors import FileUnreadable, FileUnseen, NextcloudUnavailable, SourceRejected
from context_chat_backend.nextcloud.client import NextcloudClient, refusal_of

_PAUSE_SECONDS = 60.0
_TRIES = 3
"""So often a download that broke off, or is shorter than was listed, begins anew: the route knows no ranges."""
_PIECE = 256 * 1024
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
        for left in reversed(range(_TRIES)):
            try:
                status, digest, read = await self._download(file_id, user, to)
            except NextcloudUnavailable as error:
                if left and error.status is None:
                    continue
                raise
            if digest is None or read >= size or digest == short:
                if digest is not None and not read:
                    raise SourceRejected(Reason.EMPTY)
                return status, digest
            short = digest
        raise FileUnreadable("it has another length each time: it is being written")

    async def _download(self, file_id: str, user: str, to: Path) -> tuple[int, bytes | None, int]:
        """Status, digest and length. Raises SourceRejected when it is too large, NextcloudUnavailable."""
        path = f"/ocs/v2.php/apps/context_chat/files/{file_id}"
        async with self._client.stream(path, {"userId": user}, _PAUSE_SECONDS) as answer:
            if answer.status_code in (404, 422, 500):
                return answer.status_code, None, 0
            if answer.status_code != 200:
                raise refusal_of(answer)
            digest, read = hashlib.sha256(), 0
            with to.open("wb") as file:
                async for piece in answer.aiter_bytes(_PIECE):
                    read += len(piece)
                    if read > self._max_bytes:
                        raise SourceRejected(Reason.TOO_LARGE)
                    digest.update(piece)
                    file.write(piece)
            return 200, digest.digest(), read
