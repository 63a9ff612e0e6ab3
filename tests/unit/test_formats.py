# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import contextlib
import io
import mimetypes
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter

from context_chat_backend.domain import Document, Location, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.limits import Limits
from context_chat_backend.parsing import limits
from tests.readers import parse

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "documents"
DATA = Path(__file__).resolve().parents[1] / "data"
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
        ("shared/annual-meeting.pptx", "laundry room", Location(slide=1, heading="Annual meeting 2026")),
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
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "cp1250"]
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


def test_an_encrypted_pdf_is_called_encrypted(tmp_path: Path) -> None:
    writer, target = PdfWriter(), io.BytesIO()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="AES-256")
    writer.write(target)

    assert reason(tmp_path, target.getvalue(), "application/pdf") is Reason.ENCRYPTED


@pytest.mark.parametrize("name", ["alice/treasurer-report.docx", "shared/contacts.xlsx", "bob/works-diary.odt"])
def test_a_truncated_archive_is_damaged(tmp_path: Path, name: str) -> None:
    assert reason(tmp_path, (SAMPLES / name).read_bytes()[:-200], DOCX) is Reason.DAMAGED


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
        archive.writestr(
            "content.xml",
            f'<a xmlns:d="{draw}" xmlns:t="{text}"><body><presentation>{slides}</presentation></body></a>',
        )

    parts = read(tmp_path, target.getvalue(), "").parts

    assert [(part.text, part.location.slide) for part in parts] == [("Slide 1", 1), ("Slide 2", 2)]


@pytest.mark.parametrize(
    ("written", "encoding"),
    [
        ("Müll", "latin-1"),
        ("5 €", "cp1252"),
        ("La réunion a lieu à l'école.", "latin-1"),
        ("Grüße\n", "utf-16-le"),
        ("Zażółć gęślą jaźń. Zebranie odbędzie się wieczorem w bibliotece.", "cp1250"),
        ("Когда состоится ежегодное собрание жильцов?", "utf-16-be"),
        ("Когда состоится ежегодное собрание жильцов?", "cp1251"),
        ("Когда состоится ежегодное собрание жильцов?", "koi8-r"),
        ("年次総会はいつ開催されますか。", "shift_jis"),
        ("年度会议什么时候举行？在图书馆。", "gb18030"),
    ],
)
def test_short_texts_and_other_alphabets_are_read_in_their_encoding(
    tmp_path: Path, written: str, encoding: str
) -> None:
    assert text_of(read(tmp_path, written.encode(encoding))).strip() == written.strip()


def test_one_broken_byte_does_not_turn_a_long_text_into_another_encoding(tmp_path: Path) -> None:
    line = "Die Mülltonnen werden früh geleert.\n".encode()

    read_back = text_of(read(tmp_path, line * 3000 + b"\xff" + line * 3000))

    assert read_back.count("Mülltonnen") == 6000


@pytest.mark.parametrize("written", ["one\rtwo", "one\x0ctwo", "one\u2028two", "one\x0btwo"])
def test_every_kind_of_line_end_parts_words(tmp_path: Path, written: str) -> None:
    assert text_of(read(tmp_path, written.encode())) == "one\ntwo"


def test_long_headings_are_read_in_time(tmp_path: Path) -> None:
    assert read(tmp_path, b"# " + b" \t#" * 300_000 + b"x", "text/markdown").parts


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (
            'name;note\na;"one"\nb;"say ""hi"" now"\n',
            ["name, note", "name: a; note: one", 'name: b; note: say "hi" now'],
        ),
        ('name,note\nO\'Neil,"one, two"\n', ["name, note", "name: O'Neil; note: one, two"]),
        ("a;b\n1;\n;2;3\n", ["a, b", "a: 1", "b: 2; 3"]),
        ("sep=;\na;b,c\n1;2\n", ["a, b,c", "a: 1; b,c: 2"]),
        ('a,b\n1,"two\nlines"\n', ["a, b", "a: 1; b: two lines"]),
        ("\n\na,b\n1,2\n", ["a, b", "a: 1; b: 2"]),
        ("Only words here", ["Only words here"]),
    ],
)
def test_each_row_of_a_table_names_its_columns(tmp_path: Path, content: str, lines: list[str]) -> None:
    assert text_of(read(tmp_path, content.encode(), "text/csv")).splitlines() == lines


