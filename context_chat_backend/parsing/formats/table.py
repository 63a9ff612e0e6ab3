# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rows as text: each says what its values are, so that a row alone can answer a question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from context_chat_backend.domain import Location, Part

_MARKDOWN = re.compile(
    r"^[ \t]*\|[^\n]*\|[ \t]*\n"  # the names of the columns
    r"[ \t]*\|(?:[ \t]*:?-+:?[ \t]*[|+])+[ \t]*(?:\n|\Z)"
    r"(?:[ \t]*\|[^\n]*(?:\n|\Z))*",
    re.MULTILINE,
)
_CELL_BORDER = re.compile(r"(?<!\\)\|")


def lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The names of the first row that is not blank, then one line `name: value; …` for each row below it."""
    one_line = ([" ".join(cell.split()) for cell in row] for row in rows)
    filled = (row for row in one_line if any(row))
    header = next(filled, [])
    yield ", ".join(name for name in header if name)
    for row in filled:
        named = zip(header + [""] * (len(row) - len(header)), row, strict=False)
        yield "; ".join(f"{name}: {value}" if name else value for name, value in named if value)


def parts(text: str, location: Location) -> Iterator[Part]:
    """The parts of a text in Markdown or Org: its tables, row by row, and what stands between them as it is."""
    start = 0
    for found in _MARKDOWN.finditer(text):
        yield Part(text[start : found.start()], location)
        names, _, *rows = (_cells(line) for line in found[0].splitlines())
        yield Part("\n".join(lines([names, *rows])), location, rows=True)
        start = found.end()
    yield Part(text[start:], location)


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    return [cell.strip().replace("\\|", "|") for cell in _CELL_BORDER.split(line)]
