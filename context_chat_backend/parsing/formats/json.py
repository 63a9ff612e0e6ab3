# SPDX-License-Identifier: AGPL-3.0-or-later
"""JSON, as lines of `path: value`; lists of records are tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import table, text

_MAX_DEPTH = 100


def read(content: bytes, kind: str) -> Document:
    """The document in a JSON file, or one of JSON lines; what is neither is read as text. Raises SourceRejected."""
    decoded = text.decode(content)
    try:
        found = _parsed(decoded)
    except (ValueError, RecursionError):
        return text.read(content, kind)
    if isinstance(found, dict):
        parts = [part for name, value in found.items() for part in _parts(name, value)]
    else:
        parts = list(_parts("", found))
    return Document(tuple(_joined(parts)))


def _parsed(decoded: str) -> Any:
    try:
        return json.loads(decoded)
    except ValueError:
        return [json.loads(line) for line in decoded.splitlines() if line.strip()]


def _parts(name: str, value: Any) -> Iterator[Part]:
    """A value under the name it has at the top."""
    records = value if isinstance(value, list) else []
    if len(records) > 1 and all(isinstance(record, dict) and record for record in records):
        columns = list(dict.fromkeys(key for record in records for key in record))
        rows = [[_short(record.get(column)) for column in columns] for record in records]
        yield Part("\n".join(table.lines([columns, *rows])), Location(heading=name or None), rows=True)
    else:
        yield Part("\n".join(_lines(name, value, 0)), Location(heading=name or None))


def _lines(path: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, dict | list) and value and depth < _MAX_DEPTH:
        if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
            yield _named(path, ", ".join(_short(item) for item in value))
            return
        items = value.items() if isinstance(value, dict) else (("", item) for item in value)
        for name, item in items:
            yield from _lines(" ".join(part for part in (path, name) if part), item, depth + 1)
    elif (said := _short(value)) != "":
        yield _named(path, said)


def _named(path: str, said: str) -> str:
    return f"{path}: {said}" if path else said


def _short(value: Any) -> str:
    """A value on one line; nothing where there is none."""
    if isinstance(value, str):
        return value
    if value is None or value == [] or value == {}:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} {said}" for name, item in value.items() if (said := _short(item)))
    if isinstance(value, list):
        return ", ".join(said for item in value if (said := _short(item)))
    return json.dumps(value)


def _joined(parts: list[Part]) -> Iterator[Part]:
    """Short values that follow each other are one part: a line alone says too little."""
    lines: list[str] = []
    for part in parts:
        if part.rows or "\n" in part.text:
            if lines:
                yield Part("\n".join(lines))
                lines = []
            yield part
        else:
            lines.append(part.text)
    if lines:
        yield Part("\n".join(lines))
