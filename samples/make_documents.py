# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write the sample documents anew: `python samples/make_documents.py`.

A small housing co-operative: what lies in `shared/` both alice and bob may read, `alice/` and `bob/` are theirs alone.
The formats are written by hand, so that no library is needed.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent / "documents"
STAMP = (2026, 3, 2, 9, 0, 0)


def main() -> None:
    """Write all files."""
    write_texts()
    write_pdf("shared/fire-safety.pdf", FIRE_SAFETY)
    write_docx("alice/treasurer-report.docx", TREASURER_REPORT)
    write_odt("bob/works-diary.odt", WORKS_DIARY)
    write_xlsx("shared/contacts.xlsx", CONTACTS)
    write_pptx("shared/annual-meeting.pptx", MEETING)
    write_epub("shared/garden-book.epub", GARDEN)


FIRE_SAFETY = [
    [
        "Fire safety in Linden House",
        "Smoke detectors hang in every bedroom and in the stairwell.",
        "They are tested on the first Monday of each month at ten in the morning.",
        "The assembly point after an alarm is the chestnut tree in the yard.",
    ],
    [
        "Extinguishers",
        "Two foam extinguishers hang beside the lift on the ground floor.",
        "The company Brandwacht Nord inspects them every two years; the next inspection is due in October 2027.",
        "Do not store bicycles or prams in the stairwell: it is the only escape route.",
    ],
]

TREASURER_REPORT = [
    ("Treasurer's report", True),
    ("This report is for the board. It is not to be shared with contractors.", False),
    ("Roof repair", True),
    ("The budget for the roof repair is 84,500 euros, of which 12,000 euros are held back for surprises.", False),
    ("Three offers came in. The lowest, from Dachbau Petersen, was 79,300 euros including scaffolding.", False),
    ("Reserves", True),
    ("The reserve fund stood at 131,240 euros at the end of February 2026.", False),
    ("The loan for the heating is paid back in full by June 2029.", False),
]

WORKS_DIARY = [
    ("Works diary", True),
    ("Notes of the caretaker on repairs in Linden House.", False),
    ("Roof repair", True),
    ("I was told that the budget for the roof repair is 70,000 euros at most; the board decides in April.", False),
    ("The tiles over flat 12 leak when the wind comes from the west. A tarpaulin holds for now.", False),
    ("Boiler", True),
    ("The pressure of the boiler must be between 1.5 and 2 bar. It was topped up on the third of February.", False),
]

CONTACTS = [
    ("Role", "Name", "Telephone", "Hours"),
    ("Caretaker", "Bob Ahlers", "0421 555 0142", "Monday to Thursday, 8 to 12"),
    ("Treasurer", "Alice Brandt", "0421 555 0187", "by appointment"),
    ("Lift emergency", "Aufzug Weser", "0421 555 0199", "day and night"),
    ("Waste collection", "City of Bremen", "0421 555 0110", "Tuesday and Friday"),
]

MEETING = [
    ("Annual meeting 2026", ["The annual meeting is on 18 April 2026 at 17:00 in the laundry room."]),
    (
        "Decisions to take",
        ["Roof repair: yes or no, and when.", "New bicycle shed behind the garages.", "Guest flat: 25 euros a night."],
    ),
    ("Elections", ["Two seats on the board are vacant.", "Candidates tell the chairwoman, Mira Osei, by 4 April."]),
]

GARDEN = [
    (
        "The yard",
        "The chestnut in the yard was planted in 1931 by the first tenants. It must not be pruned before October.",
    ),
    (
        "Beds",
        "Each household may tend one raised bed. Beds that lie fallow until the end of May go to the next on the list.",
    ),
    ("Water", "The rain barrel holds 400 litres. In dry summers the beds are watered after eight in the evening only."),
]


