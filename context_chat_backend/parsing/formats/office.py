# SPDX-License-Identifier: AGPL-3.0-or-later
"""Office formats: texts by heading, workbooks by sheet, presentations by slide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import table
from context_chat_backend.parsing.formats.extraction import extract

_SLIDE_MARKER = "\ue000{page_num}\ue001"
"""Characters for private use, which no slide shows."""
_SLIDE = re.compile("\ue000(\\d+)\ue001")
_MIDNIGHT = " 00:00:00"
_LOST_SHARE = 0.95


def read(content: bytes, kind: str) -> Document:
    """The document in a file whose format tells no places: doc, rtf, ppt. Raises SourceRejected."""
    result = extract(content, kind)
    return _document(result, [Part(result.content)])


def read_text(content: bytes, kind: str) -> Document:
    """The document in a text (docx, odt), heading by heading; tables row by row. Raises SourceRejected."""
    result = extract(content, kind, structure=True)
    parts = list(_by_heading((result.document or {}).get("nodes", [])))
    if _size(part.text for part in parts) < _size([result.content]) * _LOST_SHARE:
        parts = [Part(result.content)]  # a kind of node that is not known here: all of the text, without its places
    return _document(result, parts)


def read_sheets(content: bytes, kind: str) -> Document:
    """The document in a workbook, sheet by sheet and row by row. Raises SourceRejected."""
    result = extract(content, kind)
    names = (result.metadata or {}).get("sheet_names") or []
    parts = []
    for sheet in result.tables or []:
        name = names[sheet.page_number - 1] if 0 < sheet.page_number <= len(names) else None
        rows = ([cell.removesuffix(_MIDNIGHT) for cell in row] for row in sheet.cells)
        text = "\n".join([name or "", *table.lines(rows)])
        parts.append(Part(text, Location(sheet=name), rows=True))
    return _document(result, parts or [Part(result.content)])


def read_slides(content: bytes, kind: str) -> Document:
    """The document in a presentation, slide by slide. Raises SourceRejected."""
    result = extract(content, kind, slide_marker=_SLIDE_MARKER)
    before, *rest = _SLIDE.split(result.content)
    slides = [Part(text, Location(slide=int(number))) for number, text in zip(rest[::2], rest[1::2], strict=True)]
    return _document(result, [Part(before), *slides])


def _document(result: Any, parts: list[Part]) -> Document:
    """The parts with the document's own title before them, where the text does not say it."""
    title = (result.metadata or {}).get("title")
    if title and not any(title in part.text for part in parts):
        parts.insert(0, Part(title))
    return Document(tuple(parts), title)


def _by_heading(nodes: Iterable[dict[str, Any]]) -> Iterator[Part]:
    heading: str | None = None
    is_open = False  # nothing but headings so far: a heading with nothing below it opens the part of the next one
    texts: list[str] = []
    for node in nodes:
        content = node["content"]
        if content["node_type"] == "heading":
            if is_open:
                yield Part("\n\n".join(texts), Location(heading=heading))
                texts, is_open = [], False
            heading = content["text"]
            texts.append(content["text"])
        elif content["node_type"] == "table":
            yield Part("\n\n".join(texts), Location(heading=heading))
            yield Part(_rows(content["grid"]), Location(heading=heading), rows=True)
            texts, is_open = [], True
        elif text := content.get("text"):
            texts.append(text)
            is_open = True
    yield Part("\n\n".join(texts), Location(heading=heading))


def _rows(grid: dict[str, Any]) -> str:
    rows = [[""] * grid["cols"] for _ in range(grid["rows"])]
    for cell in grid["cells"]:
        rows[cell["row"]][cell["col"]] = cell["content"]
    return "\n".join(table.lines(rows))


def _size(texts: Iterable[str]) -> int:
    """How many characters are not blank."""
    return sum(len(word) for text in texts for word in text.split())
