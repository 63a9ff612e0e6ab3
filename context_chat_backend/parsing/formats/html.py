# SPDX-License-Identifier: AGPL-3.0-or-later
"""Web pages: what a reader sees, heading by heading, without markup."""

from __future__ import annotations

import codecs
import re
from html.parser import HTMLParser

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import text

_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_-]+)", re.IGNORECASE)
_HEAD_BYTES = 4096
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_HIDDEN = frozenset({"script", "style", "template", "noscript"})
_BLOCKS = _HEADINGS | frozenset(
    {
        "address", "article", "aside", "blockquote", "body", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption",
        "figure", "footer", "form", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "tbody",
        "tfoot", "thead", "tr", "ul",
    }
)  # fmt: skip
_CELLS = frozenset({"td", "th"})
_SPACES = re.compile(r"\s+")


def read(content: bytes, kind: str) -> Document:
    """The document in a web page. Raises SourceRejected."""
    del kind
    page = _Page()
    page.feed(_decode(content))
    page.close()
    return page.document()


def _decode(content: bytes) -> str:
    """The text of a page: in UTF-8 where that holds, else in the encoding it names, else in the one it looks like."""
    named = _CHARSET.search(content[:_HEAD_BYTES])
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        if named is not None and not content.startswith(text.BYTE_ORDER_MARKS):
            try:
                return content.decode(codecs.lookup(named[1].decode("ascii")).name, "replace")
            except LookupError:
                pass
    return text.decode(content)


class _Page(HTMLParser):
    """Collects what is shown; a heading closes the part before it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[Part] = []
        self._shown: list[str] = []
        self._heading: str | None = None
        self._heading_starts: int | None = None
        self._title: list[str] = []
        self._in_title = False
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._in_title = tag == "title" and not self._title
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag in _HEADINGS:
            self._close_part()
            self._heading_starts = len(self._shown)
        elif tag in _BLOCKS:
            self._shown.append("\n")
        elif tag in _CELLS:
            self._shown.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in _HEADINGS and self._heading_starts is not None:
            self._heading = _one_line(self._shown[self._heading_starts :]) or None
            self._shown[self._heading_starts :] = [self._heading or "", "\n"]
            self._heading_starts = None
        elif tag in _BLOCKS:
            self._shown.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif not self._hidden:
            self._shown.append(_SPACES.sub(" ", data))

    def document(self) -> Document:
        """What was collected, with the page's title before it where the text does not say it."""
        self._close_part()
        self._parts.append(Part("".join(self._shown), Location(heading=self._heading)))
        title = _one_line(self._title) or None
        if title and not any(title in part.text for part in self._parts):
            self._parts.insert(0, Part(title))
        return Document(tuple(self._parts), title)

    def _close_part(self) -> None:
        lines = (_SPACES.sub(" ", line).strip() for line in "".join(self._shown).split("\n"))
        body = "\n".join(line for line in lines if line)
        if body == self._heading:  # with nothing below it, it opens the part of the next one
            self._shown = [body, "\n"]
        else:
            self._parts.append(Part(body, Location(heading=self._heading)))
            self._shown = []


def _one_line(texts: list[str]) -> str:
    return _SPACES.sub(" ", "".join(texts)).strip()
