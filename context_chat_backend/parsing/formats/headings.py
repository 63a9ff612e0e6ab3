# SPDX-License-Identifier: AGPL-3.0-or-later
"""Text with Markdown headings becomes parts, each under the heading it stands below."""

from __future__ import annotations

import re
from collections.abc import Iterator

from context_chat_backend.domain import Location, Part
from context_chat_backend.parsing.formats import table

_HEADING = re.compile(r"^#{1,6}[ \t]+([^\s#].*)$", re.MULTILINE)
_MAX_CHARACTERS = 200


def parts(text: str) -> Iterator[Part]:
    """The parts of `text`; the first below a heading begins with its line, so that no character is lost.

    A heading with nothing below it opens the part of the next one. Tables are parts of their own.
    """
    start, heading, body = 0, None, 0
    for match in _HEADING.finditer(text):
        if text[body : match.start()].strip():
            yield from table.parts(text[start : match.start()], Location(heading=heading))
            start = match.start()
        heading, body = match[1].rstrip(" \t#")[:_MAX_CHARACTERS], match.end()
    yield from table.parts(text[start:], Location(heading=heading))
