# SPDX-License-Identifier: AGPL-3.0-or-later
"""Notebooks of Jupyter: text, code, and what the code printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from context_chat_backend.domain import Document, Location, Part, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import headings, text


def read(content: bytes, kind: str) -> Document:
    """The document in a notebook, under the headings of its text cells. Raises SourceRejected."""
    del kind
    try:
        notebook = json.loads(text.decode(content))
        parts = list(_parts(notebook["cells"]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SourceRejected(Reason.DAMAGED) from error
    return Document(tuple(parts))


def _parts(cells: list[dict[str, Any]]) -> Iterator[Part]:
    heading: str | None = None
    for cell in cells:
        source = _joined(cell["source"])
        if cell["cell_type"] == "markdown":
            for part in headings.parts(source):
                heading = part.location.heading or heading
                yield replace(part, location=Location(heading=heading))
        else:
            printed = [said for output in cell.get("outputs", []) if (said := _printed(output).strip())]
            yield Part("\n\n".join([source, *printed]), Location(heading=heading))


def _printed(output: dict[str, Any]) -> str:
    """What an output shows as text: what was printed, the value of the cell, an error. Pictures are left out."""
    if output["output_type"] == "error":
        return f"{output.get('ename', '')}: {output.get('evalue', '')}"
    return _joined(output.get("text") or output.get("data", {}).get("text/plain") or "")


def _joined(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)
