# SPDX-License-Identifier: AGPL-3.0-or-later
"""XML of any vocabulary: the text of its elements, one line each."""

from __future__ import annotations

from xml.etree import ElementTree

from context_chat_backend.domain import Document, Part
from context_chat_backend.parsing.formats import text


def read(content: bytes, kind: str) -> Document:
    """The document in an XML file; what cannot be parsed, or declares entities, is read as it stands.

    Raises SourceRejected.
    """
    del kind
    as_it_stands = text.decode(content)
    if "<!ENTITY" in as_it_stands:  # they could expand without end
        return Document((Part(as_it_stands),))
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - no entities: see above
    except (ElementTree.ParseError, ValueError, LookupError):
        return Document((Part(as_it_stands),))
    lines = "\n".join(line.strip() for line in root.itertext() if line.strip())
    return Document((Part(lines or as_it_stands),))
