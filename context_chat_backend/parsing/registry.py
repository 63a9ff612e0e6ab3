# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which formats are read, and by what. A new format is a module in `formats/` and a line in `_READERS`.

The bytes decide what a file is; the declared media type only tells kinds of text apart.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing import limits
from context_chat_backend.parsing.formats import (
    code,
    csv,
    epub,
    html,
    json,
    legacy_word,
    mail,
    notebook,
    office,
    opendocument,
    outlook,
    pdf,
    powerpoint,
    recognition,
    slides,
    text,
    word,
    xml,
)
from context_chat_backend.parsing.writing import kind_of

Reader = Callable[[bytes, str], Document]
"""From bytes and the name of the format to a document; raises SourceRejected."""

_READERS: dict[str, Reader] = {
    "code": code.read,
    "csv": csv.read,
    "doc": legacy_word.read,
    "docx": word.read,
    "eml": mail.read,
    "epub": epub.read,
    "html": html.read,
    "ipynb": notebook.read,
    "jpg": recognition.read,
    "json": json.read,
    "msg": outlook.read,
    "odp": opendocument.read_slides,
    "ods": opendocument.read_sheets,
    "odt": opendocument.read_text,
    "org": text.read,
    "pdf": pdf.read,
    "png": recognition.read,
    "ppt": powerpoint.read,
    "pptx": slides.read,
    "rst": text.read,
    "rtf": office.read_rich_text,
    "text": text.read,
    "tiff": recognition.read,
    "xls": office.read_sheets,
    "xlsx": office.read_sheets,
    "xml": xml.read,
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
        "image/jpeg",
        "image/png",
        "image/tiff",
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
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_STREAMS = {
    "__substg1.0_": "msg",
    "WordDocument": "doc",
    "PowerPoint Document": "ppt",
    "Workbook": "xls",
    "Book": "xls",
}
"""A stream that only one format has. What may hold others (a mail its attachments) comes first."""
_OLE_TYPES = {
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-outlook": "msg",
    "application/vnd.ms-powerpoint": "ppt",
}
_PICTURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"II*\x00": "tiff", b"MM\x00*": "tiff"}
_NO_DOCUMENTS = (
    b"GIF8", b"RIFF", b"\x1f\x8b", b"\x7fELF", b"7z\xbc\xaf",
    b"Rar!", b"ID3", b"OggS", b"fLaC", b"\x1a\x45\xdf\xa3", b"SQLite format 3",
)  # fmt: skip
_SMALL = 256
_depth: ContextVar[int] = ContextVar("depth", default=0)
_MAX_MANIFEST = 1024 * 1024


def accepts(media_type: str, title: str) -> bool:
    """Whether something of this declared type may be admitted.

    Content of apps declares free text ("text", "mail"): what is neither a known type nor an image, a sound or the
    like is tried as text. Titles that end in `.pot` are templates and refused (contract push-4x 7).
    """
    declared = _bare(media_type)
    if title.lower().endswith(".pot"):
        return False
    if declared in _BINARY_TYPES:
        return True
    return not declared.startswith(_NOT_TEXT)


def read(content: bytes, media_type: str) -> Document:
    """The document in `content`. Raises SourceRejected.

    Readers of formats that hold other files come back here for those.
    """
    depth = _depth.get()
    if depth >= limits.held.file_nested_files:
        raise SourceRejected(Reason.TOO_DEEP)
    kind = sniff(content, _bare(media_type))
    limits.check(content, kind)
    token = _depth.set(depth + 1)
    try:
        return replace(_READERS[kind](content, kind), parser=kind)
    finally:
        _depth.reset(token)


def sniff(content: bytes, declared: str) -> str:
    """The format of `content`, a key of the readers. Raises SourceRejected when it is none of them."""
    if _is_pdf(content):
        return "pdf"
    if content.startswith(b"PK\x03\x04"):
        return _zipped(content)
    if content.startswith(_OLE):
        return _ole(content, declared)
    if content.lstrip()[:5] == b"{\\rtf":
        return "rtf"
    for mark, kind in _PICTURES.items():
        if content.startswith(mark):
            return kind
    beginning = None if content.startswith(_NO_DOCUMENTS) else text.beginning(content)
    if beginning is None:
        raise SourceRejected(Reason.DAMAGED if declared in _BINARY_TYPES else Reason.UNSUPPORTED)
    return kind_of(beginning.lstrip("\ufeff \t\r\n"), declared)


def _is_pdf(content: bytes) -> bool:
    """Readers forgive up to 1024 bytes before the signature; a text that only speaks of PDF has no end mark."""
    return content.startswith(b"%PDF-") or (b"%PDF-" in content[:1024] and b"%%EOF" in content[-1024:])


def _zipped(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            limits.check_archive(archive, len(content))
            names = archive.namelist()
            if any(entry.flag_bits & 1 for entry in archive.infolist()) or _is_locked(archive, names):
                raise SourceRejected(Reason.ENCRYPTED)
            if "mimetype" in names and archive.getinfo("mimetype").file_size < _SMALL:
                kind = archive.read("mimetype").decode("ascii", "replace").strip().removesuffix("-template")
                if kind in _OPEN_DOCUMENT:
                    return _OPEN_DOCUMENT[kind]
    except (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, OSError, EOFError) as error:
        raise SourceRejected(Reason.DAMAGED) from error
    for folder, kind in _OFFICE_FOLDERS.items():
        if any(name.startswith(folder) for name in names):
            return kind
    raise SourceRejected(Reason.UNSUPPORTED)


def _is_locked(archive: zipfile.ZipFile, names: list[str]) -> bool:
    """Whether an OpenDocument file needs a password: its manifest says how its members are encrypted."""
    manifest = "META-INF/manifest.xml"
    if manifest not in names or archive.getinfo(manifest).file_size > _MAX_MANIFEST:
        return False
    return b"encryption-data" in archive.read(manifest)


def _ole(content: bytes, declared: str) -> str:
    kinds = [kind for stream, kind in _OLE_STREAMS.items() if stream.encode("utf-16-le") in content]
    if (kind := _OLE_TYPES.get(declared)) in kinds:
        return str(kind)
    if "EncryptedPackage".encode("utf-16-le") in content and "msg" not in kinds:
        raise SourceRejected(Reason.ENCRYPTED)
    if kinds:
        return kinds[0]
    raise SourceRejected(Reason.UNSUPPORTED)


def _bare(media_type: str) -> str:
    """The media type without parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()
