# SPDX-License-Identifier: AGPL-3.0-or-later
"""XML of any vocabulary: titles are headings, rows and records are tables, everything else is a paragraph each."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from context_chat_backend.domain import Document, Part
from context_chat_backend.parsing.formats import text
from context_chat_backend.parsing.formats.outline import Outline
from context_chat_backend.parsing.formats.package import local

_TITLES = frozenset({"title", "head", "heading", "caption"})
_ROWS = frozenset({"row", "tr"})
_SAYING = frozenset({"name", "title", "label", "value", "alt", "summary", "description", "content", "text", "caption"})
"""Attributes that hold words for people; the others hold codes."""
_NAMES = ("title", "name", "label")
"""Those that say what an element with others in it is called."""
_MAX_DEPTH = 200
_LEAST_RECORDS = 2


def read(content: bytes, kind: str) -> Document:
    """The document in an XML file; what cannot be parsed, or declares entities, is read as it stands.

    Raises SourceRejected.
    """
    del kind
    as_it_stands = text.decode(content)
    if "<!ENTITY" in as_it_stands:  # they could expand without end
        return Document((Part(as_it_stands),))
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - no entities: see above
    except (ElementTree.ParseError, ValueError, LookupError):
        return Document((Part(as_it_stands),))
    outline = Outline()
    _fill(outline, root, 0)
    return Document(tuple(outline.parts()))


def _fill(outline: Outline, node: ElementTree.Element, depth: int) -> None:
    children = list(node)
    said = {name.rpartition("}")[2].lower(): value.strip() for name, value in node.items() if _says(name, value)}
    if children and (named := next((said.pop(name) for name in _NAMES if name in said), None)):
        outline.heading(named)
    if said:
        outline.paragraph("; ".join(f"{name}: {value}" for name, value in said.items()))
    if not children or depth > _MAX_DEPTH or _is_mixed(node):
        line = " ".join("".join(node.itertext()).split()) if _is_mixed(node) else "".join(node.itertext())
        if local(node) in _TITLES:
            outline.heading(line)
        else:
            outline.paragraph(line)
    elif all(local(child) in _ROWS for child in children):
        outline.table([[" ".join("".join(cell.itertext()).split()) for cell in row] for row in _rows(node)])
    elif _are_records(children):
        columns = list(dict.fromkeys(local(value) for record in children for value in record))
        records = ({local(value): (value.text or "").strip() for value in record} for record in children)
        outline.table([columns, *([record.get(column, "") for column in columns] for record in records)])
    elif any(local(child) in ("thead", "tbody") for child in children):
        outline.table([[" ".join("".join(cell.itertext()).split()) for cell in row] for row in _rows(node)])
    else:
        for child in children:
            _fill(outline, child, depth + 1)


def _rows(node: ElementTree.Element) -> Iterator[ElementTree.Element]:
    return (row for row in node.iter() if local(row) in _ROWS)


def _is_mixed(node: ElementTree.Element) -> bool:
    """Whether words stand beside elements: then it is one paragraph."""
    return bool((node.text or "").strip()) or any((child.tail or "").strip() for child in node)


def _are_records(nodes: list[ElementTree.Element]) -> bool:
    """Whether the elements are alike, and hold several values each and nothing else."""
    return (
        len(nodes) >= _LEAST_RECORDS
        and len({node.tag for node in nodes}) == 1
        and all(len(node) >= _LEAST_RECORDS and not _is_mixed(node) for node in nodes)
        and all(len(value) == 0 and not value.attrib for node in nodes for value in node)
        and all(len({value.tag for value in node}) == len(node) for node in nodes)
    )


def _says(name: str, value: str) -> bool:
    return name.rpartition("}")[2].lower() in _SAYING and any(character.isalpha() for character in value)
