# SPDX-License-Identifier: AGPL-3.0-or-later
"""Written text becomes parts, each under the heading it stands below: Markdown, reStructuredText, Org."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from context_chat_backend.domain import Location, Part
from context_chat_backend.parsing.formats import table

_MARKDOWN = re.compile(r"#{1,6}[ \t]+([^\s#].*)")
_ORG = re.compile(r"\*+[ \t]+(?:(?:TODO|DONE|NEXT|WAITING|CANCELLED)[ \t]+)?(?:\[#[A-Z0-9]\][ \t]+)?(\S.*)")
_ORG_TAGS = re.compile(r"[ \t]+:[\w@#%:]+:[ \t]*$")
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_<>])\1{2,}[ \t]*")
_FENCE = re.compile(r"[ ]{0,3}(```+|~~~+)")
_ORG_BLOCK = re.compile(r"[ \t]*#\+(begin|end)_", re.IGNORECASE)
_MAX_CHARACTERS = 200
_MAX_LINE = 400
"""A longer line is no heading."""


@dataclass(frozen=True, slots=True)
class _Heading:
    text: str
    start: int
    """Where its first line begins, and where the text below it."""
    body: int


def parts(text: str, kind: str = "text") -> Iterator[Part]:
    """The parts of `text`; the first below a heading begins with its line, so that no character is lost.

    A heading with nothing below it opens the part of the next one. Tables are parts of their own. `kind` is "org",
    "rst", or "text": Markdown, and what may be read like it.
    """
    start, heading, body = 0, None, 0
    for found in _org(text) if kind == "org" else _marked(text, everywhere=kind == "rst"):
        if text[body : found.start].strip():
            yield from table.parts(text[start : found.start], Location(heading=heading))
            start = found.start
        heading, body = found.text[:_MAX_CHARACTERS], found.body
    yield from table.parts(text[start:], Location(heading=heading))


def _marked(text: str, *, everywhere: bool) -> Iterator[_Heading]:
    """Headings that begin with `#`, and lines that are underlined; in Markdown only with `=` or `-`.

    Nothing within a fence of code is a heading.
    """
    fence: str | None = None
    above, before, before_start = "", "", 0
    for line, start, end in _lines(text):
        opened = None if everywhere else _FENCE.match(line)
        if fence is not None:
            if opened is not None and opened[1].startswith(fence):
                fence = None
        elif opened is not None:
            fence = opened[1]
        elif not everywhere and len(line) < _MAX_LINE and (marked := _MARKDOWN.fullmatch(line)):
            yield _Heading(marked[1].rstrip(" \t#"), start, end)
        elif (
            _is_title(before, line)
            and (everywhere or line[0] in "=-")
            and (not above.strip() or _UNDERLINE.fullmatch(above))
        ):
            yield _Heading(before.strip(), before_start, end)
        above, before, before_start = before, line, start


def _opens(above: str) -> bool:
    """Whether a title may stand below this line: it is blank, or a rule over the title."""
    return not above.strip() or _UNDERLINE.fullmatch(above) is not None


def _is_title(line: str, underline: str) -> bool:
    """Whether the line is underlined in all its length, as a title is; it begins with no blank, bar or bullet."""
    title = line.rstrip()
    return (
        0 < len(title) < _MAX_LINE
        and _UNDERLINE.fullmatch(underline) is not None
        and len(underline.rstrip()) + 1 >= min(len(title), 60)
        and _UNDERLINE.fullmatch(title) is None
        and not title.startswith((" ", "\t", "|", "- ", "* ", "> ", ".."))
    )


def _org(text: str) -> Iterator[_Heading]:
    in_block = False
    for line, start, end in _lines(text):
        if block := _ORG_BLOCK.match(line):
            in_block = block[1].lower() == "begin"
        elif not in_block and len(line) < _MAX_LINE and (found := _ORG.fullmatch(line)):
            yield _Heading(_ORG_TAGS.sub("", found[1]).strip(), start, end)


def _lines(text: str) -> Iterator[tuple[str, int, int]]:
    """Each line without its end, where it begins and where the next one does."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end + 1
        yield text[start:end].rstrip("\r\n"), start, end
        start = end
