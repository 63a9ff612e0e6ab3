# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of the sample documents' formats, written by hand, so that no library is needed."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent / "documents"
STAMP = (2026, 3, 2, 9, 0, 0)


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


def write_xlsx(name: str, rows: Sequence[tuple[str, ...]]) -> None:
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
    numbers = range(1, len(slides) + 1)
    types = override("/ppt/presentation.xml", "presentationml.presentation.main")
    types += override("/ppt/slideMasters/slideMaster1.xml", "presentationml.slideMaster")
    types += override("/ppt/slideLayouts/slideLayout1.xml", "presentationml.slideLayout")
    types += override("/ppt/theme/theme1.xml", "theme")
    types += "".join(override(f"/ppt/slides/slide{n}.xml", "presentationml.slide") for n in numbers)
    master = len(slides) + 1
    parts = "".join(relation(n, "slide", f"slides/slide{n}.xml") for n in numbers)
    parts += relation(master, "slideMaster", "slideMasters/slideMaster1.xml")
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in numbers)
    layout = relation(1, "slideLayout", "../slideLayouts/slideLayout1.xml")
    members = {
        "[Content_Types].xml": CONTENT_TYPES.format(types),
        "_rels/.rels": RELATIONSHIPS.format(relation(1, "officeDocument", "ppt/presentation.xml")),
        "ppt/_rels/presentation.xml.rels": RELATIONSHIPS.format(parts),
        "ppt/presentation.xml": slide_part(
            "presentation",
            f'<p:sldMasterIdLst><p:sldMasterId id="2147483648" r:id="rId{master}"/></p:sldMasterIdLst>'
            f'<p:sldIdLst>{ids}</p:sldIdLst><p:sldSz cx="9144000" cy="6858000"/><p:notesSz cx="6858000" cy="9144000"/>',
        ),
        "ppt/slideMasters/slideMaster1.xml": slide_part(
            "sldMaster",
            SHAPES.format("") + COLOUR_MAP + '<p:sldLayoutIdLst><p:sldLayoutId id="2147483649" r:id="rId1"/>'
            "</p:sldLayoutIdLst>",
        ),
        "ppt/slideMasters/_rels/slideMaster1.xml.rels": RELATIONSHIPS.format(
            layout + relation(2, "theme", "../theme/theme1.xml")
        ),
        "ppt/slideLayouts/slideLayout1.xml": slide_part("sldLayout", SHAPES.format("")),
        "ppt/slideLayouts/_rels/slideLayout1.xml.rels": RELATIONSHIPS.format(
            relation(1, "slideMaster", "../slideMasters/slideMaster1.xml")
        ),
        "ppt/theme/theme1.xml": THEME,
    }
    for number, (title, lines) in zip(numbers, slides, strict=True):
        shapes = shape(2, '<p:ph type="title"/>', 457200, 1143000, [title]) + shape(3, "", 1600200, 4525963, lines)
        members[f"ppt/slides/slide{number}.xml"] = slide_part("sld", SHAPES.format(shapes))
        members[f"ppt/slides/_rels/slide{number}.xml.rels"] = RELATIONSHIPS.format(layout)
    write_zip(name, members)


DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
SHAPES = (
    '<p:cSld><p:spTree><p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>{}'
    "</p:spTree></p:cSld>"
)
COLOUR_MAP = (
    '<p:clrMap bg1="lt1" tx1="dk1" bg2="lt2" tx2="dk2" accent1="accent1" accent2="accent2" accent3="accent3"'
    ' accent4="accent4" accent5="accent5" accent6="accent6" hlink="hlink" folHlink="folHlink"/>'
)
COLOURS = "".join(
    f'<a:{colour}><a:srgbClr val="{value}"/></a:{colour}>'
    for colour, value in (
        ("dk1", "000000"), ("lt1", "FFFFFF"), ("dk2", "1F3B2D"), ("lt2", "EEF3EE"), ("accent1", "3C7A57"),
        ("accent2", "7A5C3C"), ("accent3", "3C5A7A"), ("accent4", "7A3C4E"), ("accent5", "6B7A3C"),
        ("accent6", "3C7A78"), ("hlink", "1A5FB4"), ("folHlink", "613583"),
    )
)  # fmt: skip
FONT = '<a:latin typeface="Helvetica"/><a:ea typeface=""/><a:cs typeface=""/>'
FILL = '<a:solidFill><a:schemeClr val="phClr"/></a:solidFill>'
THEME = (
    f'<?xml version="1.0"?><a:theme xmlns:a="{DRAWING}" name="Linden"><a:themeElements><a:clrScheme name="Linden">'
    f'{COLOURS}</a:clrScheme><a:fontScheme name="Linden"><a:majorFont>{FONT}</a:majorFont><a:minorFont>{FONT}'
    f'</a:minorFont></a:fontScheme><a:fmtScheme name="Linden"><a:fillStyleLst>{FILL * 3}</a:fillStyleLst>'
    f"<a:lnStyleLst>{f'<a:ln>{FILL}</a:ln>' * 3}</a:lnStyleLst>"
    f"<a:effectStyleLst>{'<a:effectStyle><a:effectLst/></a:effectStyle>' * 3}</a:effectStyleLst>"
    f"<a:bgFillStyleLst>{FILL * 3}</a:bgFillStyleLst></a:fmtScheme></a:themeElements></a:theme>"
)


def slide_part(element: str, content: str) -> str:
    """A part of a presentation with this root element."""
    presentation = "http://schemas.openxmlformats.org/presentationml/2006/main"
    namespaces = f'xmlns:a="{DRAWING}" xmlns:p="{presentation}" xmlns:r="{OFFICE}"'
    return f'<?xml version="1.0"?><p:{element} {namespaces}>{content}</p:{element}>'


def shape(number: int, place: str, top: int, height: int, lines: list[str]) -> str:
    """A box with a paragraph for each line, at `top` and of `height` in EMU (914 400 an inch)."""
    paragraphs = "".join(f"<a:p><a:r><a:t>{escape(line)}</a:t></a:r></a:p>" for line in lines)
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="{number}" name="Text {number}"/><p:cNvSpPr/><p:nvPr>{place}</p:nvPr></p:nvSpPr>'
        f'<p:spPr><a:xfrm><a:off x="457200" y="{top}"/><a:ext cx="8229600" cy="{height}"/></a:xfrm>'
        f'<a:prstGeom prst="rect"><a:avLst/></a:prstGeom></p:spPr><p:txBody><a:bodyPr/><a:lstStyle/>{paragraphs}'
        "</p:txBody></p:sp>"
    )


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
    manifest = '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
    manifest += "".join(f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in numbers)
    spine = "".join(f'<itemref idref="c{n}"/>' for n in numbers)
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<?xml version="1.0"?><container version="1.0"'
        ' xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="book.opf"'
        ' media-type="application/oebps-package+xml"/></rootfiles></container>',
        "book.opf": '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"'
        ' unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">linden'
        "</dc:identifier><dc:title>The garden book</dc:title><dc:language>en</dc:language>"
        '<meta property="dcterms:modified">2026-03-02T09:00:00Z</meta></metadata>'
        f"<manifest>{manifest}</manifest><spine>{spine}</spine></package>",
    }
    links = "".join(f'<li><a href="c{n}.xhtml">{escape(chapters[n - 1][0])}</a></li>' for n in numbers)
    members["nav.xhtml"] = (
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">'
        f'<head><title>Contents</title></head><body><nav epub:type="toc"><ol>{links}</ol></nav></body></html>'
    )
    for number, (title, text) in zip(numbers, chapters, strict=True):
        members[f"c{number}.xhtml"] = (
            '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>'
            f"{escape(title)}</title></head><body><h1>{escape(title)}</h1><p>{escape(text)}</p></body></html>"
        )
    write_zip(name, members)
