# SPDX-License-Identifier: AGPL-3.0-or-later
"""Compound files (OLE): the streams of the old formats of Microsoft Office."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import olefile

from context_chat_backend.domain import Reason
from context_chat_backend.errors import SourceRejected

_FAULTS = (OSError, struct.error, LookupError, ValueError, TypeError, AttributeError, OverflowError, RuntimeError)


@contextmanager
def opened(content: bytes) -> Iterator[olefile.OleFileIO]:
    """The compound file in `content`. Whatever is wrong with it inside of the block raises SourceRejected."""
    try:
        with olefile.OleFileIO(io.BytesIO(content)) as file:
            yield file
    except _FAULTS as error:
        raise SourceRejected(Reason.DAMAGED) from error


def stream(file: olefile.OleFileIO, path: str) -> bytes:
    """The bytes of a stream by its path, empty when there is none."""
    if not file.exists(path):
        return b""
    with file.openstream(path) as opened_stream:
        return bytes(opened_stream.read())


def title(file: olefile.OleFileIO) -> str | None:
    """The title in the properties of the file."""
    try:
        said = file.get_metadata().title
    except _FAULTS:
        return None
    return said.decode("utf-8", "replace").strip("\x00 ") if isinstance(said, bytes) else None
