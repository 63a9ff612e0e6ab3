# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes the sample files beside it: `python tests/data/make.py [FORMAT …]`. They are kept, so only new ones are made.

What is needed beside Python (Debian's names): libreoffice-writer-nogui, libreoffice-calc-nogui,
libreoffice-impress-nogui, pandoc, gnumeric, ghostscript, libgsf-bin, mpack, jq, openjdk-17-jdk-headless,
libapache-poi-java; and from PyPI: python-docx,
python-pptx, openpyxl, xlsxwriter, xlwt, odfpy, reportlab, fpdf2, pillow, nbformat. The program itself needs none of
them. Every file is named after the program that wrote it.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import csv
import datetime
import email.message
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
TITLE = "Roof report"
SECTIONS = [
    (1, "Costs", "The roof costs 84,500 euros. R&D <none> is paid by Smith & Sons."),
    (2, "Timetable", "Die Müllerin beginnt am 3. März; später grüßt Łukasz."),
    (1, "Contacts", "Ask Zoë or 山田太郎 about the key."),
]
TABLE = [["Item", "Cost"], ["Gutter", "1200"], ["Chimney & flue", "950"]]
SLIDES = [("Annual meeting", ["The roof is mended in May.", "Die Müllerin kommt."]), ("Budget", ["84,500 euros in all"])]
SHEETS: dict[str, list[list[Any]]] = {
    "Costs": [["Item", "Cost", "Due"], ["Gutter", 1200.5, datetime.date(2027, 4, 18)], ["Käufer & Co", 950, None]],
    "Readings": [["Meter", "Value"], ["Heizöl", 17], ["山田", 23]],
}
COSTS = SECTIONS[0][2].replace("<", "\\<")
MARKDOWN = f"""# {TITLE}

Written in spring.

## Costs

{COSTS}

| Item           | Cost |
|----------------|------|
| Gutter         | 1200 |
| Chimney & flue | 950  |

### Timetable

{SECTIONS[1][2]}

```python
# no heading
print("shut the tap")
```

## Contacts

{SECTIONS[2][2]}
"""


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a program that must succeed."""
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=170, **options)


def libreoffice(source: bytes, suffix: str, target: Path, conversion: str) -> None:
    """What LibreOffice makes of a file when it saves it as another; `conversion` is its name of the format."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / f"given.{suffix}"
        given.write_bytes(source)
        profile = f"-env:UserInstallation=file://{folder}/profile"
        run("soffice", profile, "--headless", "--convert-to", conversion, "--outdir", Path(folder) / "out", given)
        made = list((Path(folder) / "out").iterdir())
        if target.suffix == ".ppt":  # half a megabyte is a picture of the first slide: it is left out, by libgsf
            streams = ("Current User", "PowerPoint Document", "\x05DocumentSummaryInformation")
            gsf({name: run("gsf", "cat", made[0], name).stdout for name in streams}, target)
            return
        shutil.copyfile(made[0], target)


def pandoc(target: Path, writer: str, *options: str) -> None:
    """What pandoc makes of the text in Markdown."""
    run("pandoc", "-f", "markdown", "-t", writer, "-o", target, *options, input=MARKDOWN.encode())


def ssconvert(source: bytes, target: Path, exporter: str) -> None:
    """What Gnumeric makes of a workbook."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.xlsx"
        given.write_bytes(source)
        run("ssconvert", "-T", exporter, given, target)


POI = """
import java.io.*;
import org.apache.poi.hslf.usermodel.*;
import org.apache.poi.hwpf.HWPFDocument;

class Make {
    public static void main(String[] names) throws Exception {
        try (OutputStream target = new FileOutputStream(names[0])) {
            if (names.length > 1) {
                HWPFDocument text = new HWPFDocument(new FileInputStream(names[1]));
                text.getRange().replaceText("84,500", "84,600");
                text.write(target);
                return;
            }
            HSLFSlideShow show = new HSLFSlideShow();
            for (String[] lines : new String[][] {SLIDES}) {
                HSLFSlide slide = show.createSlide();
                slide.addTitle().setText(lines[0]);
                HSLFTextBox box = new HSLFTextBox();
                box.setText(lines[1]);
                slide.addShape(box);
            }
            show.write(target);
        }
    }
}
"""


def poi(target: Path, changed: Path | None = None) -> None:
    """A presentation by Apache POI, or a text it has changed."""
    slides = ", ".join(f"{{{json.dumps(title)}, {json.dumps(chr(10).join(lines))}}}" for title, lines in SLIDES)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "Make.java"
        program.write_text(POI.replace("SLIDES", slides))
        run("java", "-cp", "/usr/share/java/*", program, target, *([changed] if changed else []))


def docx(*, empty: bool = False) -> bytes:
    """A text by python-docx."""
    import docx as library

    document = library.Document()
    if not empty:
        document.core_properties.title = TITLE
        document.add_heading(TITLE, 0)
        for number, (level, heading, text) in enumerate(SECTIONS):
            document.add_heading(heading, level)
            document.add_paragraph(text)
            if number == 0:
                table = document.add_table(len(TABLE), 2)
                for row, cells in enumerate(TABLE):
                    for column, cell in enumerate(cells):
                        table.cell(row, column).text = cell
    return saved(document.save)


def saved(save: Callable[[io.BytesIO], Any]) -> bytes:
    """What a library writes to a file."""
    target = io.BytesIO()
    save(target)
    return target.getvalue()


def xlsx(*, empty: bool = False) -> bytes:
    """A workbook by openpyxl."""
    import openpyxl

    book = openpyxl.Workbook()
    if not empty:
        book.remove(book.active)
        for name, rows in SHEETS.items():
            sheet = book.create_sheet(name)
            for row in rows:
                sheet.append(row)
    return saved(book.save)


def xlsxwriter_book() -> bytes:
    """A workbook by XlsxWriter."""
    import xlsxwriter

    target = io.BytesIO()
    book = xlsxwriter.Workbook(target)
    date = book.add_format({"num_format": "yyyy-mm-dd"})
    for name, rows in SHEETS.items():
        sheet = book.add_worksheet(name)
        for y, row in enumerate(rows):
            for x, cell in enumerate(row):
                if isinstance(cell, datetime.date):
                    sheet.write_datetime(y, x, datetime.datetime.combine(cell, datetime.time()), date)
                else:
                    sheet.write(y, x, cell)
    book.close()
    return target.getvalue()


def xls() -> bytes:
    """A workbook by xlwt."""
    import xlwt

    book = xlwt.Workbook(encoding="utf-8")
    for name, rows in SHEETS.items():
        sheet = book.add_sheet(name)
        for y, row in enumerate(rows):
            for x, cell in enumerate(row):
                if isinstance(cell, datetime.date):
                    sheet.write(y, x, cell, xlwt.easyxf(num_format_str="yyyy-mm-dd"))
                elif cell is not None:
                    sheet.write(y, x, cell)
    return saved(book.save)


def pptx(*, empty: bool = False) -> bytes:
    """A presentation by python-pptx."""
    import pptx as library
    from pptx.util import Inches

    show = library.Presentation()
    for heading, lines in [] if empty else SLIDES:
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = heading
        slide.placeholders[1].text = "\n".join(lines)
        slide.notes_slide.notes_text_frame.text = f"Say more about {heading.lower()}."
    if not empty:
        frame = slide.shapes.add_table(len(TABLE), 2, Inches(1), Inches(4), Inches(6), Inches(1))
        for row, cells in enumerate(TABLE):
            for column, cell in enumerate(cells):
                frame.table.cell(row, column).text = cell
    else:
        show.slides.add_slide(show.slide_layouts[6])
    return saved(show.save)


def odfpy(kind: str, *, empty: bool = False) -> bytes:
    """A text, workbook or presentation by odfpy."""
    from odf import draw, opendocument, style, text

    if kind == "odt":
        document = opendocument.OpenDocumentText()
        for number, (level, heading, words) in enumerate([] if empty else SECTIONS):
            document.text.addElement(text.H(outlinelevel=level, text=heading))
            document.text.addElement(text.P(text=words))
            if number == 0:
                document.text.addElement(odf_table("Table1", TABLE))
    elif kind == "ods":
        document = opendocument.OpenDocumentSpreadsheet()
        for name, rows in [("Sheet1", [])] if empty else SHEETS.items():
            document.spreadsheet.addElement(odf_table(name, rows))
    else:
        document = opendocument.OpenDocumentPresentation()
        layout = style.PageLayout(name="L")
        document.automaticstyles.addElement(layout)
        master = style.MasterPage(name="M", pagelayoutname=layout)
        document.masterstyles.addElement(master)
        for heading, lines in [("", [])] if empty else SLIDES:
            page = draw.Page(masterpagename=master, name=heading or "page1")
            frame = draw.Frame(width="20cm", height="5cm", x="1cm", y="1cm")
            box = draw.TextBox()
            for line in [heading, *lines] if heading else []:
                box.addElement(text.P(text=line))
            frame.addElement(box)
            page.addElement(frame)
            document.presentation.addElement(page)
    return saved(document.write)


def odf_table(name: str, rows: list[list[Any]]) -> Any:
    """A table of odfpy."""
    from odf import table, text

    made = table.Table(name=name)
    if rows:
        made.addElement(table.TableColumn(numbercolumnsrepeated=len(rows[0])))
    for row in rows:
        line = table.TableRow()
        for cell in row:
            kind: dict[str, Any] = {"valuetype": "string"}
            if isinstance(cell, datetime.date):
                kind = {"valuetype": "date", "datevalue": cell.isoformat()}
            elif isinstance(cell, int | float):
                kind = {"valuetype": "float", "value": cell}
            node = table.TableCell(**kind)
            if cell is not None:
                node.addElement(text.P(text=str(cell)))
            line.addElement(node)
        made.addElement(line)
    return made


def reportlab_pdf(pages: list[list[str]]) -> bytes:
    """A PDF by ReportLab."""
    from reportlab.pdfbase import pdfmetrics, ttfonts
    from reportlab.pdfgen import canvas

    pdfmetrics.registerFont(ttfonts.TTFont("DejaVu", FONT))
    target = io.BytesIO()
    sheet = canvas.Canvas(target, pagesize=(420, 300))
    sheet.setTitle(TITLE)
    for lines in pages:
        sheet.setFont("DejaVu", 11)
        for number, line in enumerate(lines):
            sheet.drawString(30, 260 - 20 * number, line)
        sheet.showPage()
    sheet.save()
    return target.getvalue()


def fpdf(pages: list[list[str]]) -> bytes:
    """A PDF by fpdf2."""
    from fpdf import FPDF

    sheet = FPDF(format=(150, 100))
    sheet.add_font("DejaVu", fname=FONT)
    for lines in pages:
        sheet.add_page()
        sheet.set_font("DejaVu", size=11)
        for line in lines:
            sheet.cell(0, 8, line, new_x="LMARGIN", new_y="NEXT")
    return bytes(sheet.output())


def ghostscript(pdf: bytes, device: str, target: Path, *options: str) -> None:
    """The pages of a PDF as a picture, or a PDF of them."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.pdf"
        given.write_bytes(pdf)
        run("gs", "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", f"-sDEVICE={device}", *options, f"-sOutputFile={target}", given)


def picture(lines: list[str], kind: str, **options: Any) -> bytes:
    """A picture of words by Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (900, 60 + 60 * max(1, len(lines))), 255)
    pen, font = ImageDraw.Draw(image), ImageFont.truetype(FONT, 36)
    for number, line in enumerate(lines):
        pen.text((30, 30 + 60 * number), line, font=font, fill=0)
    return saved(lambda file: image.save(file, kind, **options))


PAGES = [
    [SECTIONS[0][1], "The roof costs 84,500 euros.", "Smith & Sons are paid in May."],
    [SECTIONS[1][1], "Die Müllerin beginnt am 3. März.", "Später grüßt Łukasz."],
]
SCAN = ["The roof costs 84500 euros.", "Die Müllerin kommt im März."]


def outlook_streams(*, empty: bool = False) -> dict[str, bytes]:
    """The streams of a mail of Outlook (MS-OXMSG), by their path."""
    streams: dict[str, bytes] = {}

    def add(folder: str, properties: dict[int, str | bytes | int], head: bytes) -> None:
        entries = b""
        for tag, value in properties.items():
            if isinstance(value, int):
                entries += struct.pack("<IIQ", tag, 6, value)
                continue
            data = value.encode("utf-16-le") if isinstance(value, str) else value
            size = len(data) + (2 if isinstance(value, str) else 0)
            entries += struct.pack("<IIII", tag, 6, size, 0)
            streams[f"{folder}__substg1.0_{tag:08X}"] = data
        streams[f"{folder}__properties_version1.0"] = head + entries

    for guid in ("00020102", "00030102", "00040102"):
        streams[f"__nameid_version1.0/__substg1.0_{guid}"] = b""
    count = 0 if empty else 1
    head = struct.pack("<8xIIII8x", count, 2 * count, count, 2 * count)
    mail: dict[int, str | bytes | int] = {0x001A001F: "IPM.Note", 0x340D0003: 0x40000}
    if not empty:
        mail |= {
            0x0037001F: "Key of the cellar",
            0x0C1A001F: "Zoë Müller",
            0x0C1F001F: "zoe@linden.example",
            0x0E04001F: "Łukasz",
            0x1000001F: "The key hangs by the door.\r\nGrüße, Zoë\r\n",
        }
    add("", mail, head)
    if not empty:
        add("__recip_version1.0_#00000000/", {0x3001001F: "Łukasz", 0x3003001F: "lukasz@linden.example"}, bytes(8))
        for number, (name, kind, data) in enumerate(ATTACHMENTS):
            add(
                f"__attach_version1.0_#{number:08d}/",
                {0x3707001F: name, 0x3704001F: name, 0x370E001F: kind, 0x37010102: data, 0x37050003: 1},
                bytes(8),
            )
    return streams


ATTACHMENTS = [
    ("Maße.csv", "text/csv", "Ort;Größe\nDach;90\n".encode()),
    ("notes.md", "text/markdown", b"# Stairs\n\nTwelve steps lead down.\n"),
]


def rich_text(streams: dict[str, bytes]) -> dict[str, bytes]:
    """The same mail with its text in RTF alone (MS-OXRTFCP, not compressed)."""
    text = b"{\\rtf1\\ansi\\fromtext The key hangs by the door.\\par Gr\\'fc\\'dfe, Zo\\'eb}"
    kept = {name: data for name, data in streams.items() if name != "__substg1.0_1000001F"}
    return kept | {"__substg1.0_10090102": struct.pack("<II4sI", len(text) + 12, len(text), b"MELA", 0) + text}


def compound_file(streams: dict[str, bytes]) -> bytes:
    """A compound file (MS-CFB) with these streams; folders are named in their paths. One plain writer, no mini sectors.

    Streams are padded to 4096 bytes and more, where mini sectors are not used, by nothing: short ones go to the mini
    stream, as the format demands.
    """
    sector, mini = 512, 64
    entries: list[dict[str, Any]] = [{"name": "Root Entry", "kind": 5, "children": []}]
    folders = {"": 0}
    for path in sorted(streams):
        folder, _, name = path.rpartition("/")
        if folder not in folders:
            folders[folder] = len(entries)
            entries[0]["children"].append(len(entries))
            entries.append({"name": folder, "kind": 1, "children": []})
        entries[folders[folder]]["children"].append(len(entries))
        entries.append({"name": name, "kind": 2, "data": streams[path], "children": []})
    mini_stream, mini_fat, fat, body = b"", [], [], b""

    def store(data: bytes) -> int:
        nonlocal body
        start, count = len(fat), -(-len(data) // sector)
        fat.extend([*range(start + 1, start + count), 0xFFFFFFFE][:count] if count else [])
        body += data.ljust(count * sector, b"\0")
        return start if count else 0xFFFFFFFE

    for entry in entries:
        data = entry.get("data", b"")
        entry["size"] = len(data)
        if len(data) >= 4096:
            entry["start"] = store(data)
        elif data:
            start, count = len(mini_fat), -(-len(data) // mini)
            mini_fat += [*range(start + 1, start + count), 0xFFFFFFFE]
            mini_stream += data.ljust(count * mini, b"\0")
            entry["start"] = start
        else:
            entry["start"] = 0xFFFFFFFE if entry["kind"] == 2 else 0
    entries[0]["start"], entries[0]["size"] = store(mini_stream), len(mini_stream)
    mini_fat_bytes = struct.pack(f"<{len(mini_fat)}I", *mini_fat)
    mini_fat_bytes = mini_fat_bytes.ljust(-(-len(mini_fat_bytes) // sector) * sector, b"\xff")
    mini_fat_start = store(mini_fat_bytes)
    directory = b""
    for entry in entries:  # siblings as a list that hangs to the right, in the order of the format
        order = sorted(entry["children"], key=lambda number: (len(entries[number]["name"]), entries[number]["name"].upper()))
        entry["child"] = order[0] if order else 0xFFFFFFFF
        for number, right in zip(order, [*order[1:], 0xFFFFFFFF], strict=False):
            entries[number]["right"] = right
    for entry in entries:
        name = (entry["name"] + "\0").encode("utf-16-le")
        directory += name.ljust(64, b"\0") + struct.pack(
            "<HBBIII16xI8x8xIQ", len(name), entry["kind"], 1, 0xFFFFFFFF, entry.get("right", 0xFFFFFFFF), entry["child"], 0,
            entry["start"], entry["size"],
        )  # fmt: skip
    empty_entry = bytes(64) + struct.pack("<HBBIII", 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(48)
    directory += empty_entry * (-len(directory) // 128 % 4)
    directory_start = store(directory)
    fat_start = len(fat)
    fat_sectors = 1
    while fat_sectors * 128 < len(fat) + fat_sectors:
        fat_sectors += 1
    fat.extend([0xFFFFFFFD] * fat_sectors)
    body += struct.pack(f"<{len(fat)}I", *fat).ljust(fat_sectors * sector, b"\xff")
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack(
        "<IIIIIIIII", 0, fat_sectors, directory_start, 0, 4096, mini_fat_start, len(mini_fat_bytes) // sector, 0xFFFFFFFE, 0
    )
    places = [*range(fat_start, fat_start + fat_sectors)]
    return header + struct.pack("<109I", *places, *[0xFFFFFFFF] * (109 - len(places))) + body


def gsf(streams: dict[str, bytes], target: Path) -> None:
    """A compound file by libgsf."""
    with tempfile.TemporaryDirectory() as folder:
        for path, data in streams.items():
            file = Path(folder) / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
        names = sorted(os.listdir(folder))
        run("gsf", "createole", target, *names, cwd=folder)


def mail(*, empty: bool = False) -> bytes:
    """A mail by Python's email package."""
    message = email.message.EmailMessage()
    if not empty:
        message["From"], message["To"] = "Zoë Müller <zoe@linden.example>", "lukasz@linden.example"
        message["Subject"], message["Date"] = "Key of the cellar", "Mon, 01 Mar 2027 10:00:00 +0100"
        message.set_content("The key hangs by the door.\nGrüße, Zoë\n")
        message.add_alternative("<p>The key hangs by the <b>door</b>.</p><p>Grüße, Zoë</p>", subtype="html")
        for name, kind, data in ATTACHMENTS:
            main, _, sub = kind.partition("/")
            message.add_attachment(data, maintype=main, subtype=sub, filename=name)
    return bytes(message)


def mpack(target: Path) -> None:
    """A mail by mpack."""
    with tempfile.TemporaryDirectory() as folder:
        attached, words = Path(folder) / "report.docx", Path(folder) / "words"
        pandoc(attached, "docx")
        words.write_text("The key hangs by the door.\n")
        run("mpack", "-s", "Key of the cellar", "-d", words, "-c", "application/msword", "-o", target, attached)


def notebook(*, empty: bool = False) -> bytes:
    """A notebook by nbformat."""
    from nbformat import v4, writes

    cells = [] if empty else [
        v4.new_markdown_cell("# Heating\n\nWe count the *oil*."),
        v4.new_code_cell(
            "litres = 400\nprint(litres * 2)",
            outputs=[
                v4.new_output("stream", name="stdout", text="800\n"),
                v4.new_output("display_data", data={"image/png": "iVBORw0KGgo="}),
                v4.new_output("execute_result", data={"text/plain": "'Müll'", "text/html": "<b>Müll</b>"}),
            ],
        ),
        v4.new_markdown_cell("## Stairs\n\nZwölf Stufen."),
    ]  # fmt: skip
    for number, cell in enumerate(cells):
        cell["id"] = f"cell{number}"
    return str(writes(v4.new_notebook(cells=cells))).encode()


def tree() -> bytes:
    """XML by ElementTree."""
    root = ET.Element("report", {"xmlns:dc": "http://purl.org/dc/elements/1.1/"})
    ET.SubElement(root, "title").text = TITLE
    for _, heading, text in SECTIONS:
        section = ET.SubElement(root, "section", {"name": heading})
        ET.SubElement(section, "para").text = text
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


RECORDS: Any = {
    "report": TITLE,
    "costs": [{"item": "Gutter", "cost": 1200.5, "paid": False}, {"item": "Käufer & Co", "cost": 950, "paid": True}],
    "contacts": {"key": {"name": "Zoë", "phones": ["0421 555 0142", "0421 555 0143"]}, "fax": None},
    "notes": ["山田太郎", "Die Müllerin grüßt"],
}
CODE = {
    "code/python.py": (
        '#!/usr/bin/env python3\n"""Counts the oil."""\n\nLITRES = 400\n\n\nclass Tank:\n    # the size in litres\n'
        "    def fill(self, litres: int) -> None:\n        self.litres = litres  # Öl\n\n\ndef drain() -> int:\n"
        '    return LITRES\n'
    ),
    "code/c.c": (
        '#include <stdio.h>\n#define LITRES 400\n\n/* opens the valve */\nint main(void)\n{\n    printf("shut the tap\\n");\n'
        "    return 0;\n}\n"
    ),
    "code/javascript.js": (
        "// counts steps\nexport class Stairs {\n  count() { return 12; }\n}\n\nexport function climb(stairs) {\n"
        "  return stairs.count();\n}\n"
    ),
    "code/bash.sh": "#!/bin/bash\n# shuts the tap\nshut_tap() {\n  echo shut\n}\n\nshut_tap\n",
}
PROSE = {
    "german": "Die Müllerin grüßt den Bäcker. Über den Dächern fröstelt es spät, und später schläft die Straße.\n",
    "french": "La réunion des propriétaires a lieu à l'école; le toit a été réparé cet été par les façadiers.\n",
    "polish": "Zażółć gęślą jaźń. Zebranie mieszkańców odbędzie się wieczorem w bibliotece na pierwszym piętrze.\n",
    "russian": "Когда состоится ежегодное собрание жильцов? Крышу починят весной, ключ висит у двери.\n",
    "greek": "Η ετήσια συνέλευση των ενοίκων θα γίνει στη βιβλιοθήκη. Το κλειδί κρέμεται δίπλα στην πόρτα.\n",
    "japanese": "年次総会はいつ開催されますか。屋根の修理は春に行われます。鍵はドアのそばに掛かっています。\n",
    "chinese": "年度会议什么时候举行？屋顶将在春天修理。钥匙挂在门边。请在图书馆见面。\n",
    "korean": "연례 총회는 언제 열립니까? 지붕은 봄에 수리됩니다. 열쇠는 문 옆에 걸려 있습니다.\n",
}
ENCODINGS = [
    ("german", "utf-8"), ("german", "utf-8-sig"), ("german", "utf-16"), ("german", "utf-16-le"), ("german", "utf-16-be"),
    ("german", "latin-1"), ("german", "cp1252"), ("french", "latin-1"), ("polish", "cp1250"), ("russian", "cp1251"),
    ("greek", "cp1253"), ("japanese", "shift-jis"), ("japanese", "utf-16-le"), ("japanese", "utf-16-be"),
    ("chinese", "gb18030"), ("chinese", "utf-16-le"), ("chinese", "utf-16-be"), ("korean", "utf-16-le"),
    ("russian", "utf-16-le"), ("japanese", "utf-8"),
]  # fmt: skip


def texts() -> dict[str, Callable[[Path], Any]]:
    """Everything that is text."""
    made: dict[str, Callable[[Path], Any]] = {}

    def keep(name: str, content: bytes) -> None:
        made[name] = lambda path: path.write_bytes(content)

    for language, encoding in ENCODINGS:
        keep(f"txt/{language}.{encoding}.txt", (PROSE[language] * 2).encode(encoding))
    keep("txt/empty.txt", b"")
    keep("txt/broken.txt", bytes(range(256)) * 4)
    made["txt/pandoc.txt"] = lambda path: pandoc(path, "plain")
    made["txt/libreoffice.txt"] = lambda path: libreoffice(docx(), "docx", path, "txt:Text (encoded):UTF8")
    keep("md/python.md", MARKDOWN.encode())
    made["md/pandoc.md"] = lambda path: pandoc(path, "markdown", "--markdown-headings=setext")
    for kind, writer in (("rst", "rst"), ("org", "org")):
        made[f"{kind}/pandoc.{kind}"] = lambda path, writer=writer: pandoc(path, writer)
    keep("rst/python.rst", b"Roof report\n===========\n\nCosts\n-----\n\nThe roof costs 84,500 euros.\n\n"
         b".. note:: Paid in May.\n\nContacts\n--------\n\nAsk Zo\xc3\xab.\n")  # fmt: skip
    keep("org/python.org", b"#+TITLE: Roof report\n\n* Costs\nThe roof costs 84,500 euros.\n** TODO Timetable :spring:\n"
         b"Starts in May.\n* Contacts\nAsk Zo\xc3\xab.\n")  # fmt: skip
    for kind in ("md", "rst", "org"):
        keep(f"{kind}/empty.{kind}", b"\n\n")
        keep(f"{kind}/broken.{kind}", b"\x00\x01\x02\xff\xfe" * 40)
    made["html/pandoc.html"] = lambda path: pandoc(path, "html", "-s", "--metadata", f"title={TITLE}")
    made["html/libreoffice.html"] = lambda path: libreoffice(docx(), "docx", path, "html:HTML (StarWriter)")
    keep("html/empty.html", b"<!DOCTYPE html><html><head></head><body>\n</body></html>")
    keep("html/broken.html", b"<!DOCTYPE html><html><body><h1>Costs<p>The roof costs <b>84,500 euros<table><tr><td>Gutter<td")
    keep("xml/elementtree.xml", tree())
    made["xml/pandoc.xml"] = lambda path: pandoc(path, "docbook5", "-s")
    made["xml/libreoffice.xml"] = lambda path: libreoffice(docx(), "docx", path, "xml:DocBook File")
    keep("xml/empty.xml", b"<?xml version='1.0'?>\n<a><b/></a>")
    keep("xml/broken.xml", b"<?xml version='1.0'?>\n<a><b>The roof costs 84,500 euros.</b><c>")
    keep("json/python.json", json.dumps(RECORDS, indent=2).encode())
    made["json/jq.json"] = lambda path: path.write_bytes(run("jq", "-c", ".", input=json.dumps(RECORDS).encode()).stdout)
    made["json/jq.jsonl"] = lambda path: path.write_bytes(
        run("jq", "-c", ".costs[]", input=json.dumps(RECORDS).encode()).stdout
    )
    keep("json/empty.json", b"{}")
    keep("json/broken.json", json.dumps(RECORDS, ensure_ascii=False).encode()[:-30])
    keep("ipynb/nbformat.ipynb", b"")
    made["ipynb/nbformat.ipynb"] = lambda path: path.write_bytes(notebook())
    made["ipynb/empty.ipynb"] = lambda path: path.write_bytes(notebook(empty=True))
    made["ipynb/pandoc.ipynb"] = lambda path: pandoc(path, "ipynb")
    made["ipynb/broken.ipynb"] = lambda path: path.write_bytes(notebook()[:-200])
    for name, code in CODE.items():
        keep(name, code.encode())
    keep("code/empty.py", b"\n")
    keep("code/broken.py", b"def drain(:\n  return 84,500 )) 'euros\n")
    for kind, delimiter in (("csv", ";"), ("tsv", "\t")):
        rows = io.StringIO(newline="")
        csv.writer(rows, delimiter=delimiter).writerows([*SHEETS["Costs"], ['say "hi"', "two\nlines", None]])
        keep(f"{kind}/python.{kind}", rows.getvalue().encode())
        keep(f"{kind}/empty.{kind}", b"\r\n")
        keep(f"{kind}/broken.{kind}", f'Item{delimiter}Cost\nGutter{delimiter}"1200\nnever closed'.encode())
    made["csv/gnumeric.csv"] = lambda path: ssconvert(xlsx(), path, "Gnumeric_stf:stf_csv")
    made["csv/libreoffice.csv"] = lambda path: libreoffice(xlsx(), "xlsx", path, "csv:Text - txt - csv (StarCalc):59,34,ANSI,1")
    made["tsv/libreoffice.tsv"] = lambda path: libreoffice(
        xlsx(), "xlsx", path, "csv:Text - txt - csv (StarCalc):9,34,UTF-16,1"
    )
    return made


def macro_book(source: bytes) -> bytes:
    """A workbook that says it may hold macros."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(source)) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for entry in archive.infolist():
            data = archive.read(entry)
            if entry.filename == "[Content_Types].xml":
                data = data.replace(
                    b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
                    b"application/vnd.ms-excel.sheet.macroEnabled.main+xml",
                )
            copy.writestr(entry.filename, data)
    return target.getvalue()


def files() -> dict[str, Callable[[Path], Any]]:
    """Every file by its name, with what makes it."""
    made = texts()

    def keep(name: str, make: Callable[..., bytes], *given: Any, **options: Any) -> None:
        made[name] = lambda path: path.write_bytes(make(*given, **options))

    def convert(name: str, source: Callable[[], bytes], suffix: str, conversion: str) -> None:
        made[name] = lambda path: libreoffice(source(), suffix, path, conversion)

    def cut(name: str, source: Callable[[], bytes], share: float = 0.6) -> None:
        made[name] = lambda path: path.write_bytes((whole := source())[: int(len(whole) * share)])

    keep("docx/python-docx.docx", docx)
    keep("docx/empty.docx", docx, empty=True)
    cut("docx/broken.docx", docx)
    made["docx/pandoc.docx"] = lambda path: pandoc(path, "docx")
    convert("docx/libreoffice.docx", lambda: odfpy("odt"), "odt", "docx:MS Word 2007 XML")
    keep("odt/odfpy.odt", odfpy, "odt")
    keep("odt/empty.odt", odfpy, "odt", empty=True)
    cut("odt/broken.odt", lambda: odfpy("odt"))
    made["odt/pandoc.odt"] = lambda path: pandoc(path, "odt")
    convert("odt/libreoffice.odt", docx, "docx", "odt:writer8")
    convert("doc/libreoffice.doc", docx, "docx", "doc:MS Word 97")
    convert("doc/empty.doc", lambda: docx(empty=True), "docx", "doc:MS Word 97")
    cut("doc/broken.doc", lambda: (DATA / "doc/libreoffice.doc").read_bytes(), 0.1)
    convert("rtf/libreoffice.rtf", docx, "docx", "rtf:Rich Text Format")
    made["rtf/pandoc.rtf"] = lambda path: pandoc(path, "rtf", "-s")
    keep("rtf/empty.rtf", lambda: b"{\\rtf1\\ansi\\par}")
    keep("rtf/broken.rtf", lambda: b"{\\rtf1\\ansi{\\fonttbl{\\f0 Arial;}} The roof costs 84,500 euros.\\par {\\b and {\\i so")
    keep("xlsx/openpyxl.xlsx", xlsx)
    keep("xlsx/xlsxwriter.xlsx", xlsxwriter_book)
    keep("xlsx/empty.xlsx", xlsx, empty=True)
    cut("xlsx/broken.xlsx", xlsx)
    convert("xlsx/libreoffice.xlsx", lambda: odfpy("ods"), "ods", "xlsx:Calc MS Excel 2007 XML")
    made["xlsx/gnumeric.xlsx"] = lambda path: ssconvert(xlsx(), path, "Gnumeric_Excel:xlsx")
    convert("xlsm/libreoffice.xlsm", xlsx, "xlsx", "xlsm:Calc MS Excel 2007 VBA XML")
    keep("xlsm/openpyxl.xlsm", lambda: macro_book(xlsx()))
    keep("xlsm/empty.xlsm", lambda: macro_book(xlsx(empty=True)))
    cut("xlsm/broken.xlsm", lambda: macro_book(xlsx()))
    keep("xls/xlwt.xls", xls)
    convert("xls/libreoffice.xls", xlsx, "xlsx", "xls:MS Excel 97")
    made["xls/gnumeric.xls"] = lambda path: ssconvert(xlsx(), path, "Gnumeric_Excel:excel_biff8")
    convert("xls/empty.xls", lambda: xlsx(empty=True), "xlsx", "xls:MS Excel 97")
    cut("xls/broken.xls", xls, 0.4)
    keep("ods/odfpy.ods", odfpy, "ods")
    keep("ods/empty.ods", odfpy, "ods", empty=True)
    cut("ods/broken.ods", lambda: odfpy("ods"))
    convert("ods/libreoffice.ods", xlsx, "xlsx", "ods:calc8")
    made["ods/gnumeric.ods"] = lambda path: ssconvert(xlsx(), path, "Gnumeric_OpenCalc:odf")
    keep("pptx/python-pptx.pptx", pptx)
    keep("pptx/empty.pptx", pptx, empty=True)
    cut("pptx/broken.pptx", pptx)
    convert("pptx/libreoffice.pptx", lambda: odfpy("odp"), "odp", "pptx:Impress MS PowerPoint 2007 XML")
    made["pptx/pandoc.pptx"] = lambda path: pandoc(path, "pptx")
    convert("ppt/libreoffice.ppt", pptx, "pptx", "ppt:MS PowerPoint 97")
    convert("ppt/libreoffice-odp.ppt", lambda: odfpy("odp"), "odp", "ppt:MS PowerPoint 97")
    made["ppt/poi.ppt"] = lambda path: poi(path)
    made["doc/poi.doc"] = lambda path: poi(path, DATA / "doc/libreoffice.doc")
    convert("ppt/empty.ppt", lambda: odfpy("odp", empty=True), "odp", "ppt:MS PowerPoint 97")
    cut("ppt/broken.ppt", lambda: (DATA / "ppt/libreoffice.ppt").read_bytes(), 0.1)
    keep("odp/odfpy.odp", odfpy, "odp")
    keep("odp/empty.odp", odfpy, "odp", empty=True)
    cut("odp/broken.odp", lambda: odfpy("odp"))
    convert("odp/libreoffice.odp", pptx, "pptx", "odp:impress8")
    made["epub/pandoc.epub"] = lambda path: pandoc(path, "epub3", "--metadata", f"title={TITLE}")
    convert("epub/libreoffice.epub", docx, "docx", "epub:EPUB")
    convert("epub/empty.epub", lambda: docx(empty=True), "docx", "epub:EPUB")
    cut("epub/broken.epub", lambda: (DATA / "epub/libreoffice.epub").read_bytes())
    keep("eml/python.eml", mail)
    made["eml/mpack.eml"] = mpack
    keep("eml/empty.eml", mail, empty=True)
    keep("eml/broken.eml", lambda: mail()[:700])
    keep("msg/python.msg", lambda: compound_file(outlook_streams()))
    keep("msg/python-rtf.msg", lambda: compound_file(rich_text(outlook_streams())))
    made["msg/gsf.msg"] = lambda path: gsf(outlook_streams(), path)
    keep("msg/empty.msg", lambda: compound_file(outlook_streams(empty=True)))
    cut("msg/broken.msg", lambda: compound_file(outlook_streams()), 0.3)
    keep("pdf/reportlab.pdf", reportlab_pdf, PAGES)
    keep("pdf/fpdf2.pdf", fpdf, PAGES)
    convert("pdf/libreoffice.pdf", docx, "docx", "pdf:writer_pdf_Export")
    made["pdf/ghostscript.pdf"] = lambda path: ghostscript(fpdf(PAGES), "pdfwrite", path)
    keep("pdf/empty.pdf", reportlab_pdf, [[]])
    cut("pdf/broken.pdf", lambda: reportlab_pdf(PAGES), 0.5)
    keep("png/pillow.png", picture, SCAN, "PNG", optimize=True)
    keep("jpg/pillow.jpg", picture, SCAN, "JPEG", quality=60)
    keep("tiff/pillow.tiff", picture, SCAN, "TIFF", compression="tiff_deflate")
    keep("scan/pillow.pdf", picture, SCAN, "PDF")
    for name, device in (
        ("png/ghostscript.png", "pnggray"), ("jpg/ghostscript.jpg", "jpeggray"), ("tiff/ghostscript.tiff", "tiffg4"),
        ("scan/ghostscript.pdf", "pdfimage8"),
    ):  # fmt: skip
        made[name] = lambda path, device=device: ghostscript(
            reportlab_pdf([SCAN, SCAN[::-1]] if path.suffix in (".tiff", ".pdf") else [SCAN]), device, path, "-r150"
        )
    for kind, name in (("png", "PNG"), ("jpg", "JPEG"), ("tiff", "TIFF")):
        options = {"compression": "tiff_deflate"} if kind == "tiff" else {}
        keep(f"{kind}/empty.{kind}", picture, [], name, **options)
        cut(f"{kind}/broken.{kind}", lambda name=name: picture(SCAN, name), 0.05)
    keep("scan/empty.pdf", picture, [], "PDF")
    cut("scan/broken.pdf", lambda: picture(SCAN, "PDF"), 0.4)
    return made


def main(kinds: list[str]) -> None:
    """Make what is missing of these formats, of all when none is named."""
    for name, make in files().items():
        path = DATA / name
        if (kinds and path.parent.name not in kinds) or path.exists():
            continue
        path.parent.mkdir(exist_ok=True)
        try:
            make(path)
            print(f"{name}\t{path.stat().st_size} bytes")
        except (subprocess.SubprocessError, OSError, ImportError, IndexError) as error:
            path.unlink(missing_ok=True)
            print(f"{name}: not made: {error} {getattr(error, 'stderr', '') or ''}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
