# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is accepted, and which format bytes are taken for."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from context_chat_backend.domain import Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.registry import accepts, sniff

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "documents"
OLE = bytes.fromhex("d0cf11e0a1b11ae1")
OF_THE_COMPANION = [
    "text/plain",
    "text/markdown",
    "application/json",
    "application/pdf",
    "text/csv",
    "application/epub+zip",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.ms-powerpoint",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.ms-excel.sheet.macroEnabled.12",
    "application/vnd.oasis.opendocument.text",
    "text/rtf",
    "text/x-rst",
    "application/xml",
    "message/rfc822",
    "application/vnd.ms-outlook",
    "text/org",
]
BEYOND = [
    "text/html",
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.oasis.opendocument.presentation",
]


def zipped(**members: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/"), text)
    return target.getvalue()


def streams(*names: str) -> bytes:
    return OLE + b"\x00" * 64 + b"".join(name.encode("utf-16-le") for name in names)


@pytest.mark.parametrize("media_type", OF_THE_COMPANION + BEYOND)
def test_every_type_of_the_contract_is_accepted(media_type: str) -> None:
    assert accepts(media_type, "a title")
    assert not accepts(media_type, "messages.pot")


@pytest.mark.parametrize(
    ("media_type", "title", "accepted"),
    [
        ("message/rfc822; charset=utf-8", "a.eml", True),
        ("Text/HTML", "a", True),
        ("email", "Invoice", True),
        ("text", "Card", True),
        ("", "", True),
        ("image/png", "a.png", True),
        ("image/gif", "a.gif", False),
        ("video/mp4", "a.mp4", False),
        ("text/plain", "messages.POT", False),
        ("text/plain", "spot", True),
    ],
)
def test_what_may_be_admitted(media_type: str, title: str, accepted: bool) -> None:
    assert accepts(media_type, title) is accepted


@pytest.mark.parametrize("declared", ["", "text/plain", "application/pdf", "email"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("alice/treasurer-report.docx", "docx"),
        ("bob/key-list.rtf", "rtf"),
        ("bob/works-diary.odt", "odt"),
        ("shared/annual-meeting.pptx", "pptx"),
        ("shared/contacts.xlsx", "xlsx"),
        ("shared/fire-safety.pdf", "pdf"),
        ("shared/garden-book.epub", "epub"),
        ("shared/neighbourhood.html", "html"),
    ],
)
def test_a_format_is_known_by_its_bytes(name: str, kind: str, declared: str) -> None:
    assert sniff((SAMPLES / name).read_bytes(), declared) == kind


@pytest.mark.parametrize(
    ("content", "declared", "kind"),
    [
        (b"a;b\n1;2\n", "text/csv", "csv"),
        (b"a\tb\n", "text/tab-separated-values", "csv"),
        (b"Subject: hello\n\nbody", "message/rfc822", "eml"),
        (b"hello\n\nno head at all", "message/rfc822", "text"),
        (b"<p>hello</p>", "text/html", "html"),
        (b"3 < 4 and 5 > 4", "text/html", "text"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><a>b</a>", "text/plain", "xml"),
        (b"<?xml version='1.0'?><html><body/></html>", "application/xml", "html"),
        (b"<a>b</a>", "application/xml", "xml"),
        (b"words", "application/xml", "text"),
        (b"A file of this kind begins with %PDF-1.4.", "text/markdown", "text"),
        (b'{"a": 1}', "application/json", "json"),
        (b'{"a": 1}', "text/plain", "json"),
        (b"[1] see below", "text/plain", "text"),
        (b'{"cells": [], "nbformat": 4}', "", "ipynb"),
        (b"From: a@b.example\nSubject: hello\n\nbody", "", "eml"),
        (b"From: here to there\nis a long way", "", "text"),
        (b"a;b\n1;2\n", "text/plain", "csv"),
        (b"Dear Zoe, dear Tom, hello\nall is well, we are home, too\nsee you", "text/plain", "text"),
        (b"<p>hello</p>", "", "html"),
        (b"#!/bin/sh\n# comment\n", "", "code"),
        (b"# comment\nx = 1\n", "text/x-python", "code"),
        (b"# Heading\n\ntext\n", "", "text"),
        (b"Title\n=====\n\n.. note:: words\n", "", "rst"),
        (b"* Heading\n:PROPERTIES:\n:END:\n", "", "org"),
        (b"* one\n* two\n", "", "text"),
        (b"* one\n* two\n", "text/org", "org"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "text/plain", "png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "", "jpg"),
        (b"II*\x00" + bytes(99), "", "tiff"),
    ],
)
def test_the_declared_type_tells_kinds_of_text_apart_where_the_bytes_agree(
    content: bytes, declared: str, kind: str
) -> None:
    assert sniff(content, declared) == kind


def test_old_office_files_are_told_apart_also_with_others_inside() -> None:
    assert sniff(streams("WordDocument"), "") == "doc"
    assert sniff(streams("Workbook"), "") == "xls"
    assert sniff(streams("PowerPoint Document"), "") == "ppt"
    assert sniff(streams("WordDocument", "__substg1.0_0037001F"), "") == "msg"
    assert sniff(streams("WordDocument", "PowerPoint Document"), "application/vnd.ms-powerpoint") == "ppt"


@pytest.mark.parametrize(
    "content",
    [
        b"GIF89a\x01\x00\x01\x00",
        b"RIFF\x1a\x00\x00\x00WEBPVP8L",
        b"\x1f\x8b\x08\x00" + bytes(range(200)),
        b"\x7fELF\x02\x01\x01" + bytes(100),
        bytes(range(256)) * 16,
        OLE + b"something else",
    ],
)
def test_pictures_and_noise_are_not_supported_and_no_document_of_a_declared_format(content: bytes) -> None:
    with pytest.raises(SourceRejected) as caught:
        sniff(content, "email")
    assert caught.value.reason is Reason.UNSUPPORTED
    if not content.startswith(OLE):
        with pytest.raises(SourceRejected) as caught:
            sniff(content, "application/pdf")
        assert caught.value.reason is Reason.DAMAGED


def test_files_that_need_a_password_are_known_without_it() -> None:
    document = "application/vnd.oasis.opendocument.text"
    locked = zipped(mimetype=document, **{"META-INF__manifest.xml": "<manifest:encryption-data/>"})
    for content in (streams("EncryptionInfo", "EncryptedPackage"), locked):
        with pytest.raises(SourceRejected) as caught:
            sniff(content, "")
        assert caught.value.reason is Reason.ENCRYPTED


def test_an_archive_that_is_no_document_is_not_supported() -> None:
    with pytest.raises(SourceRejected) as caught:
        sniff(zipped(**{"a.txt": "text"}), "application/zip")
    assert caught.value.reason is Reason.UNSUPPORTED
