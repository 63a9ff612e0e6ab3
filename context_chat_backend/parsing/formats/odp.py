# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenDocument presentations, which kreuzberg does not read."""

from __future__ import annotations

import io
import zipfile
import zlib
from xml.etree import ElementTree
from xml.parsers import expat

from context_chat_backend.domain import Document, Location, Part, Reason
from context_chat_backend.errors import SourceRejected

_MAX_BYTES = 64 * 1024 * 1024
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"


def read(content: bytes, kind: str) -> Document:
    """The document in a presentation, slide by slide. Raises SourceRejected."""
    del kind
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.getinfo("content.xml").file_size > _MAX_BYTES:
                raise SourceRejected(Reason.TOO_MUCH_TEXT)
            root = _parse(archive.read("content.xml"))
    except (zipfile.BadZipFile, zlib.error, KeyError, ElementTree.ParseError, RuntimeError, OSError) as error:
        raise SourceRejected(Reason.DAMAGED) from error
    slides = enumerate(root.iter(f"{_DRAW}page"), start=1)
    return Document(tuple(Part(_text(slide), Location(slide=number)) for number, slide in slides))


def _parse(xml: bytes) -> ElementTree.Element:
    """The tree of `xml`; entity declarations, which could expand without end, are refused."""
    if b"<!ENTITY" in xml or b"<!DOCTYPE" in xml:
        raise SourceRejected(Reason.DAMAGED)
    try:
        return ElementTree.fromstring(xml)  # noqa: S314 - no entities: see above
    except expat.ExpatError as error:
        raise SourceRejected(Reason.DAMAGED) from error


def _text(slide: ElementTree.Element) -> str:
    paragraphs = [node for node in slide.iter() if node.tag in (f"{_TEXT}p", f"{_TEXT}h")]
    return "\n".join("".join(node.itertext()) for node in paragraphs)
