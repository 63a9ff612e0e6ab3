# SPDX-License-Identifier: AGPL-3.0-or-later
"""The library that reads most formats, kreuzberg, with its errors turned into verdicts."""

from __future__ import annotations

from typing import Any

from context_chat_backend.domain import Reason
from context_chat_backend.errors import SourceRejected

MEDIA_TYPES = {
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "eml": "message/rfc822",
    "msg": "application/vnd.ms-outlook",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "pdf": "application/pdf",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "rtf": "application/rtf",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def extract(content: bytes, kind: str, *, structure: bool = False, slide_marker: str | None = None) -> Any:
    """kreuzberg's result for `content`, whose kind is a key of MEDIA_TYPES.

    With `structure` the result has a tree of nodes; with `slide_marker`, a text with `{page_num}`, that text stands
    before each slide. Raises SourceRejected.
    """
    import kreuzberg

    pages = kreuzberg.PageConfig(extract_pages=kind == "pdf")
    if slide_marker is not None:
        pages = kreuzberg.PageConfig(insert_page_markers=True, marker_format=slide_marker)
    config = kreuzberg.ExtractionConfig(
        use_cache=False,  # it would write users' texts to a folder of its own
        disable_ocr=True,
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),  # files run in parallel, each in its process
        pages=pages,
        include_document_structure=structure,
        output_format="plain",
    )
    try:
        return kreuzberg.extract_bytes_sync(content, MEDIA_TYPES[kind], config)
    except MemoryError:
        raise
    except Exception as error:  # its errors differ by format; only the words tell them apart
        said = str(error).lower()
        encrypted = "password" in said or "encrypt" in said
        raise SourceRejected(Reason.ENCRYPTED if encrypted else Reason.DAMAGED) from None
