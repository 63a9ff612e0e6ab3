# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mails, with what is attached to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats.extraction import extract


def read(content: bytes, kind: str) -> Document:
    """The document in a mail (eml): its head and text, then its attachments as parts under their names.

    Raises SourceRejected.
    """
    message = message_from_bytes(content)
    attached = [part for attachment in message.walk() for part in _attached(attachment)]
    return Document((Part(extract(content, kind).content), *attached))


def read_outlook(content: bytes, kind: str) -> Document:
    """The document in a mail of Outlook (msg). Raises SourceRejected."""
    result = extract(content, kind)
    attached = [Part(child["result"].content, Location(heading=child["path"])) for child in result.children or []]
    return Document((Part(result.content), *attached))


def _attached(attachment: Message) -> Iterator[Part]:
    """The parts of one attachment; none when it cannot be read, which does not spoil the mail."""
    from context_chat_backend.parsing import registry  # not above: the registry names this module

    content = attachment.get_payload(decode=True)
    if not attachment.get_filename() or not isinstance(content, bytes):
        return
    try:
        parts = registry.read(content, attachment.get_content_type()).parts
    except SourceRejected:
        return
    for part in parts:
        yield replace(part, location=replace(part.location, heading=_name(attachment)))


def _name(attachment: Message) -> str:
    name = attachment.get_filename() or ""
    try:
        return str(make_header(decode_header(name)))
    except (ValueError, LookupError):
        return name
