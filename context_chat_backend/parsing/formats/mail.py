# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mails, with what is attached to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message

from context_chat_backend.domain import Document, Part
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import html, text

_SHOWN = ("From", "To", "Cc", "Date", "Subject")
_BLANKS = re.compile(r"\s+")


def read(content: bytes, kind: str) -> Document:
    """The document in a mail (eml): its head and text, then its attachments as parts under their names.

    Raises SourceRejected.
    """
    del kind
    message = message_from_bytes(content)
    shown = [f"{name}: {value}" for name in _SHOWN if (value := field(message, name))]
    body: list[str] = []
    attached: list[Part] = []
    for part in _read(message):
        if isinstance(part, str):
            body.append(part)
        else:
            attached += attachment(*part)
    return Document((Part("\n\n".join(["\n".join(shown), *body])), *attached), field(message, "Subject") or None)


def field(message: Message, name: str) -> str:
    """A field of the head on one line, in letters rather than in its encoding."""
    value = message.get(name, "")
    try:
        value = str(make_header(decode_header(value)))
    except (ValueError, LookupError, HeaderParseError):
        value = str(value)
    return _BLANKS.sub(" ", value).strip()


def attachment(name: str, content: bytes, media_type: str) -> Iterator[Part]:
    """The parts of an attachment under its name; none when it cannot be read, which does not spoil the mail."""
    from context_chat_backend.parsing import registry  # not above: the registry names this module

    try:
        parts = registry.read(content, media_type).parts
    except SourceRejected:
        return
    for part in parts:
        within = part.location.heading
        yield replace(part, location=replace(part.location, heading=f"{name}: {within}" if within else name))


def _read(part: Message) -> Iterator[str | tuple[str, bytes, str]]:
    """The texts of a mail in their order, and what is attached: its name, bytes and media type."""
    kind = part.get_content_type()
    if kind == "message/rfc822":
        for inner in part.get_payload() if part.is_multipart() else []:
            if isinstance(inner, Message):
                yield (field(inner, "Subject") or _name(part) or kind, _as_bytes(inner), kind)
    elif part.is_multipart():
        parts = [inner for inner in part.get_payload() if isinstance(inner, Message)]
        yield from (
            _chosen(parts) if kind == "multipart/alternative" else (said for inner in parts for said in _read(inner))
        )
    else:
        content = part.get_payload(decode=True)
        content = content if isinstance(content, bytes) else b""
        if name := _name(part):
            yield (name, content, kind)
        elif kind == "text/html":
            yield "\n\n".join(shown.text for shown in html.read(content, "html").parts)
        elif part.get_content_maintype() == "text":
            yield _decoded(part, content)
        else:
            yield (kind, content, kind)


def _chosen(alternatives: list[Message]) -> Iterator[str | tuple[str, bytes, str]]:
    """Of the same text in several forms the plain one, where it says anything, else the last, which is the richest."""
    readings = [(inner.get_content_type(), list(_read(inner))) for inner in alternatives]
    plain = [said for kind, said in readings if kind == "text/plain" and any(str(text).strip() for text in said)]
    yield from plain[0] if plain else readings[-1][1] if readings else []


def _name(part: Message) -> str:
    name = part.get_filename() or ""
    try:
        return str(make_header(decode_header(name)))
    except (ValueError, LookupError, HeaderParseError):
        return name


def _decoded(part: Message, content: bytes) -> str:
    """A text in the encoding it names, where it holds, else in the one it looks like."""
    try:
        return content.decode(part.get_content_charset("utf-8"))
    except (UnicodeError, LookupError):
        return text.decode(content)


def _as_bytes(message: Message) -> bytes:
    try:
        return message.as_bytes()
    except (UnicodeError, LookupError, ValueError, TypeError):  # a head that cannot be written again
        payload = message.get_payload(decode=True)
        return payload if isinstance(payload, bytes) else b""
