# SPDX-License-Identifier: AGPL-3.0-or-later
"""Headings, paragraphs and tables, in reading order, become parts: one from each heading to the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import table

_MAX_HEADING = 200


class Outline:
    """Collects what a reader finds. A heading with nothing below it opens the part of the next one."""

    def __init__(self, location: Location | None = None) -> None:
        """All parts stand at `location`, with their headings."""
        self._location = location or Location()
        self._texts: list[str] = []
        self._open = False
        self._parts: list[Part] = []

    def heading(self, text: str) -> None:
        """A heading: what follows stands below it, until the next one."""
        line = " ".join(text.split())
        if not line:
            return
        if self._open:
            self._close()
        self._location = replace(self._location, heading=line[:_MAX_HEADING])
        self._texts.append(line)

    def paragraph(self, text: str) -> None:
        """A paragraph below the last heading; blanks around it are dropped."""
        if text := text.strip():
            self._texts.append(text)
            self._open = True

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """A table, a part of its own; what has one column is text in a frame, so its cells are paragraphs."""
        filled = [row for row in rows if any(cell.strip() for cell in row)]
        if max(map(len, filled), default=0) < 2:
            for row in filled:
                self.paragraph(row[0])
            return
        self._close()
        self._parts.append(Part("\n".join(table.lines(filled)), self._location, rows=True))
        self._open = True

    def parts(self) -> list[Part]:
        """Everything that was collected."""
        self._close()
        return self._parts

    def _close(self) -> None:
        if self._texts:
            self._parts.append(Part("\n\n".join(self._texts), self._location))
        self._texts, self._open = [], False


def document(parts: Sequence[Part], title: str | None) -> Document:
    """A document of these parts, with its own title before them where the text does not say it.

    A title alone says what the file is for, not what it holds: without any text there is nothing.
    """
    title = " ".join((title or "").split()) or None
    said = any(part.text.strip() for part in parts)
    if title and said and not any(title in " ".join(part.text.split()) for part in parts):
        return Document((Part(title), *parts), title)
    return Document(tuple(parts), title)
