# SPDX-License-Identifier: AGPL-3.0-or-later
"""PowerPoint presentations (pptx), slide by slide under their titles, with tables, diagrams, charts and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree import ElementTree

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats.outline import Outline, document
from context_chat_backend.parsing.formats.package import Package, attribute, local, opened

_TITLES = frozenset({"title", "ctrTitle"})
_DECORATION = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})
"""What stands on every slide."""


def read(content: bytes, kind: str) -> Document:
    """The document in a pptx file. Raises SourceRejected."""
    del kind
    with opened(content) as package:
        main = next(iter(package.related("", "officeDocument")), "ppt/presentation.xml")
        pointed = package.relations(main)
        slides = (node for node in package.tree(main).iter() if local(node) == "sldId")
        parts: list[Part] = []
        for number, slide in enumerate(slides, start=1):
            _, name = pointed[_relation(slide)]
            parts += _slide(package, name, number)
        core = next(iter(package.related("", "core-properties")), None)
        properties = package.tree(core) if core else ()
        return document(parts, next((node.text for node in properties if local(node) == "title"), None))


def _relation(node: ElementTree.Element) -> str:
    """The id of the relation; the element has a number of its own called `id`, too."""
    return next(value for key, value in node.attrib.items() if key.endswith("}id"))


def _slide(package: Package, name: str, number: int) -> Iterable[Part]:
    outline = Outline(Location(slide=number))
    shapes = list(_shapes(package.tree(name)))
    shapes.sort(key=lambda shape: _place(shape) not in _TITLES)  # the title first; the others stay in their order
    for shape in shapes:
        _fill(outline, shape)
    for drawing in [*package.related(name, "diagramData"), *package.related(name, "chart")]:
        for line in _plain(package.tree(drawing)):
            outline.paragraph(line)
    for notes in package.related(name, "notesSlide"):
        for shape in _shapes(package.tree(notes)):
            _fill(outline, shape)
    return outline.parts()


def _shapes(node: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Shapes with text and frames with tables, also those in groups."""
    for child in node:
        name = local(child)
        if name in ("sp", "graphicFrame", "cxnSp", "pic"):
            if _place(child) not in _DECORATION:
                yield child
        elif name != "Fallback":
            yield from _shapes(child)


def _place(shape: ElementTree.Element) -> str | None:
    """What the shape is for, where the layout says so."""
    return next((attribute(node, "type") for node in shape.iter() if local(node) == "ph"), None)


def _fill(outline: Outline, shape: ElementTree.Element) -> None:
    tables = [node for node in shape.iter() if local(node) == "tbl"]
    for table in tables:
        rows = [node for node in table if local(node) == "tr"]
        outline.table([[" ".join(_paragraphs(cell)) for cell in row if local(cell) == "tc"] for row in rows])
    if tables:
        return
    said = list(_paragraphs(shape))
    if _place(shape) in _TITLES:
        outline.heading(" ".join(said))
    else:
        outline.paragraph("\n".join(said))


def _paragraphs(node: ElementTree.Element) -> Iterator[str]:
    for paragraph in node.iter():
        if local(paragraph) == "p":
            said = "".join(_run(part) for part in paragraph.iter())
            if said.strip():
                yield said


def _run(node: ElementTree.Element) -> str:
    name = local(node)
    if name == "t":
        return node.text or ""
    return {"br": "\n", "tab": "\t"}.get(name, "")


def _plain(drawing: ElementTree.Element) -> Iterator[str]:
    """The words of a diagram or a chart: its paragraphs, and the names of its series and categories."""
    yield from _paragraphs(drawing)
    said = set()
    for cache in drawing.iter():
        if local(cache) == "strCache":
            for value in cache.iter():
                if local(value) == "v" and value.text and value.text not in said:
                    said.add(value.text)
                    yield value.text
