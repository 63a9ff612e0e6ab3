# SPDX-License-Identifier: AGPL-3.0-or-later
"""Books (EPUB 2 and 3): the web pages inside, in the order of the spine."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import html
from context_chat_backend.parsing.formats.outline import document
from context_chat_backend.parsing.formats.package import Package, opened

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_OPF = "{http://www.idpf.org/2007/opf}"
_ROOT_FILE = "{urn:oasis:names:tc:opendocument:xmlns:container}rootfile"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"


def read(content: bytes, kind: str) -> Document:
    """The document in a book, chapter by chapter under its headings. Raises SourceRejected."""
    del kind
    with opened(content) as package:
        title, chapters = _spine(package)
        locked = package.read(_ENCRYPTION) if _ENCRYPTION in package.names else b""
        if any(name.encode() in locked for name in chapters):  # fonts alone may be encrypted without harm
            raise SourceRejected(Reason.ENCRYPTED)
        return document([part for name in chapters for part in html.parts(package.read(name))], title)


def _spine(package: Package) -> tuple[str | None, list[str]]:
    """The book's title and the names of its pages in reading order, without its table of contents."""
    name = next(node.attrib["full-path"] for node in package.tree(_CONTAINER).iter(_ROOT_FILE))
    tree = package.tree(name)
    items = {node.attrib["id"]: node for node in tree.iter(f"{_OPF}item")}
    order = [items[node.attrib["idref"]] for node in tree.iter(f"{_OPF}itemref") if node.attrib["idref"] in items]
    folder = posixpath.dirname(name)
    pages = [
        posixpath.normpath(posixpath.join(folder, unquote(item.attrib["href"])))
        for item in order
        if "nav" not in item.get("properties", "").split() or len(order) == 1
    ]
    return tree.findtext(f".//{_TITLE}"), pages
