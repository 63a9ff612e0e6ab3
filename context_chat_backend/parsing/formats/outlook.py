# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mails of Outlook (msg): streams of properties in a compound file (MS-OXMSG), attachments in folders."""

from __future__ import annotations

import re
from collections.abc import Iterator

import olefile

from context_chat_backend.domain import Document, Part, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import html, text
from context_chat_backend.parsing.formats.compound import opened, stream
from context_chat_backend.parsing.formats.extraction import extract
from context_chat_backend.parsing.formats.mail import attachment

_SENDER, _SENDER_ADDRESS, _SENDER_SMTP = "0C1A", "0C1F", "5D01"
_TO, _CC, _SUBJECT, _BODY, _HTML = "0E04", "0E03", "0037", "1000", "1013"
_RICH_TEXT = "10090102"
"""The text in compressed RTF, which is the only form of some mails."""
_HEAD = "007D"
_NAME, _LONG_NAME, _TYPE, _DATA = "3704", "3707", "370E", "37010102"
_EMBEDDED = "3701000D"
"""A mail within the mail: a folder like the root."""
_DATE = re.compile(r"^Date:[ \t]*(.+)$", re.IGNORECASE | re.MULTILINE)
_MAX_NESTED = 5


def read(content: bytes, kind: str) -> Document:
    """The document in a mail: its head and text, then its attachments as parts under their names.

    Raises SourceRejected.
    """
    with opened(content) as file:
        parts = list(_mail(file, "", 0))
        if file.exists(f"__substg1.0_{_RICH_TEXT}") and not (_property(file, "", _BODY) or _page(file, "")):
            parts[0] = Part(extract(content, kind).content)
        return Document(tuple(parts), _property(file, "", _SUBJECT) or None)


def _mail(file: olefile.OleFileIO, folder: str, depth: int) -> Iterator[Part]:
    if depth > _MAX_NESTED:
        raise SourceRejected(Reason.DAMAGED)
    address = _property(file, folder, _SENDER_SMTP) or _property(file, folder, _SENDER_ADDRESS)
    sender = " ".join(filter(None, [_property(file, folder, _SENDER), f"<{address}>" if "@" in address else ""]))
    date = _DATE.search(_property(file, folder, _HEAD))
    fields = {
        "From": sender,
        "To": _property(file, folder, _TO) or ", ".join(_recipients(file, folder)),
        "Cc": _property(file, folder, _CC),
        "Date": date[1].strip() if date else "",
        "Subject": _property(file, folder, _SUBJECT),
    }
    head = "\n".join(f"{name}: {value}" for name, value in fields.items() if value)
    yield Part("\n\n".join([head, _property(file, folder, _BODY) or _page(file, folder)]))
    for name in _folders(file, folder, "__attach_version1.0_#"):
        yield from _attached(file, name, depth)


def _attached(file: olefile.OleFileIO, folder: str, depth: int) -> Iterator[Part]:
    name = _property(file, folder, _LONG_NAME) or _property(file, folder, _NAME)
    if file.exists(f"{folder}__substg1.0_{_DATA}"):
        content = stream(file, f"{folder}__substg1.0_{_DATA}")
        yield from attachment(name or "attachment", content, _property(file, folder, _TYPE).lower())
    elif file.exists(f"{folder}__substg1.0_{_EMBEDDED}"):
        yield from _mail(file, f"{folder}__substg1.0_{_EMBEDDED}/", depth + 1)


def _recipients(file: olefile.OleFileIO, folder: str) -> Iterator[str]:
    for recipient in _folders(file, folder, "__recip_version1.0_#"):
        yield _property(file, recipient, "3001") or _property(file, recipient, "3003")


def _folders(file: olefile.OleFileIO, folder: str, prefix: str) -> list[str]:
    """Folders directly below one, by the beginning of their names."""
    depth = folder.count("/")
    found = {"/".join(path[: depth + 1]) + "/" for path in file.listdir() if len(path) > depth + 1}
    return sorted(name for name in found if name.startswith(folder + prefix))


def _property(file: olefile.OleFileIO, folder: str, number: str) -> str:
    """A property that is a text: in Unicode, or in the encoding of the sender's machine, which is not named."""
    wide = stream(file, f"{folder}__substg1.0_{number}001F")
    if wide:
        return wide.decode("utf-16-le", "replace").rstrip("\x00")
    narrow = stream(file, f"{folder}__substg1.0_{number}001E").rstrip(b"\x00")
    return text.decode(narrow) if narrow else ""


def _page(file: olefile.OleFileIO, folder: str) -> str:
    """The text of a mail that was written as a page."""
    page = stream(file, f"{folder}__substg1.0_{_HTML}0102")
    return "\n\n".join(part.text for part in html.read(page, "html").parts) if page else ""
