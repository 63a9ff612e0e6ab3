# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which formats are read, and by what. A new format is a module in `formats/` and a line in `_READERS`.

The bytes decide what a file is; the declared media type only tells kinds of text apart.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import csv, mail, odp, office, pdf, text

Reader = Callable[[bytes, str], Document]
"""From bytes and the name of the format to a document; raises SourceRejected."""

_READERS: dict[str, Reader] = {
    "csv": csv.read,
    "doc": office.read,
    "docx": office.read,
    "eml": mail.read,
    "epub": office.read,
    "html": office.read,
    "msg": mail.read,
    "odp": odp.read,
    "ods": office.read,
    "odt": office.read,
    "pdf": pdf.read,
    "ppt": office.read,
    "pptx": office.read,
    "rtf": office.read,
    "text": text.read,
    "xls": office.read,
    "xlsx": office.read,
    "xml": office.read,
}

_TEXT_TYPES = {
    "text/csv": "csv",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/xml": "xml",
    "text/xml": "xml",
    "message/rfc822": "eml",
}
_BINARY_TYPES = frozenset(
    {
        "application/pdf",
        "application/epub+zip",
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.ms-excel.sheet.macroenabled.12",
        "application/vnd.ms-outlook",
        "application/vnd.ms-powerpoint",
        "application/vnd.oasis.opendocument.presentation",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.oasis.opendocument.text",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/rtf",
    }
)
_NOT_TEXT = ("image/", "audio/", "video/", "font/", "model/")
_OPEN_DOCUMENT = {
    "application/epub+zip": "epub",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
}
_OFFICE_FOLDERS = {"word/": "docx", "xl/": "xlsx", "ppt/": "pptx"}
_OLE_STREAMS = {
    "WordDocument": "doc",
    "PowerPoint Document": "ppt",
    "__substg1.0_": "msg",
    "Workbook": "xls",
    "Book": "xls",
}
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def accepts(media_type: str, title: str) -> bool:
    """Whether something of this declared type may be admitted.

    Content of apps declares free text ("text", "mail"): what is neither a known type nor an image, a sound or the
    like is tried as text. Titles that end in `.pot` are templates and refused (contract push-4x 7).
    """
    declared = _bare(media_type)
    if title.lower().endswith(".pot"):
        return False
    if declared in _BINARY_TYPES or declared in _TEXT_TYPES:
        return True
    return not declared.startswith(_NOT_TEXT)


def read(content: bytes, media_type: str) -> Document:
    """The document in `content`. Raises SourceRejected."""
    kind = sniff(content, _bare(media_type))
    return _READERS[kind](content, kind)


def sniff(content: bytes, declared: str) -> str:
    """The format of `content`, a key of the readers. Raises SourceRejected when it is none of them."""
    if b"%PDF-" in content[:1024]:
        return "pdf"
    if content.startswith(b"PK\x03\x04"):
        return _zipped(content)
    if content.startswith(_OLE):
        return _ole(content)
    if content.lstrip()[:5] == b"{\\rtf":
        return "rtf"
    if not text.is_text(content):
        raise SourceRejected(Reason.DAMAGED if declared in _BINARY_TYPES else Reason.UNSUPPORTED)
    if (kind := _TEXT_TYPES.get(declared)) is not None:
        return kind
    head = content[:256].lstrip().lower()
    return "html" if head.startswith((b"<!doctype html", b"<html")) else "text"


def _zipped(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 256:
                kind = archive.read("mimetype").decode("ascii", "replace").strip().removesuffix("-template")
                if kind in _OPEN_DOCUMENT:
                    return _OPEN_DOCUMENT[kind]
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError) as error:
        raise SourceRejected(Reason.DAMAGED) from error
    for folder, kind in _OFFICE_FOLDERS.items():
        if any(name.startswith(folder) for name in names):
            return kind
    raise SourceRejected(Reason.UNSUPPORTED)


def _ole(content: bytes) -> str:
    if "EncryptedPackage".encode("utf-16-le") in content:
        raise SourceRejected(Reason.ENCRYPTED)
    for stream, kind in _OLE_STREAMS.items():
        if stream.encode("utf-16-le") in content:
            return kind
    raise SourceRejected(Reason.UNSUPPORTED)


def _bare(media_type: str) -> str:
    """The media type without parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()
