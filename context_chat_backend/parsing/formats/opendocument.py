# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenDocument: texts by heading, workbooks by sheet, presentations by slide."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import table
from context_chat_backend.parsing.formats.outline import Outline, document
from context_chat_backend.parsing.formats.package import Package, attribute, local, opened

_UNSEEN = frozenset(
    {"tracked-changes", "forms", "sequence-decls", "variable-decls", "user-field-decls", "soft-page-break"}
)
_DECORATION = frozenset({"page-number", "date-time", "header", "footer"})
"""What stands on every slide, as `presentation:class` calls it."""
_ASIDE = frozenset({"frame", "note", "annotation", "custom-shape", "text-box"})
"""What hangs on a place in a paragraph and is read after it."""
_MAX_REPEATED = 1000
"""Cells are repeated to the end of the sheet, a million rows away, where only their colour is meant."""
_MIDNIGHT = "T00:00:00"


def read_text(content: bytes, kind: str) -> Document:
    """The document in a text, heading by heading, with notes after their paragraph. Raises SourceRejected."""
    del kind
    with opened(content) as package:
        outline = Outline()
        _fill(outline, _body(package, "text"))
        for running in _running(package):
            outline.paragraph(running)
        return document(outline.parts(), _title(package))


def read_sheets(content: bytes, kind: str) -> Document:
    """The document in a workbook, sheet by sheet and row by row. Raises SourceRejected."""
    del kind
    with opened(content) as package:
        parts = []
        for sheet in _body(package, "spreadsheet"):
            if local(sheet) == "table":
                name = attribute(sheet, "name") or None
                if rows := list(table.lines(_rows(sheet))):
                    text = "\n".join([*([name] if name else []), *rows])
                    parts.append(Part(text if any(rows) else "", Location(sheet=name), rows=True))
        return document(parts, _title(package))


def read_slides(content: bytes, kind: str) -> Document:
    """The document in a presentation, slide by slide with its notes. Raises SourceRejected."""
    del kind
    with opened(content) as package:
        pages = [page for page in _body(package, "presentation") if local(page) == "page"]
        parts: list[Part] = []
        for number, page in enumerate(pages, start=1):
            outline = Outline(Location(slide=number))
            titles = [frame for frame in page if attribute(frame, "class") == "title"]
            for frame in titles:
                outline.heading(" ".join(" ".join(_text(node)) for node in frame.iter() if local(node) in ("p", "h")))
            _fill(outline, [frame for frame in page if frame not in titles])
            parts += outline.parts()
        return document(parts, _title(package))


def _body(package: Package, kind: str) -> ElementTree.Element:
    """The element that holds the content; other kinds in it (a drawing) are read like a text."""
    body = next(node for node in package.tree("content.xml") if local(node) == "body")
    return next((node for node in body if local(node) == kind), body[0])


def _title(package: Package) -> str | None:
    meta = package.found("meta.xml")
    return next((node.text for node in meta.iter() if local(node) == "title"), None) if meta is not None else None


def _running(package: Package) -> Iterator[str]:
    """Headers and footers of the pages, each once."""
    styles = package.found("styles.xml")
    seen = set()
    for node in styles.iter() if styles is not None else ():
        if local(node) in ("header", "footer") and node.tag.startswith("{urn:oasis:names:tc:opendocument:xmlns:style"):
            said = "\n".join(" ".join(_text(line)) for line in node.iter() if local(line) in ("p", "h")).strip()
            if said not in seen and any(character.isalpha() for character in said):  # no lone page number
                seen.add(said)
                yield said


def _fill(outline: Outline, nodes: ElementTree.Element | list[ElementTree.Element]) -> None:
    """Add blocks to the outline, in reading order."""
    for node in nodes:
        name = local(node)
        if name in _UNSEEN or attribute(node, "class") in _DECORATION:
            continue
        if name == "table":
            outline.table(_rows(node))
        elif name in ("p", "h"):
            said, *aside = _text(node)
            if name == "h":
                outline.heading(said)
            else:
                outline.paragraph(said)
            for text in aside:
                outline.paragraph(text)
        else:
            _fill(outline, list(node))


def _text(paragraph: ElementTree.Element) -> list[str]:
    """The text of a paragraph, then what hangs on it: notes, comments, frames."""
    aside: list[str] = []
    said = _inline(paragraph, aside)
    return [said, *aside]


def _inline(node: ElementTree.Element, aside: list[str]) -> str:
    said = [node.text or ""]
    for child in node:
        name = local(child)
        if name == "s":
            said.append(" " * min(int(attribute(child, "c") or 1), _MAX_REPEATED))
        elif name == "tab":
            said.append("\t")
        elif name == "line-break":
            said.append("\n")
        elif name in _ASIDE:
            aside += [text for line in _lines(child) if (text := line.strip())]
        elif name not in _UNSEEN:
            said.append(_inline(child, aside))
        said.append(child.tail or "")
    return "".join(said)


def _lines(node: ElementTree.Element) -> Iterator[str]:
    """The paragraphs below a node, rows of tables as one."""
    for child in node:
        if local(child) == "table":
            yield from table.lines(_rows(child))
        elif local(child) in ("p", "h"):
            yield from _text(child)
        elif local(child) not in ("note-citation", "creator", "date", "image", *_UNSEEN):
            yield from _lines(child)


def _rows(node: ElementTree.Element) -> Iterator[list[str]]:
    """The rows of a table. Rows and cells that repeat stand once for each time, but not to the end of the sheet."""
    for child in node:
        name = local(child)
        if name == "table-row":
            cells = _cells(child)
            times = int(attribute(child, "number-rows-repeated") or 1) if any(cells) else 1
            for _ in range(min(times, _MAX_REPEATED)):
                yield cells
        elif name in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _rows(child)


def _cells(row: ElementTree.Element) -> list[str]:
    cells: list[str] = []
    blank = 0
    for cell in row:
        if local(cell) not in ("table-cell", "covered-table-cell"):
            continue
        times = int(attribute(cell, "number-columns-repeated") or 1)
        if said := _cell(cell):
            cells += [""] * min(blank, _MAX_REPEATED) + [said] * min(times, _MAX_REPEATED)
            blank = 0
        else:
            blank += times
    return cells


def _cell(cell: ElementTree.Element) -> str:
    """What a cell shows; a date in its own notation, which differs by country, is written by year, month and day."""
    if attribute(cell, "value-type") == "date" and (date := attribute(cell, "date-value")):
        return date.removesuffix(_MIDNIGHT)
    said = " ".join(line for line in _lines(cell) if line.strip())
    return said or attribute(cell, "value") or attribute(cell, "string-value") or ""
