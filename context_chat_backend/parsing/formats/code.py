# SPDX-License-Identifier: AGPL-3.0-or-later
"""Source code: definitions that begin at the margin are its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import text

_DEFINITION = re.compile(
    r"^(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\([a-z]+\))?|unsafe|inline|extern"
    r"|virtual|override|sealed|data|open|partial)[ \t]+)*"
    r"(?:(?:class|interface|struct|enum|trait|impl|module|namespace|def|fn|func|function\*?|fun|sub|procedure|type|object"
    r"|record|protocol|extension)[ \t]+(?:\([^()\n]*\)[ \t]*)?(?P<named>[A-Za-z_$][\w$.:]*)"
    r"|(?P<called>[A-Za-z_][\w.]*)[ \t]*\(\)[ \t]*\{"  # a function of the shell
    r"|(?:[A-Za-z_][\w:<>,*&\[\]]*[ \t*&]+)+(?P<typed>[A-Za-z_~][\w:~]*)[ \t]*\([^;{}\n]*\)?[^;\n]*$)",
    re.MULTILINE,
)
_NO_TYPE = re.compile(
    r"(?:return|else|if|for|while|switch|case|throw|new|await|import|from|using|package|goto|print|echo)\b"
)
_MAX_LINE = 300


def read(content: bytes, kind: str) -> Document:
    """The document in a file of code, from definition to definition. Raises SourceRejected."""
    del kind
    return Document(tuple(_parts(text.decode(content))))


def _parts(decoded: str) -> Iterator[Part]:
    start, heading = 0, None
    for begins, name in _definitions(decoded):
        if decoded[start:begins].strip():
            yield Part(decoded[start:begins], Location(heading=heading))
            start = begins
        heading = name
    yield Part(decoded[start:], Location(heading=heading))


def _definitions(decoded: str) -> Iterator[tuple[int, str]]:
    """Where a definition begins, with the comments and decorators above it, and its name."""
    start, above = 0, 0
    for line in decoded.splitlines(keepends=True):
        is_long = len(line) > _MAX_LINE
        found = None if is_long or line[0] in " \t\n#/*@" or _NO_TYPE.match(line) else _DEFINITION.match(line.rstrip())
        if found is not None:
            yield above, (found["named"] or found["called"] or found["typed"]).rstrip(":.")
        if not line.startswith(("#", "//", "/*", " *", "*", "@", "--")):
            above = start + len(line)
        start += len(line)
