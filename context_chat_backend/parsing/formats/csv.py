# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tables as text: each row says what its values are, so that a row alone can answer a question."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from context_chat_backend.domain import Document, Part
from context_chat_backend.parsing.formats import text

_DELIMITERS = ",;\t|"


def read(content: bytes, kind: str) -> Document:
    """The document in a CSV or TSV file, one line `header: value; …` for each row. Raises SourceRejected."""
    del kind
    decoded = text.decode(content).replace("\x00", "")
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(decoded[:8192], _DELIMITERS)
    except csv.Error:
        dialect = csv.excel
    try:
        return Document((Part("\n".join(_lines(decoded, dialect))),))
    except csv.Error:  # a field larger than the reader takes, a quote that never closes: it is text all the same
        return Document((Part(decoded),))


def _lines(decoded: str, dialect: type[csv.Dialect]) -> Iterator[str]:
    rows = csv.reader(io.StringIO(decoded), dialect)
    header = [name.strip() for name in next(rows, [])]
    yield ", ".join(header)
    for row in rows:
        named = zip(header + [""] * (len(row) - len(header)), row, strict=False)
        yield "; ".join(f"{name}: {value}" if name else value for name, value in named if value.strip())
