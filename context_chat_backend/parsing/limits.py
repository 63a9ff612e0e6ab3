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
from context_chat_backend.limits import Limits

held = Limits()
"""What holds in this process: the defaults, until `hold` says otherwise."""

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


def hold(limits: Limits) -> None:
    """Let `limits` hold for all files this process reads."""
    global held
    held = limits


def check(content: bytes, kind: str) -> None:
    """Raises SourceRejected when `content`, of a format the registry names, holds more than may be read."""
    if kind == "pdf" and _more_than(held.file_pages, _PAGE.finditer(content)):
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if kind == "eml" and _more_than(2 * held.file_attachments, _MAIL_PART.finditer(content)):
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if kind == "msg" and content.count(_OUTLOOK_ATTACHMENT) > held.file_attachments:
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if kind == "xml":
        _check_markup(content)
    if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{"):
        _check_brackets(content)


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Raises SourceRejected when an archive of `size` bytes holds more than may be read."""
    entries = archive.infolist()
    if len(entries) > held.file_entries:
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if any(entry.compress_size > entry.file_size + entry.file_size // 64 + 1024 for entry in entries):
        raise SourceRejected(Reason.DAMAGED)  # packing never adds so much: it says that it is shorter than it is
    expanded = sum(entry.file_size for entry in entries)
    if expanded > held.file_expanded_bytes or expanded > max(_SMALL_ARCHIVE, size * held.file_expanded_ratio):
        raise SourceRejected(Reason.EXPANDS)


def check_document(document: Document) -> None:
    """Raises SourceRejected when a document is longer than may be indexed."""
    if len(document.parts) > held.file_parts or len({part.location.page for part in document.parts}) > held.file_pages:
        raise SourceRejected(Reason.TOO_MANY_PARTS)
    if sum(len(part.text) for part in document.parts) > held.file_characters:
        raise SourceRejected(Reason.TOO_MUCH_TEXT)


def _check_brackets(content: bytes) -> None:
    if content.count(b"[") + content.count(b"{") <= held.file_depth:
        return
    depth = 0
    for found in _STRUCTURE.finditer(content.translate(None, _ALL_BUT_STRUCTURE)):
        if found[0] in (b"[", b"{"):
            depth += 1
            if depth > held.file_depth:
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
            if depth > held.file_depth:
                raise SourceRejected(Reason.TOO_DEEP)


def _more_than(limit: int, found: Iterable[object]) -> bool:
    return any(number > limit for number, _ in enumerate(found, start=1))
