# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of lines that rotate by size, and that several processes of one storage may write at once."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

FILE_BYTES = 20 * 1024 * 1024
FILES = 10


class SharedFile(RotatingFileHandler):
    """Appends lines. Who finds the file full renames it, one at a time; the others go on in the new one."""

    def __init__(self, path: Path) -> None:
        """`path` is made with the first line; its folder is there."""
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. What cannot be written is said on standard error, and work goes on."""
        try:
            if not self._is_current():
                self._reopen()
        except OSError:
            self.handleError(record)
            return
        super().emit(record)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: ARG002, N802
        """Whether the file is full, without the line: to format it twice costs more than a line too many."""
        if self.stream is None:
            self.stream = self._open()
        return os.fstat(self.stream.fileno()).st_size >= self.maxBytes

    def doRollover(self) -> None:  # noqa: N802
        """Rename the files, unless another process has just done so."""
        folder = os.open(Path(self.baseFilename).parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if self._is_current():
                super().doRollover()
            else:
                self._reopen()
        finally:
            os.close(folder)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802
        """In one line without the record: logging itself would print it, with what is masked in the file."""
        error = sys.exc_info()[0]
        why = "" if error is None else f" ({error.__name__})"
        with suppress(OSError):  # standard error may be a file on the same full disk
            sys.stderr.write(f"{self.baseFilename} cannot be written{why}: make room, or make its folder writable\n")

    def _reopen(self) -> None:
        before, self.stream = self.stream, None
        if before is not None:
            with suppress(OSError):  # lines that found no room
                before.close()
        self.stream = self._open()

    def _is_current(self) -> bool:
        """Whether the open file still has the name."""
        if self.stream is None or self.stream.closed:
            return False
        try:
            return os.path.samestat(os.fstat(self.stream.fileno()), Path(self.baseFilename).stat())
        except FileNotFoundError:
            return False