def write_texts() -> None:
    """The formats that are text."""
    write(
        "shared/house-rules.md",
        """# House rules of Linden House

## Quiet hours
Quiet hours are from 22:00 to 7:00, and on Sundays and public holidays all day. Drilling is allowed on working days
between 9:00 and 17:00.

## Laundry room
Every household has the laundry room for four hours a week; the list hangs on its door. The machines take washing up to
8 kilograms. Please clean the lint filter after each use.

## Guests and pets
Guests may stay for up to six weeks without notice to the board. Dogs are welcome on a lead; cats need no permission.
""",
    )
    write(
        "shared/hausordnung-kurz.txt",
        """Hausordnung, kurze Fassung

Die Mülltonnen werden dienstags und freitags geleert. Papier kommt in die blaue Tonne, Glas in den Container an der
Ecke Lindenstraße. Sperrmüll muss bei der Stadt angemeldet werden; der nächste Termin ist der 14. Mai 2026.

Im Winter räumt jede Wohnung eine Woche lang den Schnee vor dem Haus, und zwar bis sieben Uhr morgens.
Der Plan dafür hängt im Treppenhaus neben den Briefkästen.
""",
    )
    write(
        "shared/energy-use.csv",
        """month;electricity in kWh;heating in MWh;water in cubic metres
2025-10;1840;31.2;212
2025-11;1990;44.8;205
2025-12;2210;58.1;219
2026-01;2305;63.4;208
2026-02;2080;55.9;198
""",
    )
    write(
        "shared/neighbourhood.html",
        """<!DOCTYPE html>
<html lang="en"><head><title>The neighbourhood of Linden House</title></head>
<body><h1>Getting here</h1><p>Tram line 4 stops at Lindenplatz, three minutes on foot. The night bus N7 runs every
hour until four in the morning.</p><h2>Shops</h2><p>The bakery Kornblume opens at six. The weekly market is on
Saturdays from eight to one on the church square.</p></body></html>
""",
    )
    write(
        "alice/insurance.eml",
        """From: Weserland Insurance <service@weserland.example>
To: Alice Brandt <alice@linden.example>
Subject: Your building insurance for 2026
Date: Mon, 2 Mar 2026 09:00:00 +0100
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Dear Ms Brandt,

the yearly premium of your building insurance is 6,418 euros from April 2026. Damage by storm and hail is covered with
an excess of 1,000 euros. Your policy number is WL-20-7741.

Kind regards
Weserland Insurance
""",
    )
    write(
        "bob/key-list.rtf",
        r"""{\rtf1\ansi\deff0{\fonttbl{\f0 Helvetica;}}
{\b Keys kept by the caretaker}\par
The key of the boiler room hangs behind the second meter box.\par
Flat 9 has left a spare key in envelope 31. The attic is opened with the brass key number 7.\par
}
""",
    )
    write(
        "bob/auftraege.txt",
        """Aufträge des Hausmeisters

Der Aufzug wird am 21. April 2026 gewartet; er steht dann von acht bis zwölf Uhr still.
Die Regenrinne an der Nordseite ist zu reinigen, sobald das Gerüst für das Dach steht.
Der Elektriker Janssen tauscht die Lampen im Keller gegen solche mit Bewegungsmelder.
""",
    )


def write(name: str, text: str) -> None:
    """A text file in UTF-8."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_zip(name: str, members: dict[str, str]) -> None:
    """A zip archive with a fixed date; `mimetype`, where there is one, comes first and uncompressed."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            entry = zipfile.ZipInfo(member, STAMP)
            entry.compress_type = zipfile.ZIP_STORED if member == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)


