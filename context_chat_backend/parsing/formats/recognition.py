# SPDX-License-Identifier: AGPL-3.0-or-later
"""Text in pictures, read by Tesseract, which is part of kreuzberg; what it knows of a language is installed apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from context_chat_backend.domain import Document, Location, Part, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats.extraction import Recognised, extract

_FOLDERS = ("/usr/share/tesseract-ocr/*/tessdata", "/usr/share/tessdata", "/usr/local/share/tessdata")
_SUFFIX = ".traineddata"
_NO_LANGUAGES = frozenset({"osd", "equ"})
"""Knowledge of directions and of formulas."""
_MAX_LANGUAGES = 3
"""Each one more makes it slower and guesses worse."""
_PAGES_AT_ONCE = 4
_SECONDS = 60.0
"""How long the pages of one file may take: less than a parser is given, so that what was read is not lost."""

_wanted: tuple[str, ...] = ()
_ask: Callable[[], None] | None = None


def want(languages: Sequence[str]) -> None:
    """Read these languages (names of Tesseract, such as `deu`), most likely first; none: those that are installed."""
    global _wanted
    _wanted = tuple(languages)


def take_turns(ask: Callable[[], None]) -> None:
    """`ask` returns when no other process reads pictures: one file alone may take half of what all parsers have."""
    global _ask
    _ask = ask


def await_turn() -> None:
    """Wait until it is this process's turn to read pictures; it lasts until the end of the file."""
    if _ask is not None:
        _ask()


def installed() -> list[str]:
    """The languages that are installed, English last: with it first, letters of others are taken for plain ones."""
    files = (file for folder in _FOLDERS for file in Path("/").glob(f"{folder[1:]}/*{_SUFFIX}"))
    names = {file.name.removesuffix(_SUFFIX) for file in files} - _NO_LANGUAGES
    return sorted(names, key=lambda name: (name == "eng", name))


def languages() -> list[str]:
    """The languages that are read. Raises SourceRejected when none is installed."""
    there = installed()
    chosen = [name for name in _wanted if name in there] if _wanted else there
    if not chosen:
        raise SourceRejected(Reason.NO_RECOGNITION)
    return chosen[:_MAX_LANGUAGES]


def read(content: bytes, kind: str) -> Document:
    """The document in a picture, page by page where it has several. Raises SourceRejected."""
    chosen = languages()
    await_turn()
    result = extract(content, kind, recognised=Recognised(chosen))
    pages = result.pages or []
    if len(pages) > 1:
        return Document(tuple(Part(page["content"], Location(page=page["page_number"])) for page in pages))
    return Document((Part(result.content),))


def read_pages(content: bytes, numbers: Iterable[int]) -> Iterator[Part]:
    """The text of these pages of a PDF file, as far as the time allows. Raises SourceRejected."""
    wanted = list(numbers)
    chosen = languages()
    await_turn()
    until = time.monotonic() + _SECONDS
    for start in range(0, len(wanted), _PAGES_AT_ONCE):
        some = wanted[start : start + _PAGES_AT_ONCE]
        found = extract(content, "pdf", recognised=Recognised(chosen, tuple(some))).pages
        yield from (Part(page["content"], Location(page=page["page_number"])) for page in found)
        if time.monotonic() > until:
            return
