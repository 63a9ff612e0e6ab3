# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which kind of text something is, by how it is written; what was declared counts where the text can be that."""

from __future__ import annotations

import csv
import re

DECLARED = {
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/xml": "xml",
    "text/xml": "xml",
    "message/rfc822": "eml",
    "application/json": "json",
    "application/x-ndjson": "json",
    "application/jsonl": "json",
    "application/x-ipynb+json": "ipynb",
    "text/markdown": "text",
    "text/x-markdown": "text",
    "text/x-web-markdown": "text",
    "text/x-rst": "rst",
    "text/prs.fallenstein.rst": "rst",
    "text/org": "org",
    "text/x-org": "org",
    "text/css": "code",
    "text/javascript": "code",
    "application/javascript": "code",
    "application/x-javascript": "code",
    "application/typescript": "code",
    "application/x-php": "code",
    "application/x-sh": "code",
    "application/x-shellscript": "code",
    "application/x-perl": "code",
    "application/x-ruby": "code",
    "application/sql": "code",
    "application/x-yaml": "code",
    "application/yaml": "code",
    "application/toml": "code",
}
"""Media types that name a kind of text. Others that begin with `text/x-` are languages of programs."""

_LANGUAGE = "text/x-"
_PAGE = re.compile(
    r"<!doctype html|<(?:html|head|body|div|p|table|h[1-6]|ul|ol|article|section|main)[\s>/]", re.IGNORECASE
)
_TAG = re.compile(r"<[a-zA-Z!/][^<>]*>")
_HEAD_LINE = re.compile(r"([A-Za-z][A-Za-z0-9-]*):|[ \t]+\S")
_MAIL_HEAD = re.compile(r"(From |[A-Za-z][A-Za-z0-9-]*:)")
_TELLING = frozenset({"from", "received", "mime-version", "message-id", "return-path"})
_FIELDS = frozenset(
    {"from", "to", "subject", "date", "received", "message-id", "mime-version", "return-path", "delivered-to", "cc"}
)
_JSON = re.compile(r"(?:\{\s*(?:\"|\}|\Z)|\[\s*(?:[\[{\"\]]|-?[\d.]+\s*(?:,|\]\s*\Z)|true|false|null|\Z))")
_ORG = re.compile(r"\A#\+[a-z_]+:|^[ \t]*:PROPERTIES:[ \t]*$|^[ \t]*#\+begin_\w+", re.IGNORECASE | re.MULTILINE)
_RST = re.compile(r"^\.\. (?:[\w-]+::|_[^:\n]+:)", re.MULTILINE)
_SCRIPT = re.compile(r"#![ \t]*/\S")
_CODE_LINE = re.compile(
    r"[ \t]*(?:[^#*\-\s].*[;{}]|[{}\])]+[;,)]*"
    r"|(?:def|class|if|elif|for|while|with|fn|func|function|sub|try|else)\b[^.]*[:{]"
    r"|(?:import|from|package|use|using)[ \t]+[\w.:{}*\"'/<>, ]+|#(?:include|define|if|ifdef|endif)\b.*"
    r"|@\w+.*|(?:return|raise|throw|yield)\b.*|[\w.\[\]]+[ \t]*[-+*/]?=[ \t]*\S.*|(?://|/\*|\*/).*)[ \t]*"
)
_CODE_SHARE = 0.6
_MIN_LINES = 4
_TABLE_LINES = 20


def kind_of(beginning: str, declared: str) -> str:
    """The kind of the text that begins like this: a key of the registry's readers.

    `declared` is a media type. It tells apart what looks alike, such as Markdown and the comments of a program.
    """
    head = beginning[:1024].lower()
    if head.startswith("<!doctype html") or ("<html" in head and head.startswith(("<html", "<?xml", "<!--"))):
        return "html"
    if head.startswith("<?xml"):
        return "xml"
    kind = DECLARED.get(declared) or ("code" if declared.startswith(_LANGUAGE) else None)
    if kind is not None and _may_be(kind, beginning):
        return kind
    return _by_looks(beginning)


def _may_be(kind: str, beginning: str) -> bool:
    if kind == "eml":
        return _MAIL_HEAD.match(beginning) is not None
    if kind == "html":
        return _TAG.search(beginning) is not None
    if kind == "xml":
        return beginning.startswith("<")
    if kind in ("json", "ipynb"):
        return _JSON.match(beginning) is not None
    return True


def _by_looks(beginning: str) -> str:
    if _is_mail(beginning):
        return "eml"
    if _PAGE.match(beginning):
        return "html"
    if _JSON.match(beginning):
        return (
            "ipynb" if '"cells"' in beginning and ('"cell_type"' in beginning or '"nbformat"' in beginning) else "json"
        )
    if _SCRIPT.match(beginning):
        return "code"
    if _ORG.search(beginning):
        return "org"
    if _RST.search(beginning):
        return "rst"
    lines = [line for line in beginning.split("\n")[:200] if line.strip()]
    if len(lines) >= _MIN_LINES and sum(map(_is_code, lines)) > len(lines) * _CODE_SHARE:
        return "code"
    return "csv" if _is_table(beginning) else "text"


def _is_code(line: str) -> bool:
    return len(line) < 400 and _CODE_LINE.fullmatch(line) is not None


def _is_mail(beginning: str) -> bool:
    """Whether the text begins with the head of a mail: fields, two of them well known, up to a blank line."""
    fields = set()
    for number, line in enumerate(beginning.split("\n")):
        line = line.rstrip("\r")
        if not line:
            break
        if (field := _HEAD_LINE.match(line)) is None:
            if number or not line.startswith("From "):
                return False
        elif field[1]:
            fields.add(field[1].lower())
    return len(fields & _FIELDS) >= 2 and bool(fields & _TELLING)


def _is_table(beginning: str) -> bool:
    """Whether the lines have the same number of values each, under names that differ. Commas are common in prose."""
    lines = beginning.split("\n")
    rows_at_most = lines[:_TABLE_LINES] if len(lines) > _TABLE_LINES else lines
    for delimiter, least in (("\t", 2), (";", 2), (",", 3)):
        if delimiter not in rows_at_most[0]:
            continue
        try:
            rows = [row for row in csv.reader(rows_at_most, delimiter=delimiter) if row]
        except csv.Error:
            continue
        names = [name.strip() for name in rows[0]] if rows else []
        if len(names) >= least and all(names) and len(set(names)) == len(names) and len(rows) > 1:
            whole = rows[:-1] if len(lines) > _TABLE_LINES else rows  # the last may be cut
            if all(len(row) == len(names) for row in whole):
                return True
    return False
