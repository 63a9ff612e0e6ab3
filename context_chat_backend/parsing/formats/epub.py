# SPDX-License-Identifier: AGPL-3.0-or-later
"""Books (EPUB 2 and 3): the web pages inside, in the order of the spine."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from urllib.parse import unquote
from xml.etree import ElementTree

from context_chat_backend.domain import Document, Part, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import html

_MAX_BYTES = 256 * 1024 * 1024
_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FAULTS = (
    zipfile.BadZipFile, zlib.error, ElementTree.ParseError, LookupError, RuntimeError, EOFError, StopIteration,
)  # fmt: skip
_OPF = "{http://www.idpf.org/2007/opf}"
_ROOT_FILE = "{urn:oasis:names:tc:opendocument:xmlns:container}rootfile"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"


def read(content: bytes, kind: str) -> Document:
    """The document in a book, chapter by chapter under its headings. Raises SourceRejected."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
                raise SourceRejected(Reason.TOO_MUCH_TEXT)
            title, chapters = _spine(archive)
            locked = archive.read(_ENCRYPTION) if _ENCRYPTION in archive.namelist() else b""
            if any(name.encode() in locked for name in chapters):  # fonts alone may be encrypted without harm
                raise SourceRejected(Reason.ENCRYPTED)
            parts = [part for name in chapters for part in html.read(archive.read(name), kind).parts]
    except _FAULTS as error:
        raise SourceRejected(Reason.DAMAGED) from error
    if title and not any(title in part.text for part in parts):
        parts.insert(0, Part(title))
    return Document(tuple(parts), title)


def _spine(archive: zipfile.ZipFile) -> tuple[str | None, list[str]]:
    """The book's title and the names of its pages in reading order."""
    package_name = next(node.attrib["full-path"] for node in _tree(archive, _CONTAINER).iter(_ROOT_FILE))
    package = _tree(archive, package_name)
    files = {node.attrib["id"]: node.attrib["href"] for node in package.iter(f"{_OPF}item")}
    order = [files[node.attrib["idref"]] for node in package.iter(f"{_OPF}itemref") if node.attrib["idref"] in files]
    folder = posixpath.dirname(package_name)
    pages = [posixpath.normpath(posixpath.join(folder, unquote(href))) for href in order]
    return (package.findtext(f".//{_TITLE}") or "").strip() or None, pages


def _tree(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    data = archive.read(name)
    if b"<!ENTITY" in data:  # entities could expand without end
        raise SourceRejected(Reason.DAMAGED)
    return ElementTree.fromstring(data)  # noqa: S314 - no entities: see above
