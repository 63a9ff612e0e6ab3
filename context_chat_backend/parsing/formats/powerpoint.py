# SPDX-License-Identifier: AGPL-3.0-or-later
"""Presentations of old PowerPoint (ppt, MS-PPT), slide by slide with their notes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from context_chat_backend.domain import Document, Location, Part, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import compound
from context_chat_backend.parsing.formats.outline import Outline, document

_DOCUMENT, _SLIDE, _NOTES, _LIST = 0x03E8, 0x03EE, 0x03F0, 0x0FF0
_SLIDE_ATOM, _PERSIST, _HEADER, _CHARACTERS, _BYTES = 0x03EF, 0x03F3, 0x0F9F, 0x0FA0, 0x0FA8
_USER_EDIT, _DIRECTORY = 0x0FF5, 0x1772
_ENCRYPTED_EDIT = 32
"""Length of the record of an edit that names an encryption; without it is 28."""
_SLIDES, _NOTES_LIST = 0, 2
_TITLES = (0, 6)
_SLIDE_NUMBER = "*"
"""What stands in the file for the number of the slide."""
_CONTAINER, _SHAPE_TEXT = 0xF, 0xF00D
_MAX_DEPTH = 24
_MAX_EDITS = 10_000


@dataclass
class _Slide:
    """One slide or one page of notes, as the document lists it."""

    persist: int
    number: int
    texts: list[tuple[int | None, str]] = field(default_factory=list)
    """Each with the kind of its place, where that is known."""


def read(content: bytes, kind: str) -> Document:
    """The document in a ppt file. Raises SourceRejected."""
    del kind
    with compound.opened(content) as file:
        stream = compound.stream(file, "PowerPoint Document")
        places = _places(stream, compound.stream(file, "Current User"))
        slides, notes = _listed(stream, places)
        parts: list[Part] = []
        for number, slide in enumerate(slides, start=1):
            texts, notes_id = _texts(stream, places.get(slide.persist), _SLIDE)
            outline = _outline(number, slide.texts + [said for said in texts if said[1] not in _said(slide)])
            for page in notes:
                if notes_id and page.number == notes_id:
                    aside, _ = _texts(stream, places.get(page.persist), _NOTES)
                    for _, said in page.texts + [one for one in aside if one[1] not in _said(page)]:
                        outline.paragraph(said)
            parts += outline.parts()
        return document(parts, compound.title(file))


def _said(slide: _Slide) -> set[str]:
    return {text for _, text in slide.texts}


def _outline(number: int, texts: list[tuple[int | None, str]]) -> Outline:
    outline = Outline(Location(slide=number))
    for kind, said in sorted(texts, key=lambda text: text[0] not in _TITLES):  # the title first, then as they come
        if kind in _TITLES:
            outline.heading(said)
        else:
            outline.paragraph(said)
    return outline


def _places(stream: bytes, current_user: bytes) -> dict[int, int]:
    """Where the newest version of each object lies: edits are appended, each with a directory of what it changed."""
    places: dict[int, int] = {}
    (offset,) = struct.unpack_from("<I", current_user, 16)
    for _ in range(_MAX_EDITS):
        kind, length = struct.unpack_from("<HI", stream, offset + 2)
        if kind != _USER_EDIT:
            break
        if length >= _ENCRYPTED_EDIT:
            raise SourceRejected(Reason.ENCRYPTED)
        before, directory = struct.unpack_from("<II", stream, offset + 16)
        _, size = struct.unpack_from("<HI", stream, directory + 2)
        at, end = directory + 8, directory + 8 + size
        while at < end:
            (head,) = struct.unpack_from("<I", stream, at)
            first, count = head & 0xFFFFF, head >> 20
            for number, place in enumerate(struct.unpack_from(f"<{count}I", stream, at + 4)):
                places.setdefault(first + number, place)
            at += 4 + 4 * count
        if not before:
            break
        offset = before
    return places


def _listed(stream: bytes, places: dict[int, int]) -> tuple[list[_Slide], list[_Slide]]:
    """Slides and notes in the order of the document, with the texts it keeps for them."""
    for place in places.values():
        kind, length = struct.unpack_from("<HI", stream, place + 2)
        if kind == _DOCUMENT:
            lists = {
                instance: list(_slides(stream, start, end))
                for found, instance, _, start, end in _records(stream, place + 8, place + 8 + length)
                if found == _LIST
            }
            return lists.get(_SLIDES, []), lists.get(_NOTES_LIST, [])
    raise SourceRejected(Reason.DAMAGED)


def _slides(stream: bytes, start: int, end: int) -> Iterator[_Slide]:
    slide: _Slide | None = None
    place: int | None = None
    for kind, _, _, begins, ends in _records(stream, start, end):
        if kind == _PERSIST:
            if slide is not None:
                yield slide
            persist, _, _, number = struct.unpack_from("<IIII", stream, begins)
            slide, place = _Slide(persist, number), None
        elif kind == _HEADER:
            (place,) = struct.unpack_from("<I", stream, begins)
        elif slide is not None and (said := _text(stream, kind, begins, ends)):
            slide.texts.append((place, said))
    if slide is not None:
        yield slide


def _texts(stream: bytes, place: int | None, wanted: int) -> tuple[list[tuple[int | None, str]], int]:
    """The texts in the shapes of a slide, and the number of its notes."""
    if place is None:
        return [], 0
    kind, length = struct.unpack_from("<HI", stream, place + 2)
    if kind != wanted:
        return [], 0
    texts: list[tuple[int | None, str]] = []
    notes, header = 0, None
    for found, begins, ends in _all_records(stream, place + 8, place + 8 + length, 0):
        if found == _SLIDE_ATOM:
            (notes,) = struct.unpack_from("<I", stream, begins + 16)
        elif found == _HEADER:
            (header,) = struct.unpack_from("<I", stream, begins)
        elif said := _text(stream, found, begins, ends):
            texts.append((header, said))
    return texts, notes


def _text(stream: bytes, kind: int, start: int, end: int) -> str:
    if kind == _CHARACTERS:
        said = stream[start:end].decode("utf-16-le", "replace")
    elif kind == _BYTES:
        said = stream[start:end].decode("latin-1")
    else:
        return ""
    said = said.replace("\r", "\n").replace("\x0b", "\n").strip()
    return "" if said == _SLIDE_NUMBER else said


def _records(stream: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The records side by side: kind, instance, version, and where what they hold begins and ends."""
    while start + 8 <= min(end, len(stream)):
        head, kind, length = struct.unpack_from("<HHI", stream, start)
        yield kind, head >> 4, head & 0xF, start + 8, min(start + 8 + length, end)
        start += 8 + length


def _all_records(stream: bytes, start: int, end: int, depth: int) -> Iterator[tuple[int, int, int]]:
    """The records within each other, in their order."""
    for kind, _, version, begins, ends in _records(stream, start, end):
        if (version == _CONTAINER and depth < _MAX_DEPTH) or kind == 0xF00D:
            yield from _all_records(stream, begins, ends, depth + 1)
        else:
            yield kind, begins, ends
