# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of every format as real programs write them (tests/data, each named after its program), and what is read there.

What is expected lies in `tests/data/expected`, one file for each sample. After a change that is meant,
`python -m tests.unit.test_sample_files` writes those files anew: look at the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from context_chat_backend.domain import Document, Location, Part, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import recognition
from tests.readers import parse

DATA = Path(__file__).resolve().parents[1] / "data"
EXPECTED = DATA / "expected"
PICTURES = ("jpg", "png", "scan", "tiff")
FORMATS = (
    "code", "csv", "doc", "docx", "eml", "epub", "html", "ipynb", "json", "md", "msg", "odp", "ods", "odt", "org",
    "pdf", "ppt", "pptx", "rst", "rtf", "tsv", "txt", "xls", "xlsm", "xlsx", "xml", *PICTURES,
)  # fmt: skip
DECLARED = {"rst": "text/x-rst", "org": "text/org", "code": "text/x-program"}
"""Kinds of text that are hard to tell from others; the other samples are read with nothing declared."""
can_recognise = pytest.mark.skipif(
    not {"deu", "eng"} <= set(recognition.installed()),
    reason="tesseract-ocr-deu and tesseract-ocr-eng are not installed",
)


def samples(*formats: str) -> list[str]:
    return sorted(f"{name}/{file.name}" for name in formats for file in (DATA / name).iterdir())


READABLE = [name for name in samples(*FORMATS) if "/empty." not in name and "/broken." not in name]
TEXTS = [name for name in READABLE if name.startswith(("doc", "odt", "rtf", "html", "xml/libreoffice"))]
TABLES = [name for name in READABLE if name.startswith(("xls", "ods", "doc", "odt", "rtf", "pptx/python"))]
SLIDES = [name for name in READABLE if name.startswith(("odp", "ppt/", "pptx/python", "pptx/libreoffice"))]
PAGES = [name for name in READABLE if name.startswith("pdf") and "libreoffice" not in name]
EMPTY = [name for name in samples(*FORMATS) if "/empty." in name]
BROKEN = [name for name in samples(*FORMATS) if "/broken." in name]
TEXT_ALL_THE_SAME = {
    "csv": "Gutter", "tsv": "Gutter", "code": "drain", "eml": "The key hangs", "html": "84,500 euros", "json": "Käufer",
    "rtf": "84,500 euros", "xml": "84,500 euros",
}  # fmt: skip
"""Formats of which a broken file is read as far as it goes, with words it holds."""


def read(name: str) -> Document:
    return parse(DATA / name, DECLARED.get(name.partition("/")[0], ""))


def place(location: Location, rows: bool) -> str:
    marks = {"page": location.page, "sheet": location.sheet, "slide": location.slide, "heading": location.heading}
    said = [f"{name} {value}" for name, value in marks.items() if value is not None]
    return f"[{' | '.join([*said, *(['rows'] if rows else [])])}]"


def shown(document: Document) -> str:
    """A document as the files of what is expected have it."""
    parts = [f"{place(part.location, part.rows)}\n{part.text.strip()}\n" for part in document.parts]
    return "\n".join([f"title: {document.title or ''}\n", *parts])


def part_with(name: str, words: str) -> Part:
    return next(part for part in read(name).parts if words in part.text)


@pytest.mark.parametrize("name", [name for name in READABLE if name.partition("/")[0] not in PICTURES])
def test_the_text_of_a_sample_is_as_expected_with_its_places(name: str) -> None:
    assert shown(read(name)) == (EXPECTED / f"{name}.txt").read_text(encoding="utf-8")


@can_recognise
@pytest.mark.parametrize("name", [name for name in READABLE if name.partition("/")[0] in PICTURES])
def test_text_in_pictures_is_read_on_its_page(name: str) -> None:
    parts = read(name).parts

    assert any("roof costs 84500 euros" in part.text for part in parts)
    assert any("kommt im" in part.text for part in parts)
    if name in ("tiff/ghostscript.tiff", "scan/ghostscript.pdf"):
        assert {part.location.page for part in parts} == {1, 2}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_files_of_two_programs_an_empty_one_and_a_broken_one(name: str) -> None:
    stems = {file.stem.split(".")[0] for file in (DATA / name).iterdir()}

    assert {"empty", "broken"} <= stems
    assert len(stems) >= 4


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_file_is_called_empty(name: str) -> None:
    if name.partition("/")[0] in PICTURES and not recognition.installed():
        pytest.skip("no language of tesseract is installed")
    with pytest.raises(SourceRejected) as caught:
        read(name)
    assert caught.value.reason is Reason.EMPTY


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_rejected_with_a_reason_or_read_as_far_as_it_goes(name: str) -> None:
    if words := TEXT_ALL_THE_SAME.get(name.partition("/")[0]):
        assert any(words in part.text for part in read(name).parts)
        return
    with pytest.raises(SourceRejected) as caught:
        read(name)
    assert caught.value.reason in (Reason.DAMAGED, Reason.UNSUPPORTED, Reason.NO_RECOGNITION, Reason.EMPTY)


@pytest.mark.parametrize("name", TEXTS)
def test_headings_of_texts_are_places(name: str) -> None:
    assert part_with(name, "R&D <none> is paid by Smith & Sons").location.heading == "Costs"
    assert part_with(name, "Die Müllerin beginnt am 3. März").location.heading == "Timetable"
    assert part_with(name, "Ask Zoë or 山田太郎").location.heading == "Contacts"


@pytest.mark.parametrize("name", TABLES)
def test_rows_of_tables_name_their_columns(name: str) -> None:
    part = part_with(name, "Item: Gutter; Cost: 1200")

    assert part.rows
    if name.startswith(("xls", "ods")):
        assert part.location.sheet == "Costs"


@pytest.mark.parametrize("name", SLIDES)
def test_slides_are_places(name: str) -> None:
    assert part_with(name, "Die Müllerin kommt.").location.slide == 1
    assert part_with(name, "84,500 euros in all").location.slide == 2


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_places(name: str) -> None:
    assert [part_with(name, words).location.page for words in ("84,500 euros", "Łukasz")] == [1, 2]


def test_pictures_are_rejected_with_the_cure_where_no_language_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "_FOLDERS", ("/nowhere",))

    for name in ("png/pillow.png", "scan/ghostscript.pdf"):
        with pytest.raises(SourceRejected) as caught:
            read(name)
        assert caught.value.reason is Reason.NO_RECOGNITION
    assert read("pdf/reportlab.pdf").parts


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ((), ["deu", "eng", "osd"], ["deu", "eng"]),
        (("fra", "deu"), ["deu", "eng"], ["deu"]),
        (("eng", "deu"), ["deu", "eng"], ["eng", "deu"]),
        ((), ["ces", "deu", "eng", "fra"], ["ces", "deu", "fra"]),
    ],
)
def test_languages_are_those_wanted_or_those_installed_english_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: tuple[str, ...], there: list[str], chosen: list[str]
) -> None:
    for name in there:
        (tmp_path / f"{name}.traineddata").touch()
    monkeypatch.setattr(recognition, "_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(recognition, "_wanted", wanted)

    assert recognition.languages() == chosen


if __name__ == "__main__":
    for sample in READABLE:
        if sample.partition("/")[0] not in PICTURES:
            target = EXPECTED / f"{sample}.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(shown(read(sample)), encoding="utf-8")
