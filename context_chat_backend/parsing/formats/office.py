# SPDX-License-Identifier: AGPL-3.0-or-later
"""Office formats: texts by heading, workbooks by sheet, presentations by slide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import table
from context_chat_backend.parsing.formats.extraction import extract
from context_chat_backend.parsing.formats.outline import Outline, document

_MIDNIGHT = " 00:00:00"
_LOST_SHARE = 0.95


def read(content: bytes, kind: str) -> Document:
    """The document in a file whose format tells no places: doc, rtf, ppt. Raises SourceRejected."""
    result = extract(content, kind)
    return _document(result, [Part(result.content)])


def read_text(content: bytes, kind: str) -> Document:
    """The document in a text (rtf), heading by heading; tables row by row. Raises SourceRejected."""
    result = extract(content, kind, structure=True)
    parts = _by_heading((result.document or {}).get("nodes", []))
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


def _document(result: Any, parts: list[Part]) -> Document:
    """The parts, and the title of the document."""
    return document(parts, (result.metadata or {}).get("title"))


def _by_heading(nodes: Iterable[dict[str, Any]]) -> list[Part]:
    outline = Outline()
    for node in nodes:
        content = node["content"]
        if content["node_type"] == "heading":
            outline.heading(content["text"])
        elif content["node_type"] == "table":
            outline.table(_rows(content["grid"]))
        else:
            outline.paragraph(content.get("text") or "")
    return outline.parts()


def _rows(grid: dict[str, Any]) -> list[list[str]]:
    rows = [[""] * grid["cols"] for _ in range(grid["rows"])]
    for cell in grid["cells"]:
        rows[cell["row"]][cell["col"]] = cell["content"]
    return rows


def _size(texts: Iterable[str]) -> int:
    """How many characters are not blank."""
    return sum(len(word) for text in texts for word in text.split())
