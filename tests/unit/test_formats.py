# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import io
import mimetypes
import zipfile
from pathlib import Path

import pytest
from pypdf import PdfWriter

from context_chat_backend.domain import Document, Location, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.parse import parse
from context_chat_backend.parsing.registry import accepts

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "documents"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def read(folder: Path, content: bytes, media_type: str = "text/plain") -> Document:
    file = folder / "content"
    file.write_bytes(content)
    return parse(file, media_type)


def text_of(document: Document) -> str:
    return "\n".join(part.text for part in document.parts)


def reason(folder: Path, content: bytes, media_type: str = "text/plain") -> Reason:
    with pytest.raises(SourceRejected) as caught:
        read(folder, content, media_type)
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "sentence", "location"),
    [
        ("alice/insurance.eml", "6,418 euros", Location()),
        ("alice/treasurer-report.docx", "84,500 euros", Location(heading="Roof repair")),
        ("bob/auftraege.txt", "Aufträge des Hausmeisters", Location()),
        ("bob/key-list.rtf", "second meter box", Location()),
        ("bob/works-diary.odt", "70,000 euros", Location(heading="Roof repair")),
        ("shared/annual-meeting.pptx", "laundry room", Location(slide=1)),
        ("shared/contacts.xlsx", "0421 555 0142", Location(sheet="Contacts")),
        ("shared/energy-use.csv", "month: 2026-01; electricity in kWh: 2305", Location()),
        ("shared/fire-safety.pdf", "October 2027", Location(page=2)),
        ("shared/garden-book.epub", "400 litres", Location(heading="Water")),
        ("shared/hausordnung-kurz.txt", "Mülltonnen", Location()),
        ("shared/house-rules.md", "22:00 to 7:00", Location(heading="Quiet hours")),
        ("shared/neighbourhood.html", "Tram line 4", Location(heading="Getting here")),
    ],
)
def test_every_sample_gives_its_text_with_its_place(name: str, sentence: str, location: Location) -> None:
    document = parse(SAMPLES / name, mimetypes.guess_type(name)[0] or "")

    assert [part.location for part in document.parts if sentence in part.text] == [location]


def test_the_samples_are_at_least_twelve_formats() -> None:
    assert len({path.suffix for path in SAMPLES.rglob("*.*")}) >= 12


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"]
)
def test_text_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    written = "Die Müllerin grüßt den Bäcker. Über den Dächern fröstelt es spät, und später schläft die Straße.\n" * 5

    assert text_of(read(tmp_path, written.encode(encoding))).strip() == written.strip()


def test_a_character_cut_by_the_sample_is_no_fault(tmp_path: Path) -> None:
    written = "x" * (64 * 1024 - 1) + "ü and the rest"

    assert text_of(read(tmp_path, written.encode())) == written


def test_nul_and_control_characters_are_taken_out(tmp_path: Path) -> None:
    assert text_of(read(tmp_path, b"one\x00 two\x07 three\tfour\r\nfive")) == "one two three\tfour\nfive"


@pytest.mark.parametrize("content", [b"\n", b" \t\r\n  ", b"\x00\x00 \x00", "\ufeff".encode()])
def test_a_file_with_only_blanks_is_empty(tmp_path: Path, content: bytes) -> None:
    assert reason(tmp_path, content) is Reason.EMPTY


def test_the_bytes_decide_not_the_declared_type(tmp_path: Path) -> None:
    assert "plain words" in text_of(read(tmp_path, b"just plain words", "application/pdf"))
    pdf = (SAMPLES / "shared/fire-safety.pdf").read_bytes()
    assert "Smoke detectors" in text_of(read(tmp_path, pdf, "text/plain"))
    page = b"<!DOCTYPE html><html><body><p>A page.</p><script>code()</script></body></html>"
    assert text_of(read(tmp_path, page, "text/plain")).strip() == "A page."


def test_pictures_and_noise_are_not_read_as_text(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
    assert reason(tmp_path, png, "application/octet-stream") is Reason.UNSUPPORTED
    assert reason(tmp_path, png, "application/pdf") is Reason.DAMAGED


def test_an_encrypted_pdf_is_called_encrypted(tmp_path: Path) -> None:
    writer, target = PdfWriter(), io.BytesIO()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="AES-256")
    writer.write(target)

    assert reason(tmp_path, target.getvalue(), "application/pdf") is Reason.ENCRYPTED


@pytest.mark.parametrize("name", ["alice/treasurer-report.docx", "shared/contacts.xlsx", "bob/works-diary.odt"])
def test_a_truncated_archive_is_damaged(tmp_path: Path, name: str) -> None:
    assert reason(tmp_path, (SAMPLES / name).read_bytes()[:-200], DOCX) is Reason.DAMAGED


def test_an_archive_that_is_no_document_is_not_supported(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.txt", "text")

    assert reason(tmp_path, target.getvalue(), "application/zip") is Reason.UNSUPPORTED


def test_entities_of_a_presentation_are_not_expanded(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.presentation")
        archive.writestr("content.xml", '<!DOCTYPE a [<!ENTITY b "boom">]><a>&b;</a>')

    assert reason(tmp_path, target.getvalue(), "") is Reason.DAMAGED


def test_a_presentation_is_read_slide_by_slide(tmp_path: Path) -> None:
    draw, text = "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0", "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
    slides = "".join(f"<d:page><t:p>Slide <t:span>{n}</t:span></t:p></d:page>" for n in (1, 2))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.presentation")
        archive.writestr("content.xml", f'<a xmlns:d="{draw}" xmlns:t="{text}">{slides}</a>')

    parts = read(tmp_path, target.getvalue(), "").parts

    assert [(part.text, part.location.slide) for part in parts] == [("Slide 1", 1), ("Slide 2", 2)]


@pytest.mark.parametrize(
    ("media_type", "title", "accepted"),
    [
        ("text/plain", "a.txt", True),
        ("application/pdf", "a.pdf", True),
        ("message/rfc822; charset=utf-8", "a.eml", True),
        ("Text/HTML", "a", True),
        ("email", "Invoice", True),
        ("", "", True),
        ("image/png", "a.png", False),
        ("video/mp4", "a.mp4", False),
        ("text/plain", "messages.POT", False),
    ],
)
def test_what_may_be_admitted(media_type: str, title: str, accepted: bool) -> None:
    assert accepts(media_type, title) is accepted
