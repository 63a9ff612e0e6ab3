# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much a file may hold: looked at before a reader gets it, since many would take all they are given.

What is not seen here is stopped by the limits of the process on time and memory (sandbox.py).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected

MAX_CHARACTERS = 20_000_000
"""More text than this is a dump, not a document."""

MAX_PARTS = 200_000
"""Parts a document may have: a part is a page, a heading, a sheet."""

MAX_PAGES = 5_000
MAX_ATTACHMENTS = 250
MAX_DEPTH = 200
"""Levels of brackets or elements in JSON and XML."""

MAX_NESTED_FILES = 5
"""Files within files: a document in a mail in a mail."""

MAX_ENTRIES = 20_000
MAX_EXPANDED_BYTES = 512 * 1024 * 1024
MAX_RATIO = 200
"""How many bytes an archive may hold for each of its own; text in XML seldom shrinks below a fiftieth."""

_SMALL_ARCHIVE = 16 * 1024 * 1024
"""What expands to less than this does no harm, whatever its ratio."""

_PAGE = re.compile(rb"/Type\s*/Page\b")
_MAIL_PART = re.compile(rb"^content-(?:type|disposition):", re.IGNORECASE | re.MULTILINE)
_OUTLOOK_ATTACHMENT = "__attach_version1.0_#".encode("utf-16-le")
_ALL_BUT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"\\'))
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]')
_ENTITY = re.compile(
    rb"""<!ENTITY\s+(?P<parameter>%\s+)?[^\s>]+\s+(?:(?:SYSTEM|PUBLIC)\b|"[^"]*[&%][^#]|'[^']*[&%][^#])"""
)
_ELEMENT = re.compile(rb"<(?:(?P<closing>/)|[A-Za-z_\x80-\xff][^<>]*?(?P<empty>/)?>)")


def check(content: bytes, kind: str) -> None:
    """Raises SourceRejected when `content`, of a format the registry names, holds more than may be read."""
    if kind == "pdf" and _more_than(MAX_PAGES, _PAGE.finditer(content)):
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if kind == "eml" and _more_than(2 * MAX_ATTACHMENTS, _MAIL_PART.finditer(content)):
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if kind == "msg" and content.count(_OUTLOOK_ATTACHMENT) > MAX_ATTACHMENTS:
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if kind == "xml":
        _check_markup(content)
    if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{"):
        _check_brackets(content)


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Raises SourceRejected when an archive of `size` bytes holds more than may be read."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if any(entry.compress_size > entry.file_size + entry.file_size // 64 + 1024 for entry in entries):
        raise SourceRejected(Reason.DAMAGED)  # packing never adds so much: it says that it is shorter than it is
    expanded = sum(entry.file_size for entry in entries)
    if expanded > MAX_EXPANDED_BYTES or expanded > max(_SMALL_ARCHIVE, size * MAX_RATIO):
        raise SourceRejected(Reason.EXPANDS)


def check_document(document: Document) -> None:
    """Raises SourceRejected when a document is longer than may be indexed."""
    if len(document.parts) > MAX_PARTS or len({part.location.page for part in document.parts}) > MAX_PAGES:
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if sum(len(part.text) for part in document.parts) > MAX_CHARACTERS:
        raise SourceRejected(Reason.TOO_MUCH_TEXT)


def _check_brackets(content: bytes) -> None:
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for found in _STRUCTURE.finditer(content.translate(None, _ALL_BUT_STRUCTURE)):
        if found[0] in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise SourceRejected(Reason.TOO_DEEP)
        elif found[0] in (b"]", b"}"):
            depth = max(0, depth - 1)


def _check_markup(content: bytes) -> None:
    """Entities that name others, or files, are refused; those of a single character or word are honest."""
    if _ENTITY.search(content):
        raise SourceRejected(Reason.ENTITIES)
    depth = 0
    for found in _ELEMENT.finditer(content):
        if found["closing"]:
            depth = max(0, depth - 1)
        elif not found["empty"]:
            depth += 1
            if depth > MAX_DEPTH:
                raise SourceRejected(Reason.TOO_DEEP)


def _more_than(limit: int, found: Iterable[object]) -> bool:
    return any(number > limit for number, _ in enumerate(found, start=1))
