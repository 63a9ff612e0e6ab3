# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rich text by heading and workbooks by sheet, as kreuzberg finds them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import table
from context_chat_backend.parsing.formats.extraction import extract
from context_chat_backend.parsing.formats.outline import Outline, document

_MIDNIGHT = " 00:00:00"
_LOST_SHARE = 0.95
_HEADING_STYLE = re.compile(rb"\{(?:\\\*)?\\s(\d+)[^{}]*?\s?(?i:heading|title|\xdcberschrift) ?\d?;\}")


def read_rich_text(content: bytes, kind: str) -> Document:
    """The document in a rich text, heading by heading; tables row by row. Raises SourceRejected."""
    for number in set(_HEADING_STYLE.findall(content)):  # its style makes a heading; the library looks at levels alone
        content = re.sub(rb"(\\pard(?:\\plain)?[ ]?\\s%s)(?=[\\ ])" % number, rb"\1\\outlinelevel0", content)
    result = extract(content, kind)
    parts = _by_heading(result.nodes)
    if _size(part.text for part in parts) < _size([result.content]) * _LOST_SHARE:
        parts = [Part(result.content)]  # a kind of node that is not known here: all of the text, without its places
    return document(parts, result.title)


def read_sheets(content: bytes, kind: str) -> Document:
    """The document in a workbook, sheet by sheet and row by row. Raises SourceRejected."""
    result = extract(content, kind)
    names = result.sheet_names
    parts = []
    for sheet in result.tables:
        name = names[sheet.page_number - 1] if 0 < sheet.page_number <= len(names) else None
        rows = ([cell.removesuffix(_MIDNIGHT) for cell in row] for row in sheet.cells)
        text = "\n".join([name or "", *table.lines(rows)])
        parts.append(Part(text, Location(sheet=name), rows=True))
    return document(parts or [Part(result.content)], result.title)


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