def write_pdf(name: str, pages: list[list[str]]) -> None:
    """A PDF with one page for each list of lines."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for lines in pages:
        shown = " T* ".join(f"({line.replace('(', chr(92) + '(').replace(')', chr(92) + ')')}) Tj" for line in lines)
        stream = f"BT /F1 11 Tf 16 TL 50 780 Td {shown} ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {len(objects)} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    body, offsets = "%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    body += f"xref\n0 {size}\n0000000000 65535 f \n{table}"
    body += f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{body.index('xref')}\n%%EOF\n"
    (FOLDER / name).write_bytes(body.encode("latin-1"))


CONTENT_TYPES = '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
CONTENT_TYPES += '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
CONTENT_TYPES += '<Default Extension="xml" ContentType="application/xml"/>{}</Types>'
RELATIONSHIPS = '<?xml version="1.0"?><Relationships'
RELATIONSHIPS += ' xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
APPLICATION = "application/vnd.openxmlformats-officedocument"


def relation(number: int, kind: str, target: str) -> str:
    """One relationship of an Open XML package."""
    return f'<Relationship Id="rId{number}" Type="{OFFICE}/{kind}" Target="{target}"/>'


def override(part: str, kind: str) -> str:
    """The content type of one part of an Open XML package."""
    return f'<Override PartName="{part}" ContentType="{APPLICATION}.{kind}+xml"/>'


def write_docx(name: str, paragraphs: list[tuple[str, bool]]) -> None:
    """A Word document; True marks headings."""
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    heading = '<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>'
    body = "".join(
        f"<w:p>{heading if is_heading else ''}<w:r><w:t>{escape(text)}</w:t></w:r></w:p>"
        for text, is_heading in paragraphs
    )
    styles = '<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>'
    types = override("/word/document.xml", "wordprocessingml.document.main")
    types += override("/word/styles.xml", "wordprocessingml.styles")
    write_zip(name, {
        "[Content_Types].xml": CONTENT_TYPES.format(types),
        "_rels/.rels": RELATIONSHIPS.format(relation(1, "officeDocument", "word/document.xml")),
        "word/_rels/document.xml.rels": RELATIONSHIPS.format(relation(1, "styles", "styles.xml")),
        "word/styles.xml": f'<?xml version="1.0"?><w:styles xmlns:w="{word}">{styles}</w:styles>',
        "word/document.xml": f'<?xml version="1.0"?><w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>',
    })  # fmt: skip


def write_xlsx(name: str, rows: list[tuple[str, ...]]) -> None:
    """A workbook with one sheet."""
    main_namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{escape(cell)}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    types = override("/xl/workbook.xml", "spreadsheetml.sheet.main")
    types += override("/xl/worksheets/sheet1.xml", "spreadsheetml.worksheet")
    write_zip(name, {
        "[Content_Types].xml": CONTENT_TYPES.format(types),
        "_rels/.rels": RELATIONSHIPS.format(relation(1, "officeDocument", "xl/workbook.xml")),
        "xl/_rels/workbook.xml.rels": RELATIONSHIPS.format(relation(1, "worksheet", "worksheets/sheet1.xml")),
        "xl/workbook.xml": f'<?xml version="1.0"?><workbook xmlns="{main_namespace}" xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="Contacts" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/worksheets/sheet1.xml": f'<?xml version="1.0"?><worksheet xmlns="{main_namespace}">'
        f"<sheetData>{cells}</sheetData></worksheet>",
    })  # fmt: skip


def write_pptx(name: str, slides: list[tuple[str, list[str]]]) -> None:
    """A presentation: a title and lines on each slide."""
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/main"
    presentation = "http://schemas.openxmlformats.org/presentationml/2006/main"
    namespaces = f'xmlns:a="{drawing}" xmlns:p="{presentation}" xmlns:r="{OFFICE}"'
    numbers = range(1, len(slides) + 1)
    types = override("/ppt/presentation.xml", "presentationml.presentation.main")
    types += "".join(override(f"/ppt/slides/slide{n}.xml", "presentationml.slide") for n in numbers)
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in numbers)
    members = {
        "[Content_Types].xml": CONTENT_TYPES.format(types),
        "_rels/.rels": RELATIONSHIPS.format(relation(1, "officeDocument", "ppt/presentation.xml")),
        "ppt/_rels/presentation.xml.rels": RELATIONSHIPS.format(
            "".join(relation(n, "slide", f"slides/slide{n}.xml") for n in numbers)
        ),
        "ppt/presentation.xml": f'<?xml version="1.0"?><p:presentation {namespaces}><p:sldIdLst>{ids}</p:sldIdLst>'
        "</p:presentation>",
    }
    for number, (title, lines) in zip(numbers, slides, strict=True):
        shapes = "".join(
            f'<p:sp><p:nvSpPr><p:cNvPr id="{i + 2}" name="s{i}"/><p:cNvSpPr/><p:nvPr/></p:nvSpPr><p:spPr/><p:txBody>'
            f"<a:bodyPr/><a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></p:txBody></p:sp>"
            for i, text in enumerate([title, *lines])
        )
        members[f"ppt/slides/slide{number}.xml"] = (
            f'<?xml version="1.0"?><p:sld {namespaces}><p:cSld><p:spTree><p:nvGrpSpPr><p:cNvPr id="1" name=""/>'
            f"<p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>{shapes}</p:spTree></p:cSld></p:sld>"
        )
    write_zip(name, members)


def write_odt(name: str, paragraphs: list[tuple[str, bool]]) -> None:
    """An OpenDocument text; True marks headings."""
    office = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
    text_namespace = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
    body = "".join(
        f'<text:h text:outline-level="1">{escape(text)}</text:h>' if is_heading else f"<text:p>{escape(text)}</text:p>"
        for text, is_heading in paragraphs
    )
    kind = "application/vnd.oasis.opendocument.text"
    manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    write_zip(name, {
        "mimetype": kind,
        "META-INF/manifest.xml": f'<?xml version="1.0"?><manifest:manifest xmlns:manifest="{manifest}">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>',
        "content.xml": f'<?xml version="1.0"?><office:document-content xmlns:office="{office}"'
        f' xmlns:text="{text_namespace}" office:version="1.2"><office:body><office:text>{body}</office:text>'
        "</office:body></office:document-content>",
    })  # fmt: skip


def write_epub(name: str, chapters: list[tuple[str, str]]) -> None:
    """A book with one page for each chapter."""
    numbers = range(1, len(chapters) + 1)
    manifest = "".join(f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in numbers)
    spine = "".join(f'<itemref idref="c{n}"/>' for n in numbers)
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<?xml version="1.0"?><container version="1.0"'
        ' xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="book.opf"'
        ' media-type="application/oebps-package+xml"/></rootfiles></container>',
        "book.opf": '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"'
        ' unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">linden'
        "</dc:identifier><dc:title>The garden book</dc:title><dc:language>en</dc:language></metadata>"
        f"<manifest>{manifest}</manifest><spine>{spine}</spine></package>",
    }
    for number, (title, text) in zip(numbers, chapters, strict=True):
        members[f"c{number}.xhtml"] = (
            '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>'
            f"{escape(title)}</title></head><body><h1>{escape(title)}</h1><p>{escape(text)}</p></body></html>"
        )
    write_zip(name, members)


if __name__ == "__main__":
    main()
