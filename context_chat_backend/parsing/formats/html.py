# SPDX-License-Identifier: AGPL-3.0-or-later
"""Web pages: what a reader sees, heading by heading, without markup."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import table, text
from context_chat_backend.parsing.formats.outline import document

_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_-]+)", re.IGNORECASE)
_HEAD_BYTES = 4096
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_HIDDEN = frozenset({"script", "style", "template", "noscript"})
_BLOCKS = _HEADINGS | frozenset(
    {
        "address", "article", "aside", "blockquote", "body", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption",
        "figure", "footer", "form", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "tbody", "tfoot",
        "thead", "tr", "ul",
    }
)  # fmt: skip
_CELLS = frozenset({"td", "th"})
_LEAST_COLUMNS = 2
_MAX_SPAN = 64
_MAX_HEADING = 200
_SPACES = re.compile(r"\s+")


def read(content: bytes, kind: str) -> Document:
    """The document in a web page, with the page's title before it where the text does not say it.

    Raises SourceRejected.
    """
    del kind
    page = _read(content)
    return document(page.parts(), page.title)


def parts(content: bytes) -> list[Part]:
    """The parts of a page that belongs to something else, without its title, which may be a mere name of a file."""
    return _read(content).parts()


def _read(content: bytes) -> _Page:
    page = _Page()
    page.feed(_decode(content))
    page.close()
    return page


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


@dataclass
class _Table:
    """A table that is open: where what it shows begins, and its rows so far."""

    starts: int
    rows: list[list[str]] = field(default_factory=list)
    cell_starts: int | None = None
    names: bool = False
    """Whether its first row holds the names of the columns."""
    is_layout: bool = False
    """Whether it holds other tables or headings, and so places things on a page."""


class _Page(HTMLParser):
    """Collects what is shown; a heading closes the part before it, and so does a table."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[Part] = []
        self._shown: list[str] = []
        self._heading: str | None = None
        self._heading_starts: int | None = None
        self._title: list[str] = []
        self._in_title = False
        self._hidden = 0
        self._as_written = 0
        self._tables: list[_Table] = []
        self._span = 1

    @property
    def title(self) -> str | None:
        """What the page calls itself."""
        return _one_line(self._title) or None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title" and not self._title
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag == "table":
            self._open_table()
        elif tag in _HEADINGS:
            self._lay_out()
            self._close_part()
            self._heading_starts = len(self._shown)
        elif tag in _BLOCKS:
            self._as_written += tag == "pre"
            if tag == "tr" and self._tables:
                self._close_cell()
                self._tables[-1].rows.append([])
            self._shown.append("\n")
        elif tag in _CELLS:
            self._open_cell(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "table" and self._tables:
            self._close_table()
        elif tag in _HEADINGS and self._heading_starts is not None:
            self._heading = _one_line(self._shown[self._heading_starts :])[:_MAX_HEADING] or None
            self._shown[self._heading_starts :] = [self._heading or "", "\n"]
            self._heading_starts = None
        elif tag in _CELLS and self._tables:
            self._close_cell()
        elif tag in _BLOCKS:
            self._as_written = max(0, self._as_written - (tag == "pre"))
            self._shown.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif not self._hidden:
            self._shown.append(data if self._as_written else _SPACES.sub(" ", data))

    def parts(self) -> list[Part]:
        """What was collected."""
        self._lay_out()
        self._close_part()
        if self._shown:  # a heading with nothing below it
            self._parts.append(Part("".join(self._shown), Location(heading=self._heading)))
            self._shown = []
        return self._parts

    def _lay_out(self) -> None:
        for table_ in self._tables:
            table_.is_layout = True

    def _open_table(self) -> None:
        self._lay_out()
        self._shown.append("\n")
        self._tables.append(_Table(len(self._shown)))

    def _open_cell(self, tag: str, attributes: dict[str, str | None]) -> None:
        self._shown.append(" ")
        if not self._tables:
            return
        self._close_cell()
        opened = self._tables[-1]
        opened.rows = opened.rows or [[]]
        opened.names |= tag == "th" and len(opened.rows) == 1 and not opened.rows[0]
        opened.cell_starts = len(self._shown)
        span = attributes.get("colspan") or ""
        self._span = min(int(span), _MAX_SPAN) if span.isascii() and span.isdigit() else 1

    def _close_cell(self) -> None:
        opened = self._tables[-1]
        if opened.cell_starts is not None:
            opened.rows[-1] += [_one_line(self._shown[opened.cell_starts :])] + [""] * (self._span - 1)
            opened.cell_starts = None

    def _close_table(self) -> None:
        self._close_cell()
        closed = self._tables.pop()
        self._shown.append("\n")
        if closed.is_layout or max(map(len, closed.rows), default=0) < _LEAST_COLUMNS:
            return
        del self._shown[closed.starts :]
        self._close_part()
        opening = [text for text in self._shown if text.strip()]  # a heading stands with what is below it
        rows = (
            table.lines(closed.rows)
            if closed.names
            else ("; ".join(cell for cell in row if cell) for row in closed.rows if any(row))
        )
        said = "\n".join([*opening, *rows])
        self._shown = []
        self._parts.append(Part(said, Location(heading=self._heading), rows=True))

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