def test_a_table_with_an_enormous_field_is_read_as_text(tmp_path: Path) -> None:
    assert "x" * 200_000 in text_of(read(tmp_path, b'a,b\n1,"' + b"x" * 200_000 + b'"\n', "text/csv"))


def test_what_is_attached_to_a_mail_is_read_under_its_name(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "Grüße vom Dach", "a@linden.example"
    mail.set_content("The plan is attached.")
    mail.add_alternative("<p>The plan is attached.</p>", subtype="html")
    report = (SAMPLES / "alice/treasurer-report.docx").read_bytes()
    mail.add_attachment(report, maintype="application", subtype="octet-stream", filename="Bericht für alle.docx")
    mail.add_attachment("Ort;Größe\nDach;9\n".encode("latin-1"), maintype="text", subtype="csv", filename="a.csv")
    mail.add_attachment(b"\x89PNG\r\n\x1a\n", maintype="image", subtype="png", filename="photo.png")
    mail.add_attachment(report[:500], maintype="application", subtype="octet-stream", filename="broken.docx")

    document = read(tmp_path, bytes(mail), "message/rfc822")

    by_name = {part.location.heading: part.text for part in document.parts}
    assert {None, "Bericht für alle.docx: Roof repair", "a.csv"} <= set(by_name)
    assert not any("photo.png" in name or "broken.docx" in name for name in by_name if name)
    assert "Grüße vom Dach" in (by_name[None] or "")
    assert "The plan is attached." in by_name[None]
    assert by_name["a.csv"] == "Ort, Größe\nOrt: Dach; Größe: 9"
    assert "84,500 euros" in text_of(document)


def with_member(name: str, member: str, old: str, new: str) -> bytes:
    """A sample with something replaced in one of its members."""
    target = io.BytesIO()
    with zipfile.ZipFile(SAMPLES / name) as archive, zipfile.ZipFile(target, "w") as copy:
        for entry in archive.namelist():
            data = archive.read(entry)
            if entry == member:
                assert old.encode() in data
                data = data.replace(old.encode(), new.encode())
            copy.writestr(entry, data)
    return target.getvalue()


def test_signs_that_xml_escapes_are_kept_in_word_documents(tmp_path: Path) -> None:
    content = with_member(
        "alice/treasurer-report.docx",
        "word/document.xml",
        "Dachbau Petersen",
        "R&amp;D &lt;Petersen&gt; &#38; S&#246;hne",
    )

    assert "R&D <Petersen> & Söhne" in text_of(read(tmp_path, content, DOCX))


_STYLES = (
    '<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    '<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style></w:styles>'
)
_OTHER_STYLE = '<w:style w:type="table" w:styleId="T"><w:name w:val="t"/><w:tblPr/></w:style>'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<w:style w:type", f'{_OTHER_STYLE}<w:style w:customStyle="0" w:type'),
        ("</w:styles>", f"{_OTHER_STYLE}</w:styles>"),
        ("<w:style w:type", "<w:style\nw:type"),
        ("</w:styles>", '<!-- <w:style w:type="paragraph" --><!-- </w:style> --></w:styles>'),
        (_STYLES, _STYLES.replace("w:", "a:").replace("xmlns:w", "xmlns:a")),
        ('<?xml version="1.0"?>', "<?xml version='1.0' encoding='UTF-8'?><!-- of no use -->"),
    ],
    ids=["other styles before", "other styles after", "line ends", "comments", "another prefix", "another head"],
)
def test_headings_of_word_documents_are_found_however_their_styles_are_written(
    tmp_path: Path, old: str, new: str
) -> None:
    name = "alice/treasurer-report.docx"
    content = with_member(name, "word/styles.xml", old, new)

    assert read(tmp_path, content, DOCX) == read(tmp_path, (SAMPLES / name).read_bytes(), DOCX)


def test_signs_of_markup_in_a_book_are_text(tmp_path: Path) -> None:
    content = with_member(
        "shared/garden-book.epub", "c3.xhtml", "400 litres", "5*3 snake_case <b>400</b> litres &amp; more"
    )

    assert "5*3 snake_case 400 litres & more" in text_of(read(tmp_path, content))


def test_a_book_whose_pages_are_locked_is_called_encrypted(tmp_path: Path) -> None:
    target = io.BytesIO((SAMPLES / "shared/garden-book.epub").read_bytes())
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("META-INF/encryption.xml", '<e><CipherReference URI="c1.xhtml"/></e>')

    assert reason(tmp_path, target.getvalue()) is Reason.ENCRYPTED


