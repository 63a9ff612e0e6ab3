# SPDX-License-Identifier: AGPL-3.0-or-later
"""The library that reads the formats we do not read ourselves, kreuzberg, with its errors turned into verdicts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from context_chat_backend.domain import Reason
from context_chat_backend.errors import SourceRejected

MEDIA_TYPES = {
    "doc": "application/msword",
    "jpg": "image/jpeg",
    "msg": "application/vnd.ms-outlook",
    "pdf": "application/pdf",
    "png": "image/png",
    "rtf": "application/rtf",
    "tiff": "image/tiff",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_PAGE_MARK = "\ue000{page_num}\ue001"
"""Characters for private use, which no page shows."""
_MARKED_PAGE = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, slots=True)
class Recognised:
    """That text is read from pictures: in which languages, and on which pages of a PDF file."""

    languages: Sequence[str]
    pages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was found in a file."""

    content: str
    title: str | None
    nodes: list[dict[str, Any]]
    """Headings, paragraphs and tables of texts."""
    tables: list[Any]
    """The sheets of workbooks."""
    pages: list[dict[str, Any]]
    sheet_names: list[str]


def extract(content: bytes, kind: str, *, recognised: Recognised | None = None) -> Extracted:
    """What kreuzberg finds in `content`, whose kind is a key of MEDIA_TYPES.

    With `recognised` pictures are read, and of a PDF file only the pages it names. Raises SourceRejected.
    """
    import kreuzberg

    options: dict[str, Any] = {"disable_ocr": True}
    pages: dict[str, Any] = {"extract_pages": kind in ("pdf", "tiff")}
    if recognised is not None:
        tesseract = kreuzberg.TesseractConfig(
            language="+".join(recognised.languages),
            use_cache=False,  # as below
            output_format="text",
            enable_table_detection=False,
        )
        names = "+".join(recognised.languages)
        options = {"ocr": kreuzberg.OcrConfig(backend="tesseract", language=names, tesseract_config=tesseract)}
        if recognised.pages:
            options["force_ocr_pages"] = list(recognised.pages)
            pages = {"insert_page_markers": True, "marker_format": _PAGE_MARK}
    config = kreuzberg.ExtractionConfig(
        use_cache=False,  # it would write users' texts to a folder of its own
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),  # files run in parallel, each in its process
        pages=kreuzberg.PageConfig(**pages),
        include_document_structure=kind == "rtf",
        output_format="plain",
        **options,
    )
    try:
        result = kreuzberg.extract_bytes_sync(content, MEDIA_TYPES[kind], config)
    except MemoryError:
        raise
    except Exception as error:  # its errors differ by format; only the words tell them apart
        said = str(error).lower()
        encrypted = "password" in said or "encrypt" in said
        raise SourceRejected(Reason.ENCRYPTED if encrypted else Reason.DAMAGED) from None
    metadata = result.metadata or {}
    return Extracted(
        content=result.content,
        title=metadata.get("title"),
        nodes=(result.document or {}).get("nodes", []),
        tables=result.tables or [],
        pages=_marked(result.content, recognised.pages) if recognised and recognised.pages else result.pages or [],
        sheet_names=metadata.get("sheet_names") or [],
    )


def _marked(content: str, wanted: tuple[int, ...]) -> list[dict[str, Any]]:
    """The pages between the marks, in the shape the library gives pages."""
    _, *rest = _MARKED_PAGE.split(content)
    pages = zip(map(int, rest[::2]), rest[1::2], strict=True)
    return [{"page_number": number, "content": text} for number, text in pages if number in wanted]
