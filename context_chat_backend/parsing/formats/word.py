# SPDX-License-Identifier: AGPL-3.0-or-later
"""Word documents. kreuzberg drops their entities ("R&amp;D" becomes "RD"): they pass through it in disguise."""

from __future__ import annotations

import html
import io
import re
import zipfile
import zlib

from context_chat_backend.domain import Document, Location, Part, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import office

_MAX_BYTES = 256 * 1024 * 1024
_ENTITY = re.compile(rb"&(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")
_DISGUISES = {"&": "\ue010", "<": "\ue011", ">": "\ue012", '"': "\ue013", "'": "\ue014"}
"""Characters for private use stand for those that XML cannot hold as they are."""
_UNMASK = {ord(mask): character for character, mask in _DISGUISES.items()}


def read(content: bytes, kind: str) -> Document:
    """The document in a docx file, heading by heading. Raises SourceRejected."""
    document = office.read_text(_disguised(content), kind)
    return Document(tuple(_unmasked(part) for part in document.parts), document.title)


def _disguised(content: bytes) -> bytes:
    target = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(target, "w") as copy:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
                raise SourceRejected(Reason.TOO_MUCH_TEXT)
            for entry in archive.infolist():
                data = archive.read(entry)
                if entry.filename.startswith("word/") and entry.filename.endswith(".xml"):
                    data = _ENTITY.sub(_character, data)
                copy.writestr(entry.filename, data)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise SourceRejected(Reason.DAMAGED) from error
    return target.getvalue()


def _character(entity: re.Match[bytes]) -> bytes:
    character = html.unescape(entity[0].decode("ascii"))
    return _DISGUISES.get(character, character).encode("utf-8", "replace")


def _unmasked(part: Part) -> Part:
    heading = part.location.heading
    location = Location(heading=heading and heading.translate(_UNMASK))
    return Part(part.text.translate(_UNMASK), location, part.rows)
