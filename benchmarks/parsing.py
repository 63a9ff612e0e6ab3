# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast each format is read on one core: `python -m benchmarks.parsing [--seconds 1] [--json] [FORMAT …]`.

The sample files (tests/data) are read again and again, in this process and by CPU time, so that other work on the
machine does not count. `all office files` takes each file of the office formats in turn; pages are those of PDF files.
Pictures are left out unless they are named: what they cost is Tesseract's.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

from context_chat_backend.domain import Document
from context_chat_backend.parsing.parse import parse, prepare

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
OFFICE = ("doc", "docx", "odt", "rtf", "xls", "xlsm", "xlsx", "ods", "ppt", "pptx", "odp")
TEXTS = ("txt", "md", "rst", "org", "html", "xml", "json", "ipynb", "csv", "tsv", "code", "epub", "eml", "msg")
PICTURES = ("png", "jpg", "tiff", "scan")


@dataclass(frozen=True)
class Measured:
    """What was read in so much CPU time."""

    files: int
    input_bytes: int
    characters: int
    pages: int
    seconds: float

    def rates(self) -> dict[str, float]:
        """By the second of one core."""
        return {
            "files_per_second": round(self.files / self.seconds, 1),
            "mb_per_second": round(self.input_bytes / self.seconds / 1e6, 2),
            "mb_of_text_per_second": round(self.characters / self.seconds / 1e6, 2),
            "pages_per_second": round(self.pages / self.seconds, 1),
        }


def files(kind: str) -> list[bytes]:
    """The samples of one format that can be read."""
    found = sorted((DATA / kind).iterdir())
    return [file.read_bytes() for file in found if file.stem not in ("empty", "broken")]


def measure(contents: list[bytes], seconds: float) -> Measured:
    """Read the files in turn until so much CPU time has gone."""
    for content in contents:
        parse(content, "")  # what loads once
    count = size = characters = pages = 0
    started = time.process_time()
    while (gone := time.process_time() - started) < seconds or count < len(contents):
        content = contents[count % len(contents)]
        document: Document = parse(content, "")
        count += 1
        size += len(content)
        characters += sum(len(part.text) for part in document.parts)
        pages += len({part.location.page for part in document.parts} - {None})
    return Measured(count, size, characters, pages, gone)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", metavar="FORMAT")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU time for each format")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    prepare()
    kinds = arguments.formats or ["pdf", *OFFICE, *TEXTS]
    measured = {kind: measure(files(kind), arguments.seconds).rates() for kind in kinds}
    if not arguments.formats:
        measured["all office files"] = measure(
            [content for kind in OFFICE for content in files(kind)], arguments.seconds
        ).rates()
    if arguments.json:
        print(json.dumps(measured, indent=2))
        return
    print(f"{'format':18}{'files/s':>10}{'MB/s':>10}{'MB text/s':>12}{'pages/s':>10}")
    for kind, rates in measured.items():
        pages = f"{rates['pages_per_second']:>10}" if rates["pages_per_second"] else ""
        print(
            f"{kind:18}{rates['files_per_second']:>10}{rates['mb_per_second']:>10}"
            f"{rates['mb_of_text_per_second']:>12}{pages}"
        )


if __name__ == "__main__":
    main()
