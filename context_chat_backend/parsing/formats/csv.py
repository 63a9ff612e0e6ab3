# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tables whose values are separated by a character."""

from __future__ import annotations

import csv
import io

from context_chat_backend.domain import Document, Part
from context_chat_backend.parsing.formats import table, text

_DELIMITERS = ",;\t|"
_SAMPLE = 8192
_SPREADSHEET_HINT = "sep="
"""Excel's own first line, which names the delimiter."""


def read(content: bytes, kind: str) -> Document:
    """The document in a CSV or TSV file. Raises SourceRejected."""
    del kind
    decoded = text.decode(content).replace("\x00", "")
    first, _, rest = decoded.partition("\n")
    if first.startswith(_SPREADSHEET_HINT):
        delimiter, decoded = first.removeprefix(_SPREADSHEET_HINT)[:1].strip() or "\t", rest
    else:
        delimiter = _delimiter(decoded[:_SAMPLE])
    try:
        rows = csv.reader(io.StringIO(decoded, newline=""), delimiter=delimiter)
        return Document((Part("\n".join(table.lines(rows)), rows=True),))
    except csv.Error:  # a field larger than the reader takes, a quote that never closes: it is text all the same
        return Document((Part(decoded),))


def _delimiter(sample: str) -> str:
    """Only the delimiter is guessed: the library's guess of the quoting spoils fields with doubled quotes.

    Where rows differ too much for the library, the commonest candidate of the first row is taken.
    """
    try:
        return csv.Sniffer().sniff(sample, _DELIMITERS).delimiter
    except csv.Error:
        return max(_DELIMITERS, key=sample.lstrip().partition("\n")[0].count)