def test_old_office_files_are_read(tmp_path: Path) -> None:
    letter = text_of(parse(DATA / "old.doc", "application/msword"))
    assert 'R&D <tag> "quoted" ü 5*3 snake_case [x] and Smith & Sons' in letter
    workbook = parse(DATA / "old.xls", "application/vnd.ms-excel")
    assert [part.location.sheet for part in workbook.parts] == ["Budget & co", "Third"]
    assert "Item: Roof & gutter; Cost: 84500; Date: 2026-04-18" in workbook.parts[0].text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ('<meta charset="iso-8859-1"><title>Müll</title><p>Grün'.encode("latin-1"), "Müll\nGrün"),
        ("<html><title>Müll</title><p>Grün</html>".encode("utf-16"), "Müll\nGrün"),
        (b"<html><p>a &lt; b &amp; c<script>no()</script><style>p{}</style></html>", "a < b & c"),
        (b"<html><table><tr><td>Roof<td>84,500<tr><td>Lift<td>9</table></html>", "Roof; 84,500\nLift; 9"),
    ],
)
def test_a_page_shows_what_a_reader_sees(tmp_path: Path, page: bytes, text: str) -> None:
    assert text_of(read(tmp_path, page, "text/html")) == text


def test_a_page_has_its_headings_as_places(tmp_path: Path) -> None:
    page = b"<html><body>Before<h1>One</h1><h2>Two <i>more</i></h2><p>Under two</p><h2>Three</h2></body></html>"

    parts = read(tmp_path, page, "text/html").parts

    assert [(part.text, part.location.heading) for part in parts] == [
        ("Before", None),
        ("One\nTwo more\nUnder two", "Two more"),
        ("Three\n", "Three"),
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            '<?xml version="1.0" encoding="ISO-8859-1"?><a><b>Müll &amp; Glas</b><c>&#252;ber</c></a>',
            "Müll & Glas\n\nüber",
        ),
        ("<?xml version='1.0'?><a><b>never closed", "<?xml version='1.0'?><a><b>never closed"),
    ],
)
def test_xml_gives_the_text_of_its_elements(tmp_path: Path, content: str, text: str) -> None:
    assert text_of(read(tmp_path, content.encode("latin-1"), "application/xml")) == text


def test_xml_that_names_files_is_rejected(tmp_path: Path) -> None:
    content = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'

    assert reason(tmp_path, content, "application/xml") is Reason.ENTITIES


def test_a_text_beyond_all_measure_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "held", Limits(file_characters=10))

    assert reason(tmp_path, b"eleven chars") is Reason.TOO_MUCH_TEXT


@pytest.mark.parametrize("name", sorted(str(path.relative_to(SAMPLES)) for path in SAMPLES.rglob("*.*")))
@given(data=st.data())
def test_damaged_files_are_read_or_rejected_and_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray((SAMPLES / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged"
    file.write_bytes(content[: data.draw(st.integers(1, len(content)))])

    with contextlib.suppress(SourceRejected):
        assert parse(file, mimetypes.guess_type(name)[0] or "").parts


def test_tables_in_markdown_are_read_row_by_row(tmp_path: Path) -> None:
    written = (
        "# Flats\nThe rents of all flats:\n\n| flat | rent | note |\n|:-----|-----:|---|\n| 1 | 700 | a \\| b |\n"
        "| 2 | 800 |  |\n\nAll in euros, not | in dollars |.\n"
    )
    parts = read(tmp_path, written.encode(), "text/markdown").parts

    assert [(part.text.strip(), part.rows) for part in parts] == [
        ("# Flats\nThe rents of all flats:", False),
        ("flat, rent, note\nflat: 1; rent: 700; note: a | b\nflat: 2; rent: 800", True),
        ("All in euros, not | in dollars |.", False),
    ]
    assert {part.location for part in parts} == {Location(heading="Flats")}


def test_a_table_without_the_line_below_its_names_is_text(tmp_path: Path) -> None:
    written = "| a | b |\n| 1 | 2 |"

    assert [(part.text, part.rows) for part in read(tmp_path, written.encode()).parts] == [(written, False)]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("shared/contacts.xlsx", "0421 555 0142"),
        ("shared/energy-use.csv", "month: 2026-01"),
    ],
)
def test_rows_of_tables_are_known_as_such(name: str, row: str) -> None:
    document = parse(SAMPLES / name, mimetypes.guess_type(name)[0] or "")

    assert any(part.rows and row in part.text for part in document.parts)
