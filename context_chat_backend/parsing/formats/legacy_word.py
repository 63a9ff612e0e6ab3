# SPDX-License-Identifier: AGPL-3.0-or-later
"""Texts of old Word (doc, MS-DOC), heading by heading, tables row by row, with notes, comments and text boxes."""

from __future__ import annotations

import bisect
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from context_chat_backend.domain import Document, Part, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing import limits
from context_chat_backend.parsing.formats import compound
from context_chat_backend.parsing.formats.extraction import extract
from context_chat_backend.parsing.formats.outline import Outline, document

_FIRST_OF_TODAY = 193
"""Word 97. Older files have another layout."""
_ENCRYPTED, _OTHER_TABLE = 0x0100, 0x0200
_STYLES, _PARAGRAPHS, _PIECES = 1, 13, 33
"""Places of the structures in the head."""
_HEADINGS = (*range(1, 10), 62)
"""Numbers of the styles `heading 1` to `heading 9` and `title`."""
_NO_STYLE = 0x0FFF
_IN_TABLE, _ROW_END, _LEVEL, _BODY_LEVEL = 0x2416, 0x2417, 0x2640, 9
_OPERAND_SIZES = (1, 1, 2, 4, 2, 2, 0, 3)
_PAGE = 512
_FIELD = re.compile("\x13[^\x13\x14\x15]*\x14?([^\x13\x14\x15]*)\x15")
"""Code and result of a field; the innermost first, since fields hold others."""
_UNSEEN = re.compile("[\x00-\x06\x08\x0e-\x1c\x1f\ufffc]")
_MAX_FIELDS_WITHIN = 16
_MAX_STYLES_BELOW = 32
"""Styles build on each other, and a damaged file may go round in circles."""


@dataclass(frozen=True, slots=True)
class _Paragraph:
    text: str
    is_heading: bool = False
    is_in_table: bool = False
    ends_row: bool = False


def read(content: bytes, kind: str) -> Document:
    """The document in a doc file. Raises SourceRejected."""
    with compound.opened(content) as file:
        main = compound.stream(file, "WordDocument")
        _, version = struct.unpack_from("<HH", main, 0)
        (flags,) = struct.unpack_from("<H", main, 10)
        if flags & _ENCRYPTED:
            raise SourceRejected(Reason.ENCRYPTED)
        title = compound.title(file)
        if version < _FIRST_OF_TODAY:
            found = extract(content, kind)
            return document([Part(found.content)], found.title)
        table = compound.stream(file, "1Table" if flags & _OTHER_TABLE else "0Table")
        outline = Outline()
        _fill(outline, _Text(main, table).paragraphs())
        return document(outline.parts(), title)


def _fill(outline: Outline, paragraphs: Iterator[_Paragraph]) -> None:
    rows: list[list[str]] = []
    cells: list[str] = []
    lines: list[str] = []
    for paragraph in paragraphs:
        if paragraph.ends_row:
            rows.append(cells)
            cells, lines = [], []
        elif paragraph.is_in_table:
            lines.append(paragraph.text.removesuffix("\x07"))
            if paragraph.text.endswith("\x07"):
                cells.append(" ".join(line for line in lines if line))
                lines = []
        else:
            if rows:
                outline.table(rows)
                rows = []
            if paragraph.is_heading:
                outline.heading(paragraph.text)
            else:
                outline.paragraph(paragraph.text)
    if rows or cells:
        outline.table([*rows, cells])


