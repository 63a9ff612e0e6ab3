# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files made to harm whoever reads them, each in a moment and in little space."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from email.message import EmailMessage

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_DOCUMENT = (
    '<?xml version="1.0"?>{doctype}<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    "<w:body>{body}</w:body></w:document>"
)
_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" '
    f'ContentType="{WORD}.main+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)
_LAUGHS = '<!ENTITY l0 "laugh">' + "".join(
    f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 10)
)  # fmt: skip


def word(body: str, doctype: str = "", entries: Iterable[str] = ()) -> bytes:
    """A docx file with `body` as it stands in its XML, and further, empty, entries."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        archive.writestr("_rels/.rels", _RELATIONS)
        archive.writestr("word/document.xml", _DOCUMENT.format(doctype=doctype, body=body))
        for name in entries:
            archive.writestr(name, b"")
    return target.getvalue()


def paragraph(text: str) -> str:
    """A paragraph of a docx file."""
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def zip_bomb() -> bytes:
    """300 MB of text in 300 kB."""
    return word(paragraph("all the same " * 25_000_000))


def zip_bomb_that_lies() -> bytes:
    """A zip bomb whose directory says that the text is short."""
    bomb = bytearray(zip_bomb())
    place = bomb.rindex(b"PK\x01\x02")
    bomb[place + 24 : place + 28] = (1000).to_bytes(4, "little")
    return bytes(bomb)


def many_entries() -> bytes:
    """An archive of 30 000 empty files."""
    return word(paragraph("text"), entries=(f"word/{number}" for number in range(30_000)))


def billion_laughs() -> bytes:
    """Entities that expand to 5 GB."""
    return f'<?xml version="1.0"?><!DOCTYPE a [{_LAUGHS}]><a>&l9;</a>'.encode()


def billion_laughs_in_word() -> bytes:
    """The same in an office file."""
    return word(paragraph("&l9;"), f"<!DOCTYPE w:document [{_LAUGHS}]>")


def external_entity() -> bytes:
    """XML that asks for a file of the machine."""
    return b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'


def long_pdf(pages: int = 10_000) -> bytes:
    """A PDF of many pages, each with a line of text."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>"]
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(pages))
    objects.append(b"<</Type/Pages/Count %d/Kids[%s]>>" % (pages, kids))
    objects.append(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for number in range(pages):
        text = b"BT /F 12 Tf 20 20 Td (Page %d) Tj ET" % number
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Resources<</Font<</F 3 0 R>>>>/Contents %d 0 R>>"
            % (5 + 2 * number)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(text), text))
    return _pdf(objects)


def looping_pdf() -> bytes:
    """A PDF whose page calls a form that calls itself, and whose tree of pages holds itself."""
    call = b"/X Do " * 1000
    used = b"/Resources<</XObject<</X %d 0 R>>>>"
    form = b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]" + used + b"/Length %d>>stream\n%s\nendstream"
    return _pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 2/Kids[3 0 R 2 0 R]/Parent 2 0 R>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources<</XObject<</X 4 0 R>>>>/Contents 6 0 R>>",
            form % (5, len(call), call),
            form % (4, len(call), call),
            b"<</Length %d>>stream\n%s\nendstream" % (len(call), call),
        ]
    )


def deep_json() -> bytes:
    """A million lists in each other."""
    return b"[" * 1_000_000 + b"]" * 1_000_000


def deep_xml() -> bytes:
    """A hundred thousand elements in each other."""
    return b'<?xml version="1.0"?>' + b"<a>" * 100_000 + b"text" + b"</a>" * 100_000


def mail_with_attachments(number: int = 1000) -> bytes:
    """A mail with many small attachments."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "eve@example.org", "alice@example.org", "All of it"
    mail.set_content("See attached.")
    for place in range(number):
        mail.add_attachment(f"Attachment {place}".encode(), maintype="text", subtype="plain", filename=f"{place}.txt")
    return mail.as_bytes()


def _pdf(objects: list[bytes]) -> bytes:
    content = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj%sendobj\n" % (number, body)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % place for place in places)
    content += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(content)


REJECTED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "zip bomb": (zip_bomb, WORD, "expands to far more than its size"),
    "zip bomb that lies": (zip_bomb_that_lies, WORD, "damaged or not of the declared format"),
    "many entries": (many_entries, WORD, "too many pages, entries or attachments"),
    "billion laughs": (billion_laughs, "text/xml", "declares entities that name files or each other"),
    "external entity": (external_entity, "text/xml", "declares entities that name files or each other"),
    "10 000 pages": (long_pdf, "application/pdf", "too many pages, entries or attachments"),
    "deep JSON": (deep_json, "application/json", "nested too deeply"),
    "deep XML": (deep_xml, "text/xml", "nested too deeply"),
    "1 000 attachments": (mail_with_attachments, "message/rfc822", "too many pages, entries or attachments"),
}
"""Each with its maker, the type it is declared as, and why it is rejected."""
