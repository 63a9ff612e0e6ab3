# SPDX-License-Identifier: AGPL-3.0-or-later
"""Word documents (docx), heading by heading, tables row by row, with notes, comments and text boxes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree

from context_chat_backend.domain import Document
from context_chat_backend.parsing.formats.outline import Outline, document
from context_chat_backend.parsing.formats.package import Package, attribute, local, opened

_HEADING_STYLE = re.compile(r"(heading [1-9]|title)", re.IGNORECASE)
_BODY_LEVEL = 9
_STYLES = re.compile(rb"<(\w+:)?styles\b[^<>]*>")
_UNSEEN = frozenset(
    {"del", "moveFrom", "Fallback", "instrText", "delText", "delInstrText", "rPr", "pPr", "tblPr", "sectPr"}
)
"""Deleted text, codes of fields, properties, and what stands in for newer drawings in older programs."""
_SIGNS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes", "commentReference": "comments"}
_MAX_SPAN = 64
_MAX_STYLES_BELOW = 32
"""Styles build on each other, and a damaged file may go round in circles."""


def read(content: bytes, kind: str) -> Document:
    """The document in a docx file. Raises SourceRejected."""
    del kind
    with opened(content) as package:
        main = next(iter(package.related("", "officeDocument")), "word/document.xml")
        body = next(node for node in package.tree(main) if local(node) == "body")
        outline = Outline()
        reader = _Reader(package, main)
        reader.fill(outline, body)
        for running in reader.running():
            outline.paragraph(running)
        core = next(iter(package.related("", "core-properties")), None)
        properties = package.tree(core) if core else ()
        return document(outline.parts(), next((node.text for node in properties if local(node) == "title"), None))


class _Reader:
    """Reads blocks of one document, which point to styles and notes beside it."""

    def __init__(self, package: Package, main: str) -> None:
        self._package = package
        self._main = main
        self._headings = set(self._heading_styles())
        self._notes = {
            kind: {attribute(note, "id"): note for name in package.related(main, kind) for note in package.tree(name)}
            for kind in _NOTES.values()
        }

    def fill(self, outline: Outline, blocks: Iterable[ElementTree.Element]) -> None:
        """Add blocks to the outline, in reading order."""
        for block in blocks:
            name = local(block)
            if name == "p":
                aside: list[ElementTree.Element] = []
                said = self._inline(block, aside)
                if self._is_heading(block):
                    outline.heading(said)
                else:
                    outline.paragraph(said)
                for hanging in aside:
                    self.fill(outline, hanging)
            elif name == "tbl":
                outline.table(self._rows(block))
            elif name not in _UNSEEN:
                self.fill(outline, block)

    def running(self) -> Iterator[str]:
        """Headers and footers of the pages, each once."""
        seen = set()
        for kind in ("header", "footer"):
            for name in self._package.related(self._main, kind):
                said = "\n".join(self._lines(self._package.tree(name))).strip()
                if said not in seen and any(character.isalpha() for character in said):  # no lone page number
                    seen.add(said)
                    yield said

    def _heading_styles(self) -> Iterator[str]:
        """Ids of the styles of headings: by name, or by the level in the outline, which they inherit."""
        styles: dict[str, tuple[str | None, bool]] = {}
        for name in self._package.related(self._main, "styles"):
            for style in self._package.tree(name, shortened=_styles_of_paragraphs):
                if attribute(style, "type") == "paragraph":
                    styles[attribute(style, "styleId") or ""] = _style(style)
        for style_id in styles:
            current: str | None = style_id
            for _ in range(_MAX_STYLES_BELOW):
                based_on, is_heading = styles.get(current or "", (None, False))
                if is_heading:
                    yield style_id
                if is_heading or based_on is None:
                    break
                current = based_on

    def _is_heading(self, paragraph: ElementTree.Element) -> bool:
        properties = next((node for node in paragraph if local(node) == "pPr"), None)
        for node in properties if properties is not None else ():
            if local(node) == "outlineLvl":
                level = attribute(node, "val") or ""
                return level.isdigit() and int(level) < _BODY_LEVEL
        return any(
            local(node) == "pStyle" and attribute(node, "val") in self._headings
            for node in (properties if properties is not None else ())
        )

    def _inline(self, node: ElementTree.Element, aside: list[ElementTree.Element]) -> str:
        """The text of a paragraph; what hangs on it (notes, comments, text boxes) is added to `aside`."""
        said = []
        for child in node:
            name = local(child)
            if name == "t":
                said.append(child.text or "")
            elif name in _SIGNS:
                said.append(_SIGNS[name])
            elif name == "sym":
                said.append(_symbol(attribute(child, "char")))
            elif name in _NOTES:
                note = self._notes[_NOTES[name]].get(attribute(child, "id"))
                if note is not None:
                    aside.append(note)
            elif name == "txbxContent":
                aside.append(child)
            elif name not in _UNSEEN:
                said.append(self._inline(child, aside))
        return "".join(said)

    def _lines(self, blocks: Iterable[ElementTree.Element]) -> Iterator[str]:
        for block in blocks:
            name = local(block)
            if name == "p":
                aside: list[ElementTree.Element] = []
                yield self._inline(block, aside)
                for hanging in aside:
                    yield from self._lines(hanging)
            elif name == "tbl":
                for row in self._rows(block):
                    yield " | ".join(row)
            elif name not in _UNSEEN:
                yield from self._lines(block)

    def _rows(self, table: ElementTree.Element) -> Iterator[list[str]]:
        for row in table:
            if local(row) == "tr":
                yield [said for cell in row for said in self._cells(cell)]
            elif local(row) not in _UNSEEN:
                yield from self._rows(row)

    def _cells(self, cell: ElementTree.Element) -> Iterator[str]:
        """The text of a cell and blanks for the columns it spans."""
        if local(cell) == "tc":
            yield " ".join(line for line in self._lines(cell) if line.strip())
            spans = [attribute(node, "val") or "" for node in cell.iter() if local(node) == "gridSpan"]
            if spans and spans[0].isdigit():
                yield from [""] * (min(int(spans[0]), _MAX_SPAN) - 1)
        elif local(cell) not in _UNSEEN:
            for inner in cell:
                yield from self._cells(inner)


def _styles_of_paragraphs(styles: bytes) -> bytes:
    """The styles without those of tables and characters: a tenth of what some programs write into each document."""
    root = _STYLES.search(styles)
    if root is None:  # in 16 bits
        return styles
    prefix = root[1] or b""
    opening, closing = b"<%bstyle" % prefix, b"</%bstyle>" % prefix
    kept: list[bytes] = []
    for style in re.split(rb"%b(?=\s)" % opening, styles[root.end() :])[1:]:
        head, _, body = style.partition(b">")
        if b"paragraph" in head and closing in body:
            kept += (opening, head, b">", body.partition(closing)[0], closing)
    return b"".join((styles[: root.end()], *kept, b"</%bstyles>" % prefix))


def _style(style: ElementTree.Element) -> tuple[str | None, bool]:
    """What a style is based on, and whether it makes a heading itself."""
    based_on, is_heading = None, False
    for node in style:
        name = local(node)
        if name == "basedOn":
            based_on = attribute(node, "val")
        elif name == "name":
            is_heading = _HEADING_STYLE.fullmatch(attribute(node, "val") or "") is not None
        elif name == "pPr":
            for setting in node:
                if local(setting) == "outlineLvl":
                    level = attribute(setting, "val") or ""
                    return None, level.isdigit() and int(level) < _BODY_LEVEL
    return based_on, is_heading


def _symbol(code: str | None) -> str:
    """A sign of a symbol font. Its code is for private use and would show nothing."""
    number = int(code or "0", 16)
    return "•" if 0xE000 <= number <= 0xF8FF else chr(number)