class _Text:
    """The characters of a document, which lie in pieces, with what is known about its paragraphs."""

    def __init__(self, main: bytes, table: bytes) -> None:
        self._main = main
        self._table = table
        (count,) = struct.unpack_from("<H", main, 32)
        numbers = 34 + 2 * count
        (count_of_long,) = struct.unpack_from("<H", main, numbers)
        self._places = numbers + 2 + 4 * count_of_long + 2
        self._headings = set(self._heading_styles())
        self._starts, self._properties = self._paragraph_runs()

    def paragraphs(self) -> Iterator[_Paragraph]:
        """All paragraphs: those of the text, then notes, headers, comments and text boxes."""
        held: list[str] = []
        read = 0
        for character_run, offset, width in self._pieces():
            start = 0
            read += len(character_run)
            if read > limits.held.file_characters:  # pieces of a damaged file may be the same text again and again
                raise SourceRejected(Reason.TOO_MUCH_TEXT)
            for found in re.finditer("[\r\x07\x0c]", character_run):
                held.append(character_run[start : found.start()])
                yield self._paragraph("".join(held), found[0], offset + found.start() * width)
                start, held = found.end(), []
            held.append(character_run[start:])
        if "".join(held):
            yield _Paragraph(_shown("".join(held)))

    def _paragraph(self, said: str, mark: str, place: int) -> _Paragraph:
        """A paragraph, whose properties belong to the place of its mark in the file."""
        index = bisect.bisect_right(self._starts, place) - 1
        style, settings = self._properties[index] if index >= 0 else (_NO_STYLE, {})
        if settings.get(_ROW_END):
            return _Paragraph("", is_in_table=True, ends_row=True)
        level = settings.get(_LEVEL)
        is_heading = level < _BODY_LEVEL if level is not None else style in self._headings
        text = _shown(said) + ("\x07" if mark == "\x07" else "")
        is_in_table = bool(settings.get(_IN_TABLE)) or mark == "\x07"
        return _Paragraph(text, is_heading=is_heading and not is_in_table, is_in_table=is_in_table)

    def _structure(self, number: int) -> bytes:
        offset, length = struct.unpack_from("<II", self._main, self._places + 8 * number)
        return self._table[offset : offset + length]

    def _pieces(self) -> Iterator[tuple[str, int, int]]:
        """The text piece by piece, with its place in the file and the bytes of a character."""
        data = self._structure(_PIECES)
        at = 0
        while data[at] == 1:  # properties, which pieces may point to
            at += 3 + struct.unpack_from("<H", data, at + 1)[0]
        (size,) = struct.unpack_from("<I", data, at + 1)
        at += 5
        count = (size - 4) // 12
        places = struct.unpack_from(f"<{count + 1}I", data, at)
        for number in range(count):
            (where,) = struct.unpack_from("<I", data, at + 4 * (count + 1) + 8 * number + 2)
            length = max(0, places[number + 1] - places[number])
            if where & 0x40000000:
                offset = (where & 0x3FFFFFFF) // 2
                yield self._main[offset : offset + length].decode("cp1252", "replace"), offset, 1
            else:
                characters = self._main[where : where + 2 * length].decode("utf-16-le", "replace")
                yield characters, where, 2

    def _heading_styles(self) -> Iterator[int]:
        data = self._structure(_STYLES)
        size, count, base = struct.unpack_from("<HHH", data, 0)
        at = 2 + size
        based_on: dict[int, int] = {}
        headings = set()
        for number in range(count):
            if at + 2 > len(data):
                break
            (length,) = struct.unpack_from("<H", data, at)
            if length >= base >= 4:
                first, second = struct.unpack_from("<HH", data, at + 2)
                if first & 0x0FFF in _HEADINGS:
                    headings.add(number)
                based_on[number] = second >> 4
            at += 2 + length + length % 2
        for number in based_on:
            style = number
            for _ in range(_MAX_STYLES_BELOW):
                if style in headings:
                    yield number
                    break
                style = based_on.get(style, _NO_STYLE)
                if style == _NO_STYLE:
                    break

    def _paragraph_runs(self) -> tuple[list[int], list[tuple[int, dict[int, int]]]]:
        """Where in the file paragraphs begin, in order, with their styles and own settings."""
        data = self._structure(_PARAGRAPHS)
        count = (len(data) - 4) // 8
        runs: list[tuple[int, tuple[int, dict[int, int]]]] = []
        for number in struct.unpack_from(f"<{count}I", data, 4 * (count + 1)) if count > 0 else ():
            page = self._main[(number & 0x3FFFFF) * _PAGE : ((number & 0x3FFFFF) + 1) * _PAGE]
            paragraphs = page[_PAGE - 1]
            starts = struct.unpack_from(f"<{paragraphs + 1}I", page, 0)
            for index in range(paragraphs):
                at = 2 * page[4 * (paragraphs + 1) + 13 * index]
                runs.append((starts[index], _settings(page, at) if at else (0, {})))
        runs.sort(key=lambda run: run[0])
        return [start for start, _ in runs], [settings for _, settings in runs]


def _settings(page: bytes, at: int) -> tuple[int, dict[int, int]]:
    """The style of a paragraph and its own settings of one byte."""
    size = 2 * page[at] - 1 if page[at] else 2 * page[at + 1]
    at += 1 if page[at] else 2
    end = min(at + size, len(page))
    (style,) = struct.unpack_from("<H", page, at)
    at += 2
    settings = {}
    while at + 2 < end:
        (code,) = struct.unpack_from("<H", page, at)
        length = _OPERAND_SIZES[code >> 13]
        if length == 1:
            settings[code] = page[at + 2]
        at += 2 + (length or page[at + 2] + 1)
    return style, settings


def _shown(said: str) -> str:
    """What a reader sees: results of fields without their codes, hyphens and line ends as such."""
    for _ in range(_MAX_FIELDS_WITHIN):
        said, found = _FIELD.subn(_result, said)
        if not found:
            break
    return _UNSEEN.sub("", said.replace("\x0b", "\n").replace("\x1e", "-")).strip()


def _result(field: re.Match[str]) -> str:
    return field[1] if "\x14" in field[0] else ""
